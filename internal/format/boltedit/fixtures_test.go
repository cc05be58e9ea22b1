package boltedit

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
)

// unpack writes an unpacked fixture to a new directory and returns its path.
func unpack(t testing.TB, packed string) string {
	t.Helper()
	f, err := os.Open(packed)
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	must(t, err)
	defer z.Close()
	path := filepath.Join(t.TempDir(), "a.db")
	out, err := os.Create(path)
	must(t, err)
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	must(t, out.Close())
	return path
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	found, err := filepath.Glob(filepath.Join(root, "devmapper", pattern))
	must(t, err)
	if len(found) == 0 {
		t.Fatalf("no fixtures %s", pattern)
	}
	return found
}

// addKey changes something in a database of any product.
func addKey(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists([]byte("zz-test"))
	if err != nil {
		return err
	}
	return b.Put([]byte("k"), []byte("v"))
}

func TestFixturesWhole(t *testing.T) {
	for _, pattern := range []string{"base/n10/*.db.zst", "base/n1000/*.db.zst", "real/c0*/*.db.zst"} {
		for _, packed := range fixtures(t, pattern) {
			path := unpack(t, packed)
			was := read(t, path)
			r, err := Edit(t.Context(), path, t.TempDir(), addKey)
			if err != nil {
				t.Errorf("%s: %v", packed, err)
				continue
			}
			if string(read(t, path)) != string(was) {
				t.Fatalf("%s: the original was written", packed)
			}
			checkParts(t, path, r, len(r.Pages))
		}
	}
}

// Damaged files give an error or a result that holds; bbolt must not die on them.
func TestFixturesDamaged(t *testing.T) {
	refused := 0
	for _, packed := range fixtures(t, "damage/d*/*.db.zst") {
		path := unpack(t, packed)
		r, err := Edit(t.Context(), path, t.TempDir(), addKey)
		if err != nil {
			refused++
			t.Logf("%s: %v", filepath.Base(filepath.Dir(packed)), err)
			continue
		}
		if d := filepath.Base(filepath.Dir(packed)); strings.HasPrefix(d, "d48") || strings.HasPrefix(d, "d49") {
			t.Logf("%s: accepted", d)
		}
		checkParts(t, path, r, 0, len(r.Pages)/2, len(r.Pages))
	}
	if refused == 0 {
		t.Error("no damaged file was refused")
	}
}
