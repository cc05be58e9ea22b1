package ext4edit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fettle/internal/format/ext4"
)

// things makes one of each kind of object, with maps of all depths that fit into a small file system.
func things(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	holes, err := os.Create(path("holes"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 { // of 1 KiB blocks, single, double and triple indirect ones; more extents than an inode has room for
		if _, err := holes.WriteAt([]byte("x"), int64(i)*int64(i)*1100); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(holes.Close(), os.WriteFile(path("empty"), nil, 0o600), os.WriteFile(path("tiny"), []byte("tiny"), 0o600),
		os.WriteFile(path("run"), bytes.Repeat([]byte("run"), 400_000), 0o600), os.Symlink("short", path("link")), os.Symlink(strings.Repeat("long/", 40), path("longlink")),
		syscall.Mkfifo(path("fifo"), 0o600), os.Mkdir(path("dir"), 0o700), os.Mkdir(path("full"), 0o700), os.WriteFile(path("full/name"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// destroyNamed takes the name of an object out of the root and destroys the object.
func destroyNamed(t *testing.T, e *Edit, name string) {
	t.Helper()
	x, err := e.Find(ext4.InoRoot, []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := e.Shared(t.Context(), []uint32{x.Inode}, nil)
	if err != nil || reasons[x.Inode] != "" {
		t.Fatalf("%s: %v %v", name, reasons, err)
	}
	if err := errors.Join(e.RemoveName(ext4.InoRoot, []byte(name), x.At), e.DestroyInode(x.Inode)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	in, err := e.View().Inode(x.Inode)
	if used, err2 := e.InUse(x.Inode); err != nil || err2 != nil || used || in.Links != 0 || in.Dtime() == 0 || in.Size != 0 || in.FileACL != 0 {
		t.Errorf("%s: used %t, links %d, dtime %d, size %d, %v, %v", name, used, in.Links, in.Dtime(), in.Size, err, err2)
	}
	if in.IsDir() {
		root, err := e.View().Inode(ext4.InoRoot)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.SetLinks(ext4.InoRoot, root.Links-1); err != nil {
			t.Fatal(err)
		}
	}
}

// Objects of all kinds are destroyed in file systems of all shapes: e2fsck finds nothing, every block is free again, a directory with names
// stays, and the old blocks give the old image.
func TestDestroy(t *testing.T) {
	dir := things(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, v, "-d", dir)
			e := openEdit(t, img)
			names := list(t, e.View(), ext4.InoRoot)
			for _, n := range []string{"tiny", "run"} { // an attribute block of its own, and one that is shared
				if err := e.SetXattr(names[n].Inode, ext4.XattrIndexUser, "big", bytes.Repeat([]byte("b"), 900)); err != nil && !errors.Is(err, ErrNoSpace) {
					t.Fatal(err)
				}
			}
			if in, err := e.View().Inode(names["run"].Inode); err == nil && in.FileACL != 0 {
				share(t, e, names["run"].Inode, names["empty"].Inode)
			}
			for _, n := range []string{"holes", "empty", "tiny", "run", "link", "longlink", "fifo"} {
				destroyNamed(t, e, n)
			}
			inline, err := e.View().Inode(names["dir"].Inode)
			if err != nil {
				t.Fatal(err)
			}
			if inline.IsInline() {
				if err := e.DestroyInode(inline.Number); !errors.Is(err, ErrUnsupported) {
					t.Error(err)
				}
			} else {
				destroyNamed(t, e, "dir")
				if err := e.DestroyInode(names["full"].Inode); !errors.Is(err, ErrNotEmpty) {
					t.Error(err)
				}
			}
			undo(t, e, img, fsck(t, e, img))
		})
	}
}

// Values in inodes of their own go with the last attribute that has them.
func TestDestroyValues(t *testing.T) {
	img := makeImage(t, variant{"ea", "30M", "-t ext4 -b 4096 -I 512 -O ea_inode", false}, "-d", things(t))
	val := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(val, bytes.Repeat([]byte("v"), 9000), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"tiny", "run", "fifo"} {
		run(t, "debugfs", "-w", "-R", "ea_set -f "+val+" /"+n+" user.huge", img)
	}
	run(t, "e2fsck", "-fy", img) // debugfs counts blocks wrongly
	valuesWithValues(t, openEdit(t, img))
	e := openEdit(t, img)
	before, inodes, err := e.Free()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"tiny", "run", "fifo"} {
		destroyNamed(t, e, n)
	}
	after, now, err := e.Free()
	if err != nil || now < inodes+4 || after < before+3 {
		t.Errorf("free before %d blocks, %d inodes; after %d, %d: %v", before, inodes, after, now, err)
	}
	undo(t, e, img, fsck(t, e, img))
}

// A value that has a value itself, which no kernel makes, is refused before anything is freed: the two could have one another.
func valuesWithValues(t *testing.T, e *Edit) {
	t.Helper()
	names := list(t, e.View(), ext4.InoRoot)
	holder := func(name string) *ext4.Inode {
		in, err := e.inode(names[name].Inode)
		if err != nil {
			t.Fatal(err)
		}
		a, err := e.attrs(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range append(a.inode, a.block...) {
			if x.inum != 0 {
				in, _, err := e.value(in, x)
				if err != nil {
					t.Fatal(err)
				}
				return in
			}
		}
		t.Fatalf("%s has no value in an inode of its own", name)
		return nil
	}
	tiny, run := holder("tiny"), holder("run")
	for _, pair := range [][2]*ext4.Inode{{tiny, run}, {run, tiny}} {
		a, err := e.attrs(pair[0])
		if err == nil {
			err = e.putInodeAttrs(pair[0], a, []attr{{index: ext4.XattrIndexUser, name: []byte("again"), inum: pair[1].Number, size: uint32(pair[1].Size)}})
		}
		if err == nil {
			err = e.putInode(pair[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	before := len(e.Blocks())
	if err := e.DestroyInode(names["tiny"].Inode); !errors.Is(err, ErrDamaged) {
		t.Errorf("a value with a value: %v", err)
	}
	if reasons, err := e.Shared(t.Context(), []uint32{names["tiny"].Inode}, nil); err != nil || reasons[names["tiny"].Inode] == "" {
		t.Errorf("a value with a value is nobody's but its owner's: %v", err)
	}
	if len(e.Blocks()) != before {
		t.Error("a refusal changed blocks")
	}
}

// An object is not destroyed whose map cannot be read, or has blocks that are free or metadata; nor is one taken into use. Who shares blocks
// with another is told.
func TestDestroyRefusals(t *testing.T) {
	dir := things(t)
	img := makeImage(t, variant{"x", "40M", "-t ext4 -b 1024 -I 256 -O ^extents,^64bit,^metadata_csum", false}, "-d", dir)
	e := openEdit(t, img)
	names := list(t, e.View(), ext4.InoRoot)
	slot := func(name string, i int, block uint32) {
		t.Helper()
		in, err := e.inode(names[name].Inode)
		if err != nil {
			t.Fatal(err)
		}
		le.PutUint32(in.Raw[ext4.InodeBlock+4*i:], block)
		if err := e.putInode(in); err != nil {
			t.Fatal(err)
		}
	}
	first := func(name string) uint32 {
		in, err := e.View().Inode(names[name].Inode)
		if err != nil {
			t.Fatal(err)
		}
		return le.Uint32(in.BlockField())
	}
	want := func(name string, is error) {
		t.Helper()
		before := len(e.Blocks())
		if err := e.DestroyInode(names[name].Inode); !errors.Is(err, is) {
			t.Errorf("%s: %v, not %v", name, err, is)
		}
		if len(e.Blocks()) != before {
			t.Errorf("%s: a refusal changed blocks", name)
		}
	}
	tiny := first("tiny")
	for _, bad := range []uint32{1 << 30, 1, 0x9000} { // outside, metadata, free
		slot("tiny", 0, bad)
		want("tiny", ErrDamaged)
	}
	slot("tiny", 0, tiny)
	slot("tiny", 1, tiny) // its own block twice
	want("tiny", ErrDamaged)
	slot("tiny", 1, 0)
	slot("longlink", 1, first("run")+5)
	reasons, err := e.Shared(t.Context(), []uint32{names["run"].Inode, names["tiny"].Inode}, nil)
	if err != nil || !strings.Contains(reasons[names["run"].Inode], "as well") || reasons[names["tiny"].Inode] != "" {
		t.Errorf("%v %v", reasons, err)
	}
	both := []uint32{names["run"].Inode, names["longlink"].Inode, names["tiny"].Inode}
	if reasons, err = e.Shared(t.Context(), both, nil); err != nil || len(reasons) != 2 || reasons[both[2]] != "" {
		t.Errorf("%v %v", reasons, err)
	}
	want("full", ErrNotEmpty)
	for _, ino := range []uint32{ext4.InoRoot, ext4.InoJournal, 0, 1 << 30} {
		if err := e.DestroyInode(ino); err == nil {
			t.Errorf("inode %d was destroyed", ino)
		}
	}
}

// An inode of which only the mark is lost comes back; then counts are right again, and e2fsck finds nothing.
func TestRestoreInode(t *testing.T) {
	dir := things(t)
	for _, v := range variants {
		if !slices.Contains([]string{"ext2-1k-128", "gdt-csum-512", "csum-32bit-desc", "ldiskfs-1024", "dirdata-csum-4k-large"}, v.name) {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			img := makeImage(t, v, "-d", dir)
			e := openEdit(t, img)
			names := list(t, e.View(), ext4.InoRoot)
			for _, n := range []string{"holes", "dir", "fifo"} {
				ino := names[n].Inode
				if err := e.RestoreInode(ino); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s is in use: %v", n, err)
				}
				unmark(t, e, ino)
				if reasons, err := e.Shared(t.Context(), []uint32{ino}, nil); err != nil || len(reasons) > 0 {
					t.Errorf("%v, %v", reasons, err)
				}
				if err := e.RestoreInode(ino); err != nil {
					t.Fatal(err)
				}
			}
			fsck(t, e, img)
			destroyNamed(t, e, "tiny")
			if err := e.RestoreInode(names["tiny"].Inode); !errors.Is(err, ErrInvalid) {
				t.Errorf("it was deleted: %v", err)
			}
		})
	}
}

// unmark clears the mark of an inode and nothing else, as debugfs does.
func unmark(t *testing.T, e *Edit, ino uint32) {
	t.Helper()
	d, err := e.group((ino - 1) / e.sb.InodesPerGroup)
	if err == nil {
		err = e.loadInodes(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	clearBit(d.inodes, int((ino-1)%e.sb.InodesPerGroup))
	if err := e.putGroup(d); err != nil {
		t.Fatal(err)
	}
}
