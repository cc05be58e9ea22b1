package lustrelab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The same seed gives the same bytes, another seed others.
func TestSameBytes(t *testing.T) {
	o := Options{MDTs: 2, Files: 300, Seed: 3, Changing: true, MetadataCsum: true}
	read := func(o Options) []byte {
		b, err := os.ReadFile(make1(t, o).Paths[1])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := read(o)
	if !bytes.Equal(first, read(o)) {
		t.Error("two file systems of one seed differ")
	}
	o.Seed++
	if bytes.Equal(first, read(o)) {
		t.Error("two file systems of two seeds are the same")
	}
}

func TestMakeRefuses(t *testing.T) {
	dir := t.TempDir()
	for what, o := range map[string]Options{
		"hash": {Hashes: []string{"md5"}}, "MDTs": {MDTs: 1000}, "name": {FSName: "far-too-long"}, "inode size": {InodeSize: 256},
		"odd inode size": {InodeSize: 700}, "striped": {Dirs: 3, Striped: 9}, "shards": {Shards: 5000},
	} {
		if made, err := Make(t.Context(), dir, o); err == nil {
			t.Errorf("%s: made %+v", what, made)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	keep := filepath.Join(dir, "mdt1.img")
	if err := os.WriteFile(keep, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), dir, Options{Files: 10}); !errors.Is(err, os.ErrExist) {
		t.Errorf("an image that is there: %v", err)
	}
	if b, err := os.ReadFile(keep); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mdt0.img")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file system is left: %v", err)
	}
}

func TestMakeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := Make(ctx, dir, Options{Files: 100}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
