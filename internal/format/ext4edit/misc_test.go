package ext4edit

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Groups that were never written get right bitmaps when something is taken from them.
func TestUninitGroups(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, v)
			e := openEdit(t, img)
			uninit := 0
			for g := range e.view.Groups() {
				d, err := e.group(g)
				if err != nil {
					t.Fatal(err)
				}
				if d.Flags&ext4.GroupBlockUninit != 0 || d.Flags&ext4.GroupInodeUninit != 0 {
					uninit++
				}
				ino, err := e.AllocInode(NewInode{Near: g*e.sb.InodesPerGroup + 1, Mode: ext4.ModeRegular})
				if err != nil {
					t.Fatal(err)
				}
				if at := (ino - 1) / e.sb.InodesPerGroup; at != g {
					t.Errorf("inode %d is in group %d, not %d", ino, at, g)
				}
				n := Name{Name: fmt.Appendf(nil, "in-%d", g), Inode: ino, Type: ext4.TypeRegular}
				if _, err := e.InsertName(ext4.InoRoot, n); err != nil {
					t.Fatal(err)
				}
				if err := e.SetXattr(ino, ext4.XattrIndexUser, "big", make([]byte, min(int(e.sb.BlockSize)-100, 3000))); err != nil {
					t.Fatal(err)
				}
			}
			if v.name == "lazy-many-groups" && uninit < 10 {
				t.Errorf("only %d groups were never written", uninit)
			}
			undo(t, e, img, fsck(t, e, img))
		})
	}
}

// A full file system says so, and what failed has changed nothing.
func TestNoSpace(t *testing.T) {
	for _, args := range []string{"-t ext4 -b 1024 -I 256 -N 100", "-t ext2 -b 1024 -N 64", "-t ext4 -b 1024 -O uninit_bg,^metadata_csum,^64bit -N 64"} {
		img := makeImage(t, variant{"small", "3M", args + " -O ^has_journal", true})
		e := openEdit(t, img)
		m := newModel(t, e)
		var last uint32
		for i := 0; ; i++ {
			before := len(e.Blocks())
			ino, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o600, Generation: 7})
			if errors.Is(err, ErrNoSpace) {
				if len(e.Blocks()) != before {
					t.Error("a failure changed blocks")
				}
				break
			}
			if err != nil || i > 200 {
				t.Fatal(i, err)
			}
			m.links[ino] = 1
			m.insert(ext4.InoRoot, m.name(fmt.Sprint("file", i), ino, ext4.TypeRegular, true))
			last = ino
		}
		for i := 0; ; i++ {
			name := m.name(fmt.Sprint(i, strings.Repeat("n", 240)), last, ext4.TypeRegular, true)
			_, err := e.InsertName(ext4.InoRoot, name)
			if errors.Is(err, ErrNoSpace) {
				was := e.Blocks()
				if _, err := e.InsertName(ext4.InoRoot, name); !errors.Is(err, ErrNoSpace) {
					t.Error(err)
				}
				if !reflect.DeepEqual(e.Blocks(), was) {
					t.Error("a failure changed blocks")
				}
				break
			}
			if err != nil || i > 20000 {
				t.Fatal(i, err)
			}
			m.names[ext4.InoRoot][string(name.Name)] = name
			m.links[last]++
		}
		m.setLinks(last, m.links[last])
		m.check(t, fresh(t, e))
		undo(t, e, img, fsck(t, e, img))
	}
}

// Names that no directory may hold, types, places and inodes that do not exist are refused.
func TestInvalid(t *testing.T) {
	img := makeImage(t, variant{"x", "20M", "-t ext4 -b 1024", true})
	e := openEdit(t, img)
	ok := Name{Name: []byte("x"), Inode: 11, Type: ext4.TypeDir}
	at, err := e.InsertName(ext4.InoRoot, ok)
	if err != nil {
		t.Fatal(err)
	}
	with := func(fn func(n *Name)) Name { n := ok; n.Name = []byte("y"); fn(&n); return n }
	ins := func(n Name) error { _, err := e.InsertName(ext4.InoRoot, n); return err }
	was := len(e.Blocks())
	_, noDir := e.InsertName(15, ok)
	_, moved := e.SetLUFID(ext4.InoRoot, []byte("y"), at, fid(1))
	_, mkdir := e.MakeDir(NewInode{}, 999, nil)
	_, alloc := e.AllocInode(NewInode{Mode: ext4.ModeDir})
	for i, c := range []struct{ got, want error }{
		{ins(ok), ErrExists},
		{ins(with(func(n *Name) { n.Name = nil })), ErrInvalid},
		{ins(with(func(n *Name) { n.Name = []byte("a/b") })), ErrInvalid},
		{ins(with(func(n *Name) { n.Name = []byte("..") })), ErrInvalid},
		{ins(with(func(n *Name) { n.Name = make([]byte, 256) })), ErrInvalid},
		{ins(with(func(n *Name) { n.Inode = 500 })), ErrInvalid},
		{ins(with(func(n *Name) { n.Inode = 1 << 30 })), ErrInvalid},
		{ins(with(func(n *Name) { n.Type = 9 })), ErrInvalid},
		{ins(with(func(n *Name) { n.Flags = ext4.DirdataLUFID })), ErrInvalid},
		{ins(with(func(n *Name) { n.Data = ext4.LUFIDRecord(fid(1)) })), ErrInvalid},
		{ins(with(func(n *Name) { n.Flags, n.Data = 0x10, []byte{5, 1, 2, 3, 4} })), ErrInvalid},
		{noDir, ErrDamaged},
		{moved, ErrAbsent},
		{mkdir, ErrInvalid},
		{alloc, ErrInvalid},
		{e.RemoveName(ext4.InoRoot, []byte("."), At{}), ErrInvalid},
		{e.RemoveName(ext4.InoRoot, []byte("x"), At{at.Logical, at.Offset + 4}), ErrAbsent},
		{e.RemoveName(ext4.InoRoot, []byte("x"), At{77, 0}), ErrAbsent},
		{e.SetLinks(ext4.InoJournal, 0), ErrInvalid},
		{e.SetXattr(11, 0, "x", nil), ErrInvalid},
		{e.SetXattr(11, ext4.XattrIndexTrusted, "", nil), ErrInvalid},
		{e.SetXattr(11, ext4.XattrIndexTrusted, "x", make([]byte, 5000)), ErrNoSpace},
		{e.RemoveXattr(11, ext4.XattrIndexTrusted, "x"), ErrAbsent},
		{e.FreeInode(11), ErrInvalid},
		{e.freeBlock(1), ErrDamaged},
		{e.freeBlock(1 << 50), ErrDamaged},
		{e.OIRemove(11, lustre.FID{Seq: 1}), ErrInvalid},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("case %d: %v, not %v", i, c.got, c.want)
		}
	}
	if len(e.Blocks()) != was {
		t.Error("refusals changed blocks")
	}
	if !slices.IsSortedFunc(e.Blocks(), func(a, b Block) int { return int(a.Number) - int(b.Number) }) {
		t.Error("blocks are not sorted")
	}
}

// An operation that fails within a Try is told once, with the target that it was done to, and takes back what was done to others.
func TestFailureNamesOperation(t *testing.T) {
	img := makeImage(t, variant{"x", "20M", "-t ext4 -b 4096 -I 512", true})
	other := img + ".other"
	if err := os.Link(img, other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(other) })
	e, f := openEdit(t, other), openEdit(t, img)
	err := e.Try(func() error {
		return f.Try(func() error {
			if err := e.SetLinks(11, 9); err != nil {
				return err
			}
			return f.RemoveName(ext4.InoRoot, []byte("none"), At{})
		})
	})
	text := fmt.Sprint(err)
	if strings.Count(text, img) != 1 || strings.Contains(text, other) || !strings.Contains(text, "none") || !errors.Is(err, ErrAbsent) {
		t.Errorf("%s", text)
	}
	if n := len(e.Blocks()) + len(f.Blocks()); n != 0 {
		t.Errorf("%d blocks changed", n)
	}
	boom := errors.New("boom")
	if err := e.Try(func() error { return boom }); err != boom {
		t.Errorf("%v", err)
	}
}

// A part that fails is taken back by itself, and with the whole all of it.
func TestTryWithinTry(t *testing.T) {
	for _, v := range variants[:2] {
		e := openEdit(t, makeImage(t, v))
		stop := errors.New("stop")
		put := func(name string) error {
			_, err := e.InsertName(ext4.InoRoot, Name{Name: []byte(name), Inode: ext4.InoRoot, Type: ext4.TypeRegular})
			return err
		}
		has := func(name string) bool { _, err := e.Find(ext4.InoRoot, []byte(name)); return err == nil }
		try := func(outer error) {
			t.Helper()
			err := e.Try(func() error {
				if err := put("first"); err != nil {
					t.Fatal(err)
				}
				if err := e.Try(func() error { return errors.Join(put("second"), stop) }); !errors.Is(err, stop) {
					t.Errorf("%v", err)
				}
				if !has("first") || has("second") {
					t.Error("a part that failed took the rest with it, or stayed")
				}
				if err := e.Try(func() error { return put("third") }); err != nil || !has("third") {
					t.Errorf("%v", err)
				}
				return outer
			})
			if err != outer {
				t.Errorf("%v, not %v", err, outer)
			}
		}
		before := len(e.Blocks())
		try(stop)
		if has("first") || has("third") || len(e.Blocks()) != before {
			t.Error("something stayed of what failed")
		}
		try(nil)
		if !has("first") || has("second") || !has("third") {
			t.Error("something is not there that was done")
		}
	}
}

// An edit without changes, and one whose changes are taken back, has no blocks.
func TestNothingChanged(t *testing.T) {
	img := makeImage(t, variant{"x", "20M", "-t ext4 -b 4096 -I 512", true})
	e, err := Open(openFS(t, img), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(e.Blocks()); n != 0 {
		t.Errorf("%d blocks", n)
	}
	in, err := e.View().Inode(11)
	if err != nil {
		t.Fatal(err)
	}
	steps := []error{e.SetLinks(11, 9), e.SetLinks(11, in.Links)}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	at, err := e.InsertName(ext4.InoRoot, Name{Name: []byte("n"), Inode: 11, Type: ext4.TypeDir})
	if err == nil {
		err = e.SetType(ext4.InoRoot, []byte("n"), at, ext4.TypeSocket)
	}
	if err == nil {
		err = e.SetTarget(ext4.InoRoot, []byte("n"), at, ext4.InoRoot)
	}
	x, err2 := e.Find(ext4.InoRoot, []byte("n"))
	if err != nil || err2 != nil || x.Inode != ext4.InoRoot || x.Type != ext4.TypeSocket || x.At != at {
		t.Fatalf("%+v, %v, %v", x, err, err2)
	}
	if err := e.RemoveName(ext4.InoRoot, []byte("n"), at); err != nil {
		t.Fatal(err)
	}
	if list := e.Blocks(); len(list) != 0 {
		t.Errorf("%d blocks, block %d", len(list), list[0].Number)
	}
}
