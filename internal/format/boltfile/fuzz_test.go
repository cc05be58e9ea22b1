package boltfile

import (
	"testing"

	bolt "go.etcd.io/bbolt"
)

// FuzzOpen reads everything out of a damaged database: no panic, bounded work, and Check and Each agree. at and with say
// what to overwrite in data, so that the fuzzer need not learn the checksum of the meta pages.
func FuzzOpen(f *testing.F) {
	small := raw(f, &bolt.Options{PageSize: 1024}, fill("a", 20, 30))
	f.Add(small, uint32(0), []byte{})
	f.Add(small, uint32(3*1024+8), []byte{0xff, 0xff})
	f.Add(raw(f, &bolt.Options{PageSize: 1024, NoFreelistSync: true}, fill("a", 30, 20), fill("b", 2, 2500)), uint32(4*1024+20), []byte{1})
	f.Add(newForge(8, 2).data, uint32(2*1024), []byte{2, 0, 0, 0, 0, 0, 0, 0, 2, 0})
	f.Add([]byte{}, uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, data []byte, at uint32, with []byte) {
		data = append([]byte(nil), data[:min(len(data), 1<<16)]...)
		if int(at) < len(data) {
			copy(data[at:], with)
		}
		r := readAll(t, openBytes(t, data))
		if len(r.lines) > 20*len(data)+100 {
			t.Fatalf("%d lines out of %d bytes", len(r.lines), len(data))
		}
	})
}
