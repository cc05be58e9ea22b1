package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
)

// Content is overwritten in place, over the edges of blocks and through every kind of map, and never beyond the end of a file.
func TestWriteFile(t *testing.T) {
	for _, v := range variants[:4] {
		dir := t.TempDir()
		content := bytes.Repeat([]byte("0123456789abcdef"), 30000)
		if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		img := makeImage(t, v, "-d", dir)
		e := openEdit(t, img)
		ino := list(t, e.View(), ext4.InoRoot)["file"].Inode
		for _, at := range []int{0, 1023, 12 * 1024, 300 * 1024, len(content) - 2500} {
			data := bytes.Repeat([]byte{'x'}, 2500)
			if err := e.WriteFile(ino, int64(at), data); err != nil {
				t.Fatal(err)
			}
			copy(content[at:], data)
		}
		for _, at := range []int64{-1, int64(len(content)) - 1, 1 << 40} {
			if err := e.WriteFile(ino, at, []byte("xx")); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		}
		in, err := fresh(t, e).Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fresh(t, e).ReadAll(in, 1<<20); err != nil || !bytes.Equal(got, content) {
			t.Errorf("content differs, %v", err)
		}
		undo(t, e, img, fsck(t, e, img))
	}
}

// Inodes that are to stay free are passed over, also those at the end of the part of a table that was used.
func TestPassOver(t *testing.T) {
	for _, v := range variants {
		img := makeImage(t, v)
		e := openEdit(t, img)
		var made []uint32
		for range 6 {
			ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular})
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, ino)
		}
		for _, ino := range made {
			if err := e.FreeInode(ino); err != nil {
				t.Fatal(err)
			}
		}
		got, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular, Not: made[:3]})
		if err != nil || got != made[3] {
			t.Errorf("%s: inode %d and not %d: %v", v.name, got, made[3], err)
		}
		if _, err := e.InsertName(ext4.InoRoot, Name{Name: []byte("made"), Inode: got, Type: ext4.TypeRegular}); err != nil {
			t.Fatal(err)
		}
		undo(t, e, img, fsck(t, e, img))
	}
}

// Symbolic links, FIFOs and sockets are made as e2fsck expects them.
func TestNewInodes(t *testing.T) {
	for _, v := range variants {
		img := makeImage(t, v)
		e := openEdit(t, img)
		for i, n := range []NewInode{{Mode: ext4.ModeSymlink | 0o777, Target: "short"}, {Mode: ext4.ModeSymlink | 0o777, Target: strings.Repeat("l", 59)},
			{Mode: ext4.ModeFIFO | 0o600}, {Mode: ext4.ModeSocket | 0o600, UID: 1 << 20, GID: 1 << 21, Project: 7}} {
			ino, err := e.AllocInode(n)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.InsertName(ext4.InoRoot, Name{Name: fmt.Append(nil, i), Inode: ino, Type: ext4.DirentTypeOf(n.Mode)}); err != nil {
				t.Fatal(err)
			}
			in, err := fresh(t, e).Inode(ino)
			if err != nil || in.Mode != n.Mode || in.UID != n.UID || in.GID != n.GID || in.Mtime().Sec != 1700000000 || !in.Allocated {
				t.Errorf("%+v, %v", in, err)
			}
			if got, err := fresh(t, e).ReadAll(in, 100); n.Target != "" && (err != nil || string(got) != n.Target) {
				t.Errorf("%q, %v", got, err)
			}
		}
		undo(t, e, img, fsck(t, e, img))
	}
}
