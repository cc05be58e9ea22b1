package sqliteedit

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// unpack writes an unpacked fixture below a new directory and returns its path.
func unpack(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	f, err := os.Open(filepath.Join(root, "flux", name))
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	must(t, err)
	defer z.Close()
	path := filepath.Join(t.TempDir(), "content.sqlite")
	out, err := os.Create(path)
	must(t, err)
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	must(t, out.Close())
	return path
}

func TestFixtureStores(t *testing.T) {
	for _, name := range []string{"base-small", "base-medium", "base-sha256", "small-crash"} {
		t.Run(name, func(t *testing.T) {
			path := unpack(t, "bases/"+name+".content.sqlite.zst")
			old, r := editStore(t, path, 4096)
			if !bytes.Equal(old[18:20], []byte{versionWAL, versionWAL}) {
				t.Errorf("the fixture is not in WAL mode: %v", old[18:20])
			}
			t.Logf("%d of %d pages change", len(r.Pages), r.OldPageCount)
			applyPart(t, path, r, len(r.Pages)/2)
			must(t, os.WriteFile(path+"-journal", journalOf(t, r), 0o600))
			checkWithSQLite(t, path, "SELECT count(*) FROM objects")
			if now, _ := os.ReadFile(path); !bytes.Equal(now, old) {
				t.Error("the hot journal did not restore the original")
			}
		})
	}
}

// A copy of a live store, torn in many places: SQL must end with or without an
// error, and a result must be one that can be undone.
func TestFixtureTornCopy(t *testing.T) {
	path := unpack(t, "variants/c01-live-cp-torn/content.sqlite.zst")
	old, err := os.ReadFile(path)
	must(t, err)
	src := &image{data: old[:len(old)/4096*4096], size: 4096}
	e, err := Begin(context.Background(), src)
	if err != nil {
		t.Logf("refused: %v", err)
		return
	}
	defer e.Close()
	found, err := e.IntegrityCheck()
	if err == nil && len(found) == 0 {
		t.Error("no damage found")
	}
	if err := e.Exec("UPDATE objects SET epoch=epoch+1 WHERE rowid%1000=0"); err != nil {
		if !strings.Contains(err.Error(), "malformed") {
			t.Errorf("unexpected error: %v", err)
		}
		return
	}
	r, err := e.Pages()
	must(t, err)
	if !bytes.Equal(patch(patch(src.data, r, true), r, false), src.data) {
		t.Error("before-images do not give the original")
	}
}

// BenchmarkBegin opens a 50 MB store and makes the usual small change.
func BenchmarkBegin(b *testing.B) {
	path := unpack(b, "bases/base-medium.content.sqlite.zst")
	f, err := os.Open(path)
	must(b, err)
	defer f.Close()
	st, err := f.Stat()
	must(b, err)
	src := &fileImage{f, 4096, uint32(st.Size() / 4096)}
	b.ReportAllocs()
	for _, mode := range []string{"open", "edit", "check"} {
		b.Run(mode, func(b *testing.B) {
			for b.Loop() {
				e, err := Begin(context.Background(), src)
				must(b, err)
				switch mode {
				case "edit":
					must(b, e.Exec("INSERT INTO objects(hash,size,object) VALUES(?,-1,?)", rawKey(1), []byte("x")))
					_, err = e.Pages()
					must(b, err)
				case "check":
					_, err = e.IntegrityCheck()
					must(b, err)
				}
				must(b, e.Close())
			}
		})
	}
}
