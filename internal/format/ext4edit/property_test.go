package ext4edit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/format/ext4"

	"pgregory.net/rapid"
)

// sample makes a small tree for mke2fs -d.
func sample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"empty", "small", "large"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 330 {
		d := "large"
		if i < 5 {
			d = "small"
		}
		if err := os.WriteFile(filepath.Join(dir, d, fmt.Sprintf("file-with-number-%04d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Random operations on file systems of all shapes: the reader sees what the model has, lookups by hash find every name, e2fsck finds
// nothing, and the old blocks give the old image back.
func TestProperty(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			plain := v
			plain.dirdata = false
			img := makeImage(t, plain, "-d", sample(t))
			run(t, "e2fsck", "-fyD", img)
			if v.dirdata {
				setDirdata(t, img, true)
			}
			rounds := 0
			rapid.Check(t, func(r *rapid.T) {
				if rounds >= 4 {
					return
				}
				e := openEdit(t, img)
				m := newModel(r, e)
				actions := m.ops()
				for range rapid.IntRange(10, 60).Draw(r, "ops") {
					op := rapid.SampledFrom([]string{"create", "many", "many", "mkdir", "link", "remove", "rename", "xattr", "xattr", "fid", "dotdot"}).Draw(r, "op")
					try(func() { actions[op](r) })
				}
				m.check(r, fresh(t, e))
				after := fsck(t, e, img)
				m.check(r, openFS(t, after))
				m.debugfs(t, after+".plain")
				undo(t, e, img, after)
				rounds++ // not after a failure, so that it can be made smaller
			})
		})
	}
}

// fresh reads the edited file system anew.
func fresh(t testing.TB, e *Edit) *ext4.FS {
	t.Helper()
	fs, err := ext4.New(e, e.Size(), "edited")
	if err != nil {
		t.Fatal(err)
	}
	return fs
}
