package thinbuild

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/thinmeta"

	"github.com/klauspost/compress/zstd"
)

// fixtures gives the thin.meta files of the fixtures below a directory, unpacked.
func fixtures(t testing.TB, pattern string) map[string]string {
	t.Helper()
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	found, err := filepath.Glob(filepath.Join(dir, "devmapper", pattern, "thin.meta.zst"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	out := map[string]string{}
	for _, f := range found {
		name, err := filepath.Rel(filepath.Join(dir, "devmapper"), filepath.Dir(f))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = unpack(t, f)
	}
	return out
}

func unpack(t testing.TB, path string) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "thin.meta"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// rewrite rewrites a file to a new one that the tools must accept.
func rewrite(t testing.TB, path string, e Edits) (string, *Comparison) {
	t.Helper()
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to := filepath.Join(t.TempDir(), "new")
	c, err := Rewrite(context.Background(), f, to, e)
	if err != nil {
		t.Fatal(err)
	}
	thinCheck(t, to)
	return to, c
}

// wantSame compares two files by thin_dump, or by our own reader without it.
func wantSame(t testing.TB, got, want string) {
	t.Helper()
	if w, ok := thinDump(t, want); ok {
		g, _ := thinDump(t, got)
		wantModel(t, g, w)
		wantReader(t, got, w)
		return
	}
	wantReader(t, got, readModel(t, want))
}

// Healthy metadata comes out with the same devices and mappings, and takes no more room.
func TestRewriteOfFixtures(t *testing.T) {
	for _, pattern := range []string{"base/n10", "base/n1000", "real/*", "real/*/after-restart"} {
		for name, path := range fixtures(t, pattern) {
			t.Run(name, func(t *testing.T) {
				to, c := rewrite(t, path, Edits{})
				wantSame(t, to, path)
				if len(c.Lost)+len(c.Losses()) > 0 {
					t.Errorf("lost: %v %v", c.Lost, c.Losses())
				}
				if c.Written.DataUsed != c.DataUsed {
					t.Errorf("%d data blocks in use, before %d", c.Written.DataUsed, c.DataUsed)
				}
				if c.Written.MetadataUsed > c.MetadataUsed {
					t.Errorf("%d metadata blocks in use, before %d", c.Written.MetadataUsed, c.MetadataUsed)
				}
			})
		}
	}
}

// Without its superblock the trees are found: the right ones.
func TestRewriteOfFixturesWithoutSuperblock(t *testing.T) {
	for _, pattern := range []string{"base/n10", "base/n1000", "real/*", "real/*/after-restart"} {
		for name, path := range fixtures(t, pattern) {
			if len(readModel(t, path)) == 0 {
				continue // an empty pool: older trees that have devices are found
			}
			t.Run(name, func(t *testing.T) {
				super := superOf(t, path)
				bad := copyFile(t, path)
				patch(t, bad, 0, func(b []byte) { clear(b) })
				to, c := rewrite(t, bad, Edits{DataBlockSize: super.DataBlockSize, DataBlocks: super.Data.Blocks})
				t.Logf("%s: %s; %d %d, want %d %d", c.Roots.Sure, c.Roots.Why, c.Roots.Mapping, c.Roots.Details, super.MappingRoot, super.DetailsRoot)
				wantSame(t, to, path)
			})
		}
	}
}

// Damaged metadata comes out legal, and what is lost is told.
func TestRewriteOfDamagedFixtures(t *testing.T) {
	base := fixtures(t, "base/n10")["base/n10"]
	before := readModel(t, base)
	for name, path := range fixtures(t, "damage/d3[4-9]*") {
		damaged(t, name, path, base, before)
	}
	for name, path := range fixtures(t, "damage/d4[0-6]*") {
		damaged(t, name, path, base, before)
	}
}

func damaged(t *testing.T, name, path, base string, before model) {
	name = strings.TrimPrefix(name, "damage/")
	t.Run(name, func(t *testing.T) {
		var e Edits
		if strings.HasPrefix(name, "d36") {
			s := superOf(t, base)
			e = Edits{DataBlockSize: s.DataBlockSize, DataBlocks: s.Data.Blocks}
		}
		to, c := rewrite(t, path, e)
		switch name[:3] {
		case "d37": // leaf 23 is the whole tree of device 10
			lost := c.Losses()
			if len(lost) != 1 || lost[0].ID != 10 || lost[0].MappedBefore != 48 || lost[0].MappedAfter != 0 || !strings.Contains(lost[0].Lost, "block 23") {
				t.Errorf("losses %+v", lost)
			}
			before10 := before[10]
			defer func() { before[10] = before10 }()
			before[10] = &modelDevice{before10.details, nil}
			before[10].details.MappedBlocks = 0
			wantReader(t, to, before)
		case "d43":
			i := 9
			if d := c.Devices[i]; d.ID != 10 || !d.Rebuilt || d.MappedAfter != 48 {
				t.Errorf("device 10: %+v", d)
			}
			got := readModel(t, to)
			if d := got[10].details; d.MappedBlocks != 48 || d.SnapshotTime != superOf(t, to).Time {
				t.Errorf("rebuilt details %+v", d)
			}
			got[10].details = before[10].details
			wantModel(t, got, before)
		case "d45", "d46":
			wantSame(t, to, path)
		default:
			wantReader(t, to, before)
			if len(c.Losses()) > 0 {
				t.Errorf("losses %+v", c.Losses())
			}
		}
	})
}

func superOf(t testing.TB, path string) thinmeta.Superblock {
	t.Helper()
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, _ := f.Super()
	return s
}

func copyFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// patch changes a block of a file.
func patch(t testing.TB, path string, block uint64, change func([]byte)) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, thinmeta.BlockSize)
	if _, err := f.ReadAt(b, int64(block)*thinmeta.BlockSize); err != nil {
		t.Fatal(err)
	}
	change(b)
	if _, err := f.WriteAt(b, int64(block)*thinmeta.BlockSize); err != nil {
		t.Fatal(err)
	}
}
