package thinmeta

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// fixtures gives the directory of the device-mapper fixtures.
func fixtures(tb testing.TB) string {
	tb.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		tb.Skip("FETTLE_FIXTURES is not set: real pools are not at hand")
	}
	return filepath.Join(root, "devmapper")
}

// unpack gives a sparse copy of a packed fixture.
func unpack(tb testing.TB, packed string) string {
	tb.Helper()
	in, err := os.Open(packed)
	if err != nil {
		tb.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	path := filepath.Join(tb.TempDir(), strings.TrimSuffix(filepath.Base(packed), ".zst"))
	out, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	buf, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	size := int64(0)
	for {
		n, err := io.ReadFull(z, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				tb.Fatal(err)
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := out.Truncate(size); err != nil {
		tb.Fatal(err)
	}
	return path
}

func checkFixture(tb testing.TB, packed string) (*File, *Report) {
	tb.Helper()
	f, err := Open(unpack(tb, packed))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	r, err := f.Check(context.Background(), CheckOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return f, r
}

// truth is what is known of a base set.
type truth struct {
	Used     uint64 `json:"data_blocks_used"`
	Devices  int    `json:"devices"`
	Mappings uint64 `json:"mappings"`
	Blocks   uint64 `json:"nr_data_blocks"`
}

func TestBaseFixtures(t *testing.T) {
	for _, name := range []string{"n10", "n1000", "n50000"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(fixtures(t), "base", name)
			if name == "n50000" && testing.Short() {
				t.Skip("-short: half a gigabyte")
			}
			var want truth
			text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
			if err == nil {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, r := checkFixture(t, filepath.Join(dir, "thin.meta.zst"))
			var total uint64
			for _, d := range r.Devices {
				total += d.Mapped
			}
			got := truth{r.DataUsed, len(r.Devices), total, r.DataBlocks}
			if got != want || !r.Complete || len(r.Problems) > 0 || r.DataAllocated != r.DataUsed || r.MetadataAllocated != r.MetadataUsed {
				t.Errorf("%+v, want %+v; complete %v, %d and %d in use, %q", got, want, r.Complete, r.DataAllocated, r.MetadataAllocated, said(r))
			}
			sameAsXML(t, r, filepath.Join(dir, "thin.xml.zst"))
		})
	}
}

// sameAsXML checks that the XML from which a pool was restored says the same.
func sameAsXML(t *testing.T, raw *Report, packed string) {
	t.Helper()
	in, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	d, err := ReadXML(z, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := d.Report()
	if !slices.Equal(r.Devices, raw.Devices) || r.DataUsed != raw.DataUsed || r.DataBlocks != raw.DataBlocks || len(r.Problems) > 0 {
		t.Errorf("the XML says something else: %d devices, %d of %d blocks, %q", len(r.Devices), r.DataUsed, r.DataBlocks, said(r))
	}
}

func TestDamagedFixtures(t *testing.T) {
	leaf37 := []string{"node-checksum 23", "~mapped-blocks-wrong dev 10", "~data-block-leaked 164+12"}
	for b := 124; b < 164; b++ {
		if b >= 158 && b < 162 { // another device wrote its own there
			continue
		}
		leaf37 = append(leaf37, fmt.Sprint("~data-refcount-high ", b))
	}
	for name, want := range map[string][]string{
		"d34-transaction-id":              {"transaction-id 0"},
		"d35-needs-check":                 {"needs-check 0"},
		"d36-thin-crc-superblock":         {"superblock-checksum 0", "~superblock-invalid 0"},
		"d37-thin-crc-mapping-leaf":       leaf37,
		"d39-thin-data-refcount-leak":     {"data-block-leaked 1000", "~space-map-total 0"},
		"d40-thin-data-refcount-low":      {"data-refcount-low 5"},
		"d42-thin-metadata-refcount-leak": {"metadata-block-leaked 400"},
		"d43-thin-details-missing":        {"details-missing dev 10"},
		"d45-pool-out-of-data-space":      {"out-of-data-space 0"},
		"d46-pool-replaced-empty":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, r := checkFixture(t, filepath.Join(fixtures(t), "damage", name, "thin.meta.zst"))
			got := said(r)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found %q\nwant %q", got, want)
			}
			broken := name == "d36-thin-crc-superblock" || name == "d37-thin-crc-mapping-leaf"
			if r.Complete == broken {
				t.Errorf("complete is %v", r.Complete)
			}
		})
	}
}

// TestRealFixtures checks pools that a kernel wrote and that were cut off: none of them is damaged.
func TestRealFixtures(t *testing.T) {
	root := filepath.Join(fixtures(t), "real")
	found := 0
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Name() != "thin.meta.zst" {
			return err
		}
		found++
		_, r := checkFixture(t, path)
		var want []string
		switch {
		case strings.Contains(path, "c11-"):
			want = []string{"out-of-data-space 0"}
		case strings.Contains(path, "c12-"):
			want = []string{"out-of-metadata-space 0"}
		}
		if got := said(r); !slices.Equal(got, want) || !r.Complete || r.DataUsed != r.DataAllocated || r.MetadataUsed != r.MetadataAllocated {
			t.Errorf("%s: found %q, want %q; %+v", path, got, want, r.Super)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatal(found, err)
	}
}

func BenchmarkCheckFixture(b *testing.B) {
	path := unpack(b, filepath.Join(fixtures(b), "base", "n50000", "thin.meta.zst"))
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		r, err := f.Check(context.Background(), CheckOptions{})
		if err != nil || len(r.Problems) > 0 {
			b.Fatal(err, r.Problems)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadXMLFixture(b *testing.B) {
	path := unpack(b, filepath.Join(fixtures(b), "base", "n50000", "thin.xml.zst"))
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		d, err := ReadXML(f, 0)
		if err != nil {
			b.Fatal(err)
		}
		if n := len(d.Report().Devices); n != 50000 {
			b.Fatal(n)
		}
		f.Close()
	}
}
