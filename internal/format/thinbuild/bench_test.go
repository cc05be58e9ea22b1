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

// BenchmarkRewriteWithoutSuperblock searches the trees of the same metadata first.
func BenchmarkRewriteWithoutSuperblock(b *testing.B) {
	path := fixtures(b, "base/n50000")["base/n50000"]
	super := superOf(b, path)
	patch(b, path, 0, func(page []byte) { clear(page) })
	f, err := thinmeta.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		to := filepath.Join(b.TempDir(), "new")
		c, err := Rewrite(context.Background(), f, to, Edits{DataBlockSize: super.DataBlockSize, DataBlocks: super.Data.Blocks})
		if err != nil {
			b.Fatal(err)
		}
		if c.Roots.Mapping != super.MappingRoot || c.Roots.Details != super.DetailsRoot {
			b.Fatalf("found %+v", c.Roots)
		}
		if err := os.Remove(to); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFromDump builds the same metadata from the runs of its devices and finds out what is shared.
func BenchmarkFromDump(b *testing.B) {
	f, err := thinmeta.Open(fixtures(b, "base/n50000")["base/n50000"])
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		to := filepath.Join(b.TempDir(), "new")
		c, err := FromDump(context.Background(), f, to, Edits{MetadataBlocks: 131072})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.Written.MetadataUsed), "blocks")
		if err := os.Remove(to); err != nil {
			b.Fatal(err)
		}
	}
}
