package match

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"fettle/internal/claim"
)

// TestMemoryBound: all that is ever allocated, garbage included, stays within the
// budget and a little for files, whatever the input. So there is no allocation per
// claim either.
func TestMemoryBound(t *testing.T) {
	const memory, slack = 8 << 20, 1 << 20
	for name, c := range map[string]struct {
		n    int
		make func(s []byte, i int) claim.Claim
	}{
		"spread": {1_000_000, func(s []byte, i int) claim.Claim {
			binary.LittleEndian.PutUint64(s, uint64(i/2))
			return claim.Claim{Subject: s[:20], Witness: claim.Witness{At: uint64(i)}, Says: s[:8]}
		}},
		"one subject": {1_000_000, func(s []byte, i int) claim.Claim {
			return claim.Claim{Subject: s[:20], Witness: claim.Witness{At: uint64(i)}}
		}},
		"two hot subjects": {1_000_000, func(s []byte, i int) claim.Claim {
			s[0] = byte(i % 2)
			return claim.Claim{Subject: s[:20], Witness: claim.Witness{At: uint64(i)}}
		}},
		"shortest claims": {5_000_000, func(s []byte, i int) claim.Claim { return claim.Claim{} }},
		"long claims": {1000, func(s []byte, i int) claim.Claim {
			binary.LittleEndian.PutUint64(s, uint64(i/3))
			return claim.Claim{Subject: s[:8], Witness: claim.Witness{At: uint64(i)}, Says: s[:claim.MaxSays]}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := make([]byte, claim.MaxSays)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, w := newMatch(t, Options{Dir: dir, Memory: memory, Writers: 1})
			for i := range c.n {
				if err := w.Add(c.make(s, i)); err != nil {
					t.Fatal(err)
				}
			}
			n := int64(0)
			err := m.Groups(context.Background(), Pass{Workers: 4, Ordered: true}, func(g Group) error {
				n += g.Len
				if g.Huge {
					return readThrough(g)
				}
				return nil
			})
			runtime.ReadMemStats(&after)
			if err != nil || n != int64(c.n) {
				t.Fatalf("%d claims, error %v", n, err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > memory+slack {
				t.Errorf("%d KiB allocated, budget %d, stats %+v", got>>10, memory>>10, m.Stats())
			}
			mustClose(t, m)
		})
	}
}

func readThrough(g Group) error {
	n := int64(0)
	for _, err := range g.All() {
		if err != nil {
			return err
		}
		n++
	}
	if n != g.Len {
		return fmt.Errorf("%d claims of %d", n, g.Len)
	}
	return nil
}
