package lustre

import (
	"context"
	"testing"

	"fettle/internal/systems/lustre/lustrelab"
)

// BenchmarkCheck checks a file system of 100000 files on two MDTs, from a warm cache.
func BenchmarkCheck(b *testing.B) {
	made, err := lustrelab.Make(context.Background(), b.TempDir(), lustrelab.Options{Files: 100_000, Extents: true})
	if err != nil {
		b.Fatal(err)
	}
	u := openPaths(b, nil, made.Paths...)
	inodes := 0
	for _, n := range made.Inodes {
		inodes += n
	}
	b.ResetTimer()
	for b.Loop() {
		env := &seeing{}
		if fs := env.check(b, u); len(fs) > 0 {
			b.Fatalf("%d findings in a sound file system", len(fs))
		}
	}
	b.ReportMetric(float64(inodes)*float64(b.N)/b.Elapsed().Seconds(), "inodes/s")
}
