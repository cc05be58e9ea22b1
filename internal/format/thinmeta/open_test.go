package thinmeta

import (
	"context"
	"errors"
	"fettle/internal/format/quietfile"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory was opened")
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fifo); err == nil {
		t.Error("a FIFO was opened")
	}
	path := writeImage(t, dir)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Check(context.Background(), CheckOptions{})
	if err != nil || len(r.Problems) > 0 || f.Size() != int64(f.Blocks()*BlockSize) {
		t.Error(err, said(r))
	}
	if err := errors.Join(f.UseHeldRoot(), f.Close()); err == nil {
		t.Error("a metadata snapshot was found")
	}
}

func writeImage(t *testing.T, dir string) string {
	t.Helper()
	m, _ := smallPool().make()
	path := filepath.Join(dir, "thin.meta")
	if err := os.WriteFile(path, m.image(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDirect reads past the page cache, as is done with block devices: all reads must be aligned.
func TestDirect(t *testing.T) {
	path := writeImage(t, t.TempDir())
	direct, _, err := quietfile.Open(path, unix.O_DIRECT)
	if err != nil {
		t.Skipf("no O_DIRECT here: %v", err)
	}
	defer direct.Close()
	if _, err := direct.ReadAt(alignedBuffer(BlockSize), 0); err != nil {
		t.Skipf("no O_DIRECT here: %v", err)
	}
	info, err := direct.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(direct, info.Size(), path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Check(context.Background(), CheckOptions{})
	if err != nil || len(r.Problems) > 0 {
		t.Fatal(err, said(r))
	}
	for _, d := range r.Devices {
		for _, err := range f.Runs(d.ID) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if shared, _, err := f.Shares(context.Background(), 1, 2); !shared || err != nil {
		t.Error(shared, err)
	}
	if err := f.ReadBlock(make([]byte, BlockSize+1)[1:], 1); err != nil {
		t.Error(err)
	}
}
