package boltedit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

func TestBuild(t *testing.T) {
	for _, o := range []BuildOptions{{}, {PageSize: 1024}, {PageSize: 65536, Mode: 0o640}, {NoFreelistSync: true, PageSize: 4096}} {
		path := filepath.Join(t.TempDir(), "new.db")
		fill := func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			n, _ := b.NextSequence()
			return b.Put([]byte{byte(n)}, make([]byte, 3000))
		}
		must(t, Build(t.Context(), path, o, fill, fill))
		b := read(t, path)
		m, err := readMetas(bytes.NewReader(b))
		must(t, err)
		if o.PageSize != 0 && m.current.pageSize != o.PageSize || (m.current.freelist == noFreelist) != o.NoFreelistSync {
			t.Errorf("%+v: page size %d, free list %#x", o, m.current.pageSize, m.current.freelist)
		}
		fi, err := os.Stat(path)
		must(t, err)
		if want := max(o.Mode, o.Mode|0o600); fi.Mode().Perm() != want {
			t.Errorf("mode %v", fi.Mode())
		}
		if len(b) > 40*m.current.pageSize {
			t.Errorf("%d bytes", len(b))
		}
		whole := content(t, b, o.NoFreelistSync)
		if whole == content(t, read(t, buildEmpty(t)), false) {
			t.Error("the database is empty")
		}
		// With one meta page gone the content is still all there.
		clear(b[m.current.slot*m.current.pageSize:][16:80])
		if m.current.slot == 0 || m.current.pageSize == os.Getpagesize() { // else bbolt has to guess the page size
			if got := content(t, b, o.NoFreelistSync); got != whole {
				t.Error("the older meta page shows something else")
			}
		}
	}
}

func buildEmpty(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "empty.db")
	must(t, Build(t.Context(), path, BuildOptions{}))
	return path
}

func TestBuildFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.db")
	mine := errors.New("mine")
	if err := Build(t.Context(), path, BuildOptions{}, addKey, func(*bbolt.Tx) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("%v", err)
	}
	if err := Build(t.Context(), path, BuildOptions{}, func(*bbolt.Tx) error { panic("mine") }); err == nil {
		t.Error("no error after a panic")
	}
	if err := Build(t.Context(), path, BuildOptions{PageSize: 1000}, addKey); err == nil {
		t.Error("page size 1000")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Build(ctx, path, BuildOptions{}, addKey); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	if err := Build(t.Context(), path, BuildOptions{}, addKey); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if string(read(t, path)) != "precious" {
		t.Error("an existing file was written")
	}
}
