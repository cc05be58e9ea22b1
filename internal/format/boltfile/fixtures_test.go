package boltfile

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// fixture unpacks a file of the devmapper fixtures into a temporary directory and returns its path.
func fixture(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	in, err := os.Open(filepath.Join(root, "devmapper", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dec, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	path := filepath.Join(t.TempDir(), filepath.Base(name))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, dec); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFixturesSound(t *testing.T) {
	for _, base := range []string{"base/n10/", "base/n1000/"} {
		for _, name := range []string{"meta.db", "metadata.db", "containerd-pool.db"} {
			t.Run(base+name, func(t *testing.T) {
				path := fixture(t, base+name)
				f := mustOpen(t, path)
				lines, err := flatten(t, f.Root())
				if err != nil {
					t.Error(err)
				}
				compareLines(t, lines, flattenBolt(t, path))
				mustCheckClean(t, f, lines)
			})
		}
	}
}

func TestFixturesDamaged(t *testing.T) {
	for _, c := range []struct {
		name     string
		kinds    []Kind
		keys     int  // in the tree
		salvaged int  // distinct keys of records that only Salvage gives
		damage   bool // Each must say so too
	}{
		{"d48-bbolt-leaf-page-corrupt/containerd-pool.db", []Kind{BadPage}, 12, 10, true},
		{"d49-bbolt-truncated/containerd-pool.db", []Kind{Truncated, BadFreelist, BadPage}, 0, 10, true},
		{"d50-bbolt-both-metas-bad/containerd-pool.db", []Kind{InvalidMetas}, 0, 10, true},
		{"d52-bbolt-zero-length/metadata.db", []Kind{Empty}, 0, 0, true},
		{"d53-metadb-page-corrupt/meta.db", []Kind{Order}, 136, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustOpen(t, fixture(t, "damage/"+c.name))
			r, err := f.Check(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []Kind
			for _, p := range r.Problems {
				kinds = append(kinds, p.Kind)
			}
			if !slices.Equal(kinds, c.kinds) || r.Sound() || int(r.Keys) != c.keys {
				t.Errorf("%v, %d keys, sound %v", r.Problems, r.Keys, r.Sound())
			}
			lines, err := flatten(t, f.Root())
			if len(lines) != c.keys+1 || (err != nil) != c.damage {
				t.Errorf("%d lines, %v", len(lines), err)
			}
			records := map[string]bool{}
			if err := f.Salvage(t.Context(), func(e Element) error {
				if bytes.HasPrefix(e.Key, []byte("containerd-pool-snap-")) && bytes.HasPrefix(e.Value, []byte("{")) {
					records[string(e.Key)] = true
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(records) != c.salvaged {
				t.Errorf("%d records from Salvage, want %d", len(records), c.salvaged)
			}
		})
	}
}

// The databases of a crashed machine are sound as far as bolt is concerned.
func TestFixturesReal(t *testing.T) {
	for _, name := range []string{"real/base/", "real/c02-crash-after-create_snap/", "real/c04-crash-in-mkfs/after-restart/"} {
		for _, db := range []string{"meta.db", "metadata.db", "vg0-mythinpool.db"} {
			path := fixture(t, name+db)
			f := mustOpen(t, path)
			lines, err := flatten(t, f.Root())
			if err != nil {
				t.Error(err)
			}
			compareLines(t, lines, flattenBolt(t, path))
			mustCheckClean(t, f, lines)
		}
	}
}
