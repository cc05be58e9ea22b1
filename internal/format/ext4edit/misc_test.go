package ext4edit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// poke writes into the superblock of an image and sets its checksum.
func poke(t *testing.T, img string, fn func(raw []byte)) {
	t.Helper()
	fs := openFS(t, img)
	raw := bytes.Clone(fs.Super().Raw)
	fn(raw)
	fs.Sums().PutSuper(raw)
	writeAt(t, img, raw, ext4.SuperOffset)
}

// What cannot be edited is refused, and said to be so.
func TestRefusals(t *testing.T) {
	img := makeImage(t, variant{"plain", "20M", "-t ext4 -b 4096 -J size=4", false})
	set32 := func(off int, v uint32) func([]byte) {
		return func(raw []byte) { le.PutUint32(raw[off:], le.Uint32(raw[off:])|v) }
	}
	set16 := func(off int, v uint16) func([]byte) { return func(raw []byte) { le.PutUint16(raw[off:], v) } }
	for _, c := range []struct {
		name string
		fn   func(raw []byte)
		opt  Options
		ok   bool
	}{
		{"pristine", func([]byte) {}, Options{}, true},
		{"needs recovery", set32(ext4.SBFeatureIncompat, ext4.IncompatRecover), Options{}, false},
		{"unknown incompat", set32(ext4.SBFeatureIncompat, 1<<30), Options{}, false},
		{"unknown ro_compat", set32(ext4.SBFeatureROCompat, 1<<30), Options{}, false},
		{"bigalloc", set32(ext4.SBFeatureROCompat, ext4.ROCompatBigalloc), Options{}, false},
		{"shared blocks", set32(ext4.SBFeatureROCompat, ext4.ROCompatSharedBlocks), Options{}, false},
		{"read-only", set32(ext4.SBFeatureROCompat, ext4.ROCompatReadonly), Options{}, false},
		{"both checksums", set32(ext4.SBFeatureROCompat, ext4.ROCompatGDTCsum), Options{}, false},
		{"no file types", func(raw []byte) {
			le.PutUint32(raw[ext4.SBFeatureIncompat:], le.Uint32(raw[ext4.SBFeatureIncompat:])&^ext4.IncompatFiletype)
		}, Options{}, false},
		{"not clean", set16(ext4.SBState, 0), Options{}, false},
		{"errors", set16(ext4.SBState, ext4.StateValid|ext4.StateErrors), Options{}, false},
		{"errors allowed", set16(ext4.SBState, ext4.StateErrors), Options{AllowErrors: true}, true},
		{"orphans", set32(ext4.SBLastOrphan, 12), Options{}, false},
	} {
		path := filepath.Join(t.TempDir(), "img")
		copySparse(t, img, path)
		poke(t, path, c.fn)
		_, err := Open(openFS(t, path), c.opt)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "img")
	copySparse(t, img, path)
	writeAt(t, path, []byte("x"), ext4.SuperOffset+ext4.SBLastMounted) // the checksum is wrong now
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) {
		t.Errorf("wrong checksum: %v", err)
	}
	fs := openFS(t, img)
	in, err := fs.Inode(fs.Super().JournalInum)
	if err != nil {
		t.Fatal(err)
	}
	copySparse(t, img, path)
	err = in.Blocks(fs, func(x ext4.Extent) bool {
		writeAt(t, path, binary.BigEndian.AppendUint32(nil, 1), int64(x.Physical)*4096+journalStart)
		return false
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "journal") {
		t.Errorf("journal with content: %v", err)
	}
	if err := os.Truncate(path, 10<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(openFS(t, path), Options{}); !errors.Is(err, ErrRefused) {
		t.Errorf("truncated: %v", err)
	}
}

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

// An attribute block that inodes share is copied, and freed with its last inode.
func TestSharedXattrBlock(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			img := makeImage(t, v)
			e := openEdit(t, img)
			if e.sb.InodeSize >= e.sb.BlockSize {
				t.Skip("no value fits into a block that does not fit into an inode")
			}
			m := newModel(t, e)
			var ino [3]uint32
			for i := range ino {
				m.create(ext4.InoRoot, fmt.Sprint("f", i), true)
				ino[i] = m.names[ext4.InoRoot][fmt.Sprint("f", i)].Inode
			}
			big := bytes.Repeat([]byte("b"), int(e.sb.BlockSize)-200)
			if int(e.sb.InodeSize) > len(big) {
				big = bytes.Repeat([]byte("b"), int(e.sb.InodeSize))
			}
			set := func(i int, name string, value []byte) {
				t.Helper()
				if err := e.SetXattr(ino[i], ext4.XattrIndexUser, name, value); err != nil {
					t.Fatal(err)
				}
			}
			set(0, "big", big)
			m.attrs[ino[0]] = map[string]string{"1.big": string(big)}
			for _, i := range []int{1, 2} {
				share(t, e, ino[0], ino[i])
				m.attrs[ino[i]] = map[string]string{"1.big": string(big)}
			}
			m.check(t, fresh(t, e))
			fsck(t, e, img)
			set(1, "big", append([]byte("other"), big[5:]...))
			m.attrs[ino[1]]["1.big"] = "other" + string(big[5:])
			if err := e.FreeInode(ino[2]); err != nil {
				t.Fatal(err)
			}
			m.drop(ext4.InoRoot, m.names[ext4.InoRoot]["f2"])
			delete(m.attrs, ino[2])
			delete(m.links, ino[2])
			m.check(t, fresh(t, e))
			fsck(t, e, img)
			if err := e.RemoveXattr(ino[0], ext4.XattrIndexUser, "big"); err != nil {
				t.Fatal(err)
			}
			m.attrs[ino[0]] = map[string]string{}
			m.check(t, fresh(t, e))
			undo(t, e, img, fsck(t, e, img))
		})
	}
}

// share makes an inode use the attribute block of another one.
func share(t *testing.T, e *Edit, from, to uint32) {
	t.Helper()
	a, err := e.inode(from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.inode(to)
	if err != nil {
		t.Fatal(err)
	}
	buf, err := e.change(a.FileACL)
	if err != nil {
		t.Fatal(err)
	}
	le.PutUint32(buf[ext4.XattrHdrRefcount:], le.Uint32(buf[ext4.XattrHdrRefcount:])+1)
	e.sums.PutXattrBlock(a.FileACL, buf)
	e.setFileACL(b, a.FileACL)
	if err := errors.Join(e.over.write(a.FileACL, buf), e.addSectors(b, e.sectors()), e.putInode(b)); err != nil {
		t.Fatal(err)
	}
}

// Values in inodes of their own stay, and replacing them is refused; others of the same inode can be changed.
func TestValueInInode(t *testing.T) {
	img := makeImage(t, variant{"ea", "30M", "-t ext4 -b 4096 -I 512 -O ea_inode", false}, "-d", sample(t))
	val := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(val, bytes.Repeat([]byte("v"), 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "debugfs", "-w", "-R", "ea_set -f "+val+" /small user.huge", img)
	run(t, "e2fsck", "-fy", img) // debugfs counts the directory's blocks wrongly
	e := openEdit(t, img)
	small := list(t, e.View(), ext4.InoRoot)["small"].Inode
	if err := e.SetXattr(small, ext4.XattrIndexUser, "huge", []byte("x")); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	if err := e.RemoveXattr(small, ext4.XattrIndexUser, "huge"); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	for i := range 5 {
		if err := e.SetXattr(small, ext4.XattrIndexTrusted, fmt.Sprint("a", i), make([]byte, 90*i)); err != nil {
			t.Fatal(err)
		}
	}
	in, err := e.View().Inode(small)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := e.View().Xattr(in, ext4.XattrIndexUser, "huge"); err != nil || !ok || len(v) != 4096 {
		t.Errorf("%d bytes, %v, %v", len(v), ok, err)
	}
	undo(t, e, img, fsck(t, e, img))
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
		{e.SetFlags(11, ext4.FlagIndex, 0), ErrInvalid},
		{e.SetMode(11, ext4.ModeRegular), ErrInvalid},
		{e.SetXattr(11, 0, "x", nil), ErrInvalid},
		{e.SetXattr(11, ext4.XattrIndexTrusted, "", nil), ErrInvalid},
		{e.SetXattr(11, ext4.XattrIndexTrusted, "x", make([]byte, 5000)), ErrNoSpace},
		{e.RemoveXattr(11, ext4.XattrIndexTrusted, "x"), ErrAbsent},
		{e.FreeInode(11), ErrInvalid},
		{e.FreeBlock(1), ErrDamaged},
		{e.FreeBlock(1 << 50), ErrDamaged},
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
	steps := []error{e.SetMode(11, 0o123), e.SetMode(11, in.Mode&0o7777), e.SetLinks(11, 9), e.SetLinks(11, in.Links), e.SetFlags(11, ext4.FlagImmutable, 0),
		e.SetFlags(11, 0, ext4.FlagImmutable), e.SetOwner(11, 70000, 80000), e.SetOwner(11, in.UID, in.GID)}
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
