package mkldiskfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// shapes are the kinds of images that must come out right.
var shapes = map[string]Options{
	"block-mapped":  {InodeSize: 512},
	"extents":       {InodeSize: 1024, Extents: true},
	"csum":          {InodeSize: 512, Extents: true, MetadataCsum: true, Bit64: true},
	"csum32":        {InodeSize: 256, MetadataCsum: true},
	"fragmented":    {InodeSize: 512, Fragment: true},
	"deep extents":  {InodeSize: 2048, Extents: true, Fragment: true, MetadataCsum: true},
	"linear":        {InodeSize: 512, Linear: true, Extents: true},
	"ea_inode":      {InodeSize: 512, EAInode: true, Extents: true},
	"ea_inode csum": {InodeSize: 1024, EAInode: true, MetadataCsum: true},
	"small groups":  {InodeSize: 512, InodesPerGroup: 64},
}

const bigDir = 30000 // names: enough for inner nodes

// sample makes an image with a large, a middling and a small directory, files of several lengths, long attributes and a freed inode.
func sample(t *testing.T, opt Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mdt.img")
	opt.Label, opt.Seed, opt.Inodes, opt.Time = "lab-MDT0000", 7, 1000, 1700000000
	im, err := Create(path, opt)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	alloc := func(dir bool) uint32 {
		ino, err := im.AllocInode(dir)
		must(err)
		return ino
	}
	putDir := func(d *Dir, links uint16) {
		m, err := im.PutDir(d)
		must(err)
		must(im.PutInode(d.Ino, &Inode{Mode: ext4.ModeDir | 0o755, Links: links, Generation: d.Generation, Map: m}))
	}
	im.UseRoot()
	lost := alloc(true)
	putDir(&Dir{Ino: lost, Parent: Entry{Ino: 2}, MinBlocks: 4}, 2)
	root := Dir{Ino: ext4.InoRoot, Parent: Entry{Ino: 2}, Entries: []Entry{{Name: "lost+found", Ino: lost, Type: ext4.TypeDir}}}
	links := uint16(3)
	file := alloc(false)
	names := uint16(0)
	for i, n := range []int{0, 1, 90, 700, bigDir} {
		ino := alloc(true)
		d := Dir{Ino: ino, Generation: im.Generation(ino), Parent: Entry{Ino: 2, FID: lustre.FIDRoot}}
		for j := range n {
			e := Entry{Name: fmt.Sprintf("name-%d-%s", j, strings.Repeat("x", j%23)), Ino: file, Type: ext4.TypeRegular}
			if j%5 > 0 {
				e.FID = lustre.FID{Seq: lustre.SeqNormal, OID: uint32(j)}
			}
			d.Entries = append(d.Entries, e)
		}
		names += uint16(n)
		putDir(&d, 2)
		root.Entries = append(root.Entries, Entry{Name: fmt.Sprintf("dir%d", i), Ino: ino, Type: ext4.TypeDir, FID: lustre.FID{Seq: lustre.SeqNormal + 1, OID: uint32(i)}})
		links++
	}
	must(im.PutInode(file, &Inode{Mode: ext4.ModeRegular | 0o644, Links: names, Xattrs: []Xattr{
		{Index: ext4.XattrIndexTrusted, Name: "lma", Value: make([]byte, 24)},
		{Index: ext4.XattrIndexTrusted, Name: "link", Value: content(longXattr(opt))},
		{Index: ext4.XattrIndexTrusted, Name: "lov", Value: make([]byte, 56)},
	}}))
	for i, n := range []int{1, 4096, 50000, 5 << 20} {
		ino := alloc(false)
		m, err := im.PutFile(ino, im.Generation(ino), content(n))
		must(err)
		must(im.PutInode(ino, &Inode{Mode: ext4.ModeRegular | 0o600, Links: 1, Generation: im.Generation(ino), Map: m}))
		root.Entries = append(root.Entries, Entry{Name: fmt.Sprintf("file%d", i), Ino: ino, Type: ext4.TypeRegular})
	}
	link := alloc(false)
	must(im.PutInode(link, &Inode{Mode: ext4.ModeSymlink | 0o777, Links: 1, Map: FastSymlink("dir0/nowhere")}))
	root.Entries = append(root.Entries, Entry{Name: "link", Ino: link, Type: ext4.TypeSymlink})
	gone := alloc(false)
	must(im.PutInode(gone, &Inode{Mode: ext4.ModeRegular | 0o600, Deleted: 1700000001}))
	im.FreeInode(gone, false)
	putDir(&root, links)
	must(im.Close())
	return path
}

// longXattr is the length of an attribute that has to leave the inode.
func longXattr(opt Options) int {
	if opt.EAInode {
		return 10000
	}
	return 3000
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + i>>8 + 1)
	}
	return b
}

func TestReader(t *testing.T) {
	for name, opt := range shapes {
		t.Run(name, func(t *testing.T) {
			fs, err := ext4.Open(sample(t, opt))
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			report := func(p ext4.Problem) { t.Errorf("%+v", p) }
			for _, p := range fs.Problems() {
				report(p)
			}
			if r := fs.Refusals(); len(r) > 0 {
				t.Error(r[0])
			}
			count := map[uint16]int{}
			names, fids := 0, 0
			err = fs.SweepInodes(t.Context(), ext4.SweepOptions{Report: report}, func(in *ext4.Inode) error {
				if in.Flags&ext4.FlagEAInode != 0 {
					return nil
				}
				count[in.Mode&ext4.ModeTypeMask]++
				if in.IsDir() {
					return fs.Dir(in, func(d ext4.Dirent) bool {
						names++
						if _, ok := d.LUFID(); ok {
							fids++
						}
						return true
					}, report)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if count[ext4.ModeDir] != 7 || count[ext4.ModeRegular] != 6 || count[ext4.ModeSymlink] != 1 {
				t.Errorf("inodes by type: %v", count)
			}
			if want := bigDir + 700 + 90 + 1 + 7*2 + 6 + 5; names != want || fids != 4*(bigDir+700+90)/5+5+5 {
				t.Errorf("%d names (want %d), %d FIDs", names, want, fids)
			}
			got, ok, err := fs.Xattr(must(fs.Inode(12)), ext4.XattrIndexTrusted, "link")
			if err != nil || !ok || !bytes.Equal(got, content(longXattr(opt))) {
				t.Errorf("the long attribute: %d bytes, %v, %v", len(got), ok, err)
			}
			if got, err := fs.ReadAll(must(fs.Inode(lastFile(opt))), 6<<20); err != nil || !bytes.Equal(got, content(5<<20)) {
				t.Errorf("the content of the last file: %d bytes, %v", len(got), err)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// lastFile is the inode of the longest file.
func lastFile(opt Options) uint32 {
	if opt.EAInode {
		return 22
	}
	return 21
}

// e2fsck finds nothing once the copy is plain ext4.
func TestE2fsck(t *testing.T) {
	e2fsck := lookTool(t, "e2fsck")
	for name, opt := range shapes {
		t.Run(name, func(t *testing.T) {
			path := sample(t, opt)
			if err := Plain(context.Background(), path); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), e2fsck, "-fn", path).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out[:min(len(out), 3000)])
			}
		})
	}
}

// What says that nothing is wrong must be able to say that something is.
func TestE2fsckObjects(t *testing.T) {
	e2fsck := lookTool(t, "e2fsck")
	path := sample(t, Options{})
	if err := Plain(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	fs := must(ext4.Open(path))
	defer fs.Close()
	f := must(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	if _, err := f.WriteAt([]byte{9}, must(fs.InodeOffset(13))+ext4.InodeLinks); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), e2fsck, "-fn", path).CombinedOutput(); err == nil {
		t.Errorf("a wrong link count is accepted:\n%s", out)
	}
}

func lookTool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// The same options give the same bytes.
func TestSameBytes(t *testing.T) {
	a, err := os.ReadFile(sample(t, Options{Linear: true, MetadataCsum: true}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sample(t, Options{Linear: true, MetadataCsum: true}))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two images of one seed differ")
	}
}

func TestRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.img")
	for _, o := range []Options{{}, {Inodes: 10, InodeSize: 100}, {Inodes: 1 << 40}} {
		if im, err := Create(path, o); err == nil {
			im.Abandon()
			t.Errorf("%+v is accepted", o)
		}
	}
	im, err := Create(path, Options{Inodes: 10, InodesPerGroup: 16})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Options{Inodes: 10}); err == nil {
		t.Error("a file that is there is overwritten")
	}
	for range 1000 {
		if _, err = im.AllocInode(false); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("more inodes than there is room for")
	}
	im.Abandon()
}
