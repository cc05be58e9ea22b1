package boltfile

import (
	"os"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// benchDB is a database like those of containerd: many buckets with a page of their own, and inline ones in them.
// FETTLE_BENCH_DB names another one.
func benchDB(b *testing.B) string {
	if path := os.Getenv("FETTLE_BENCH_DB"); path != "" {
		return path
	}
	return makeDB(b, nil, fill("plain", 100000, 200), fill("large", 200, 60000), func(tx *bolt.Tx) error {
		top, err := tx.CreateBucket([]byte("nested"))
		if err != nil {
			return err
		}
		for i := range 5000 {
			sub, err := top.CreateBucket([]byte{byte(i >> 8), byte(i)})
			if err != nil {
				return err
			}
			if _, err := sub.CreateBucket([]byte("labels")); err != nil {
				return err
			}
			for _, k := range []string{"createdat", "name", "parent", "updatedat"} {
				if err := sub.Put([]byte(k), make([]byte, 40)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// run measures one way of reading in MB of pages in use per second of CPU time: on a machine that does other work too that
// says more than wall time.
func run(b *testing.B, read func(f *File) error) {
	f := mustOpen(b, benchDB(b))
	r, err := f.Check(b.Context(), nil)
	if err != nil || !r.Sound() {
		b.Fatal(err, r)
	}
	size := int64(r.Reachable) * int64(f.PageSize())
	b.SetBytes(size)
	b.ReportAllocs()
	start := cpuSeconds(b)
	for b.Loop() {
		if err := read(f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpuSeconds(b)-start), "MB/cpu-s")
	b.ReportMetric(float64(r.Keys), "keys")
}

func BenchmarkCheck(b *testing.B) {
	run(b, func(f *File) error {
		_, err := f.Check(b.Context(), nil)
		return err
	})
}

func BenchmarkEach(b *testing.B) {
	var walk func(bucket *Bucket) error
	walk = func(bucket *Bucket) error {
		return bucket.Each(func(_, _ []byte, sub *Bucket) error {
			if sub != nil {
				return walk(sub)
			}
			return nil
		})
	}
	run(b, func(f *File) error { return walk(f.Root()) })
}

func BenchmarkSalvage(b *testing.B) {
	run(b, func(f *File) error { return f.Salvage(b.Context(), func(Element) error { return nil }) })
}

// cpuSeconds is the CPU time this process has used, user and system.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
