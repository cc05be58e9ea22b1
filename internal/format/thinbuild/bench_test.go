package thinbuild

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/format/thinmeta"
)

// BenchmarkRewrite rewrites the largest fixture: 50,000 devices with 3.5 million mappings.
func BenchmarkRewrite(b *testing.B) {
	f, err := thinmeta.Open(fixtures(b, "base/n50000")["base/n50000"])
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		to := filepath.Join(b.TempDir(), "new")
		c, err := Rewrite(context.Background(), f, to, Edits{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.Written.MetadataUsed), "blocks")
		b.ReportMetric(float64(c.MetadataUsed), "blocks-before")
		if err := os.Remove(to); err != nil {
			b.Fatal(err)
		}
	}
}
