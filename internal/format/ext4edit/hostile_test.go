package ext4edit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// tiny gives a small file system with a hash tree, a mapped file, attributes in a block, and FIDs.
func tiny(t testing.TB, args string) []byte {
	t.Helper()
	img := makeImage(t, variant{"tiny", "1M", "-t ext4 -b 1024 -I 256 -N 40 " + args, true})
	e := openEdit(t, img)
	root := uint32(ext4.InoRoot)
	for i := range 30 {
		n := Name{fmt.Appendf(nil, "%d-%0100d", i, i), 11, ext4.TypeDir, ext4.DirdataLUFID, ext4.LUFIDRecord(fid(i))}
		if _, err := e.InsertName(root, n); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := e.MakeDir(NewInode{}, root, nil)
	if err == nil {
		_, err = e.InsertName(root, Name{[]byte("dir"), dir, ext4.TypeDir, 0, nil})
	}
	if err == nil {
		err = e.SetXattr(dir, ext4.XattrIndexTrusted, "big", make([]byte, 500))
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, e.Size())
	if _, err := e.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	return buf
}

// exercise opens an image and does everything to it, whatever it holds. It fails when a block outside is to be written, when a changed
// block was not read from the image, or when an operation that failed changed something.
func exercise(t testing.TB, img []byte) {
	fs, err := ext4.New(bytes.NewReader(img), int64(len(img)), "hostile")
	if err != nil {
		return
	}
	e, err := Open(fs, Options{Time: 1, AllowErrors: true})
	if err != nil {
		return
	}
	f := fid(3)
	dir := uint32(ext4.InoRoot)
	name := func(s string) Name {
		return Name{[]byte(s), dir, ext4.TypeDir, ext4.DirdataLUFID, ext4.LUFIDRecord(f)}
	}
	long := string(bytes.Repeat([]byte("l"), 200))
	ops := []func() error{
		func() error { _, err := e.InsertName(dir, name("new")); return err },
		func() error { _, err := e.InsertName(dir, name(long)); return err },
		func() error { return e.SetDotDot(dir, dir, &f) },
		func() error { _, err := e.InsertName(11, name("new")); return err },
		func() error { _, err := e.MakeDir(NewInode{Mode: 0o700}, dir, &f); return err },
		func() error { _, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular}); return err },
		func() error { return e.SetXattr(12, ext4.XattrIndexTrusted, "big", make([]byte, 600)) },
		func() error { return e.SetXattr(12, ext4.XattrIndexTrusted, "lma", make([]byte, 24)) },
		func() error { return e.RemoveXattr(12, ext4.XattrIndexTrusted, "big") },
		func() error { return e.SetLinks(12, 3) },
		func() error { return e.OIInsert(12, lustre.OIEntry{FID: lustre.FID{Seq: 9}}) },
		func() error { e.made[12] = true; return e.FreeInode(12) },
	}
	for _, entry := range []string{"dir", "new", "7-" + fmt.Sprintf("%0100d", 7)} {
		var at At
		ops = append(ops,
			func() error { x, err := e.Find(dir, []byte(entry)); at = x.At; return err },
			func() error { _, err := e.SetLUFID(dir, []byte(entry), at, f); return err },
			func() error { return e.SetType(dir, []byte(entry), at, 1) },
			func() error { return e.RemoveName(dir, []byte(entry), at) })
	}
	for i, op := range ops {
		before := snapshot(e)
		if err := op(); err != nil && !bytes.Equal(snapshot(e), before) {
			t.Fatalf("operation %d failed (%v) and changed something", i, err)
		}
	}
	for _, b := range e.Blocks() {
		at := b.Number * uint64(len(b.Before))
		if at+uint64(len(b.Before)) > uint64(len(img)) || !bytes.Equal(img[at:at+uint64(len(b.Before))], b.Before) {
			t.Fatalf("block %d is not what the image holds there", b.Number)
		}
	}
}

// snapshot is all that an edit holds.
func snapshot(e *Edit) []byte {
	var buf []byte
	for _, b := range e.Blocks() {
		buf = fmt.Appendf(buf, "%d", b.Number)
		buf = append(buf, b.After...)
	}
	return buf
}

// Damage of any kind leads to errors, not to panics, endless loops or writes to where nothing should be written.
func TestHostile(t *testing.T) {
	for _, args := range []string{"-O ^has_journal,^resize_inode", "-O ^has_journal,^metadata_csum,^resize_inode,uninit_bg", "-O ^has_journal,^metadata_csum,^extents,^64bit,^resize_inode"} {
		img := tiny(t, args)
		exercise(t, img)
		r := rand.New(rand.NewPCG(1, 2))
		rounds := 500
		if testing.Short() {
			rounds = 100
		}
		for range rounds {
			bad := bytes.Clone(img)
			for range 1 + r.IntN(4) {
				at := r.IntN(90 * 1024) // superblock to the first directories
				if r.IntN(3) == 0 {
					at = 1024 + r.IntN(3*1024)
				}
				switch r.IntN(4) {
				case 0:
					bad[at] ^= 1 << r.IntN(8)
				case 1:
					le.PutUint32(bad[at&^3:], r.Uint32())
				case 2:
					le.PutUint16(bad[at&^1:], uint16(r.IntN(300)))
				default:
					clear(bad[at : at+r.IntN(300)])
				}
			}
			seal(bad)
			exercise(t, bad)
		}
	}
}

// seal makes the checksum of the superblock right, and of the first inodes and descriptors, so that damage gets past them.
func seal(img []byte) {
	fs, err := ext4.New(bytes.NewReader(img), int64(len(img)), "x")
	if err != nil || fs.Super().Offset != ext4.SuperOffset {
		return
	}
	fs.Sums().PutSuper(img[ext4.SuperOffset : ext4.SuperOffset+ext4.SuperSize])
	if raw, at, err := fs.RawGroup(0); err == nil && at+int64(len(raw)) < int64(len(img)) {
		fs.Sums().PutGroup(0, img[at:at+int64(len(raw))])
	}
	for ino := uint32(1); ino < 20; ino++ {
		if in, err := fs.Inode(ino); err == nil {
			fs.Sums().PutInode(ino, img[in.Offset:in.Offset+int64(len(in.Raw))])
		}
	}
}

// FuzzEdit changes a small image in one place and does everything to it.
func FuzzEdit(f *testing.F) {
	img := tiny(f, "-O ^has_journal,^metadata_csum,^resize_inode,uninit_bg")
	f.Add(uint32(1024+4), []byte{0xff, 0xff})
	f.Add(uint32(2048), bytes.Repeat([]byte{3}, 12))
	f.Add(uint32(40000), bytes.Repeat([]byte{0}, 200))
	f.Fuzz(func(t *testing.T, at uint32, data []byte) {
		bad := bytes.Clone(img)
		copy(bad[int(at)%len(bad):], data)
		seal(bad)
		exercise(t, bad)
	})
}
