package match

import (
	"context"
	"encoding/binary"
	"testing"

	"fettle/internal/claim"
)

// BenchmarkMatch adds and groups claims with 20-byte subjects and 8 bytes of
// payload, two per subject: in memory, and with a budget that forces spilling.
// One operation is one claim. See bench/README.md for runs at scale.
func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct {
		name       string
		memory     int64
		partitions int
	}{{"memory", 1 << 30, 0}, {"spill", 64 << 20, 0}, {"large partitions", 256 << 20, 16}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			m, err := New(Options{Dir: b.TempDir(), Memory: c.memory, Partitions: c.partitions, Writers: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			w, err := m.Writer()
			if err != nil {
				b.Fatal(err)
			}
			var s [20]byte
			for i := range b.N {
				id := uint64(min(i, b.N-1-i))
				binary.LittleEndian.PutUint64(s[:], id*mixA)
				binary.LittleEndian.PutUint64(s[8:], id*mixB)
				err := w.Add(claim.Claim{Subject: s[:], Kind: 1, Witness: claim.Witness{Target: 1, At: uint64(i)}, Says: s[:8]})
				if err != nil {
					b.Fatal(err)
				}
			}
			n := int64(0)
			err = m.Groups(context.Background(), Pass{Workers: 1}, func(g Group) error { n += g.Len; return nil })
			if err != nil || n != int64(b.N) {
				b.Fatalf("%d of %d claims, error %v", n, b.N, err)
			}
		})
	}
}
