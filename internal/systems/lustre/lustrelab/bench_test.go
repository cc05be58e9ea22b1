package lustrelab

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkMake makes a pair of MDTs with 100,000 files, or as many as LUSTRELAB_FILES says.
func BenchmarkMake(b *testing.B) {
	files := 100000
	if s := os.Getenv("LUSTRELAB_FILES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		files = n
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(b.TempDir(), strconv.Itoa(i))
		made, err := Make(b.Context(), dir, Options{Files: files, Extents: true, MetadataCsum: true, Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		total := 0
		for _, n := range made.Inodes {
			total += n
		}
		b.ReportMetric(float64(total), "inodes/op")
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}
