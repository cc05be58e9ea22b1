package quietfile

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestOpenLeavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1000, 0)
	if err := os.Chtimes(path, old, time.Now()); err != nil {
		t.Fatal(err)
	}
	f, size, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "content" || size != 7 {
		t.Errorf("%q, size %d, %v", b, size, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if at := fi.Sys().(*syscall.Stat_t).Atim; at.Sec != old.Unix() {
		t.Errorf("access time %d, was %d", at.Sec, old.Unix())
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, fifo, "/dev/null", filepath.Join(dir, "nothing")} {
		if f, _, err := Open(p, 0); err == nil {
			f.Close()
			t.Errorf("%s was opened", p)
		}
	}
}
