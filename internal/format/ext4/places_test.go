package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shapes are ways to lay out groups, each made with several groups.
var shapes = []struct{ name, size, args, then string }{ // then is a size that it gets later
	{"flex, checksums", "40M", "-t ext4 -b 1024", ""},
	{"flex, group checksums", "40M", "-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg", ""},
	{"flex, no checksums", "40M", "-t ext4 -b 1024 -O ^64bit,^metadata_csum,^uninit_bg", ""},
	{"ext3", "40M", "-t ext3 -b 1024", ""},
	{"every group has a copy", "40M", "-t ext3 -b 1024 -O ^sparse_super,^resize_inode", ""},
	{"odd groups", "40M", "-t ext4 -b 1024 -g 4096 -G 2 -O ^metadata_csum,uninit_bg", ""},
	{"groups without flex", "40M", "-t ext4 -b 1024 -O ^flex_bg", ""},
	{"meta groups", "150M", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^metadata_csum,uninit_bg", ""},
	{"two copies", "40M", "-t ext4 -b 1024 -O sparse_super2,^resize_inode,^metadata_csum,uninit_bg", ""},
	{"grown", "20M", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg", "90M"},
	{"grown, checksums", "20M", "-t ext4 -b 1024", "50M"},
	{"shrunk", "90M", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "30M"},
	{"one group, no copy", "7M", "-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg,^has_journal", ""},
	{"one group of checksums, no copy", "7M", "-t ext4 -b 1024", ""},
	{"groups without a copy", "40M", "-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg,sparse_super2,^resize_inode -E num_backup_sb=0", ""},
	{"groups with checksums without a copy", "40M", "-t ext4 -b 1024 -O sparse_super2,^resize_inode -E num_backup_sb=0", ""},
	{"ldiskfs", "300M", "-t ext4 -b 4096 -I 1024 -g 21640 -O ^64bit,^metadata_csum,^extents,uninit_bg,large_dir,ea_inode,quota,project -J size=4", ""},
}

// Nothing is wrong with the groups of a healthy file system; a bitmap or table that is one block from its place is told, though the descriptor's
// checksum is right, and so is one that is in the place of another group's.
func TestPlaces(t *testing.T) {
	for _, v := range shapes {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := filepath.Join(t.TempDir(), "img")
			run(t, 0, "mke2fs", append(append([]string{"-q", "-F"}, strings.Fields(v.args)...), img, v.size)...)
			if v.then != "" {
				run(t, 1, "e2fsck", "-fy", img)
				resize(t, img, v.then)
			}
			f, err := os.OpenFile(img, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fs := verifyGroups(t, f, must(t))
			silent, cells := 0, 0
			for g := range fs.Groups() {
				for _, c := range displaced(t, fs, g) {
					told := 0
					c.do(t, f)
					verifyGroups(t, f, func(Problem) { told++ })
					c.undo(t, f)
					if cells++; told == 0 {
						silent++
						if super, _ := fs.copyOfTable(); super != 0 || !c.table { // without a copy only the inodes tell, which are read elsewhere
							t.Errorf("group %d: %s: silent", g, c.what)
						}
					}
				}
			}
			t.Logf("%d groups, %d cells, %d silent", fs.Groups(), cells, silent)
		})
	}
}

// resize changes the size of a file system.
func resize(t *testing.T, img, size string) {
	t.Helper()
	for _, dir := range []string{"/sbin", "/usr/sbin"} {
		cmd := exec.Command(filepath.Join(dir, "resize2fs"), img, size)
		if out, err := cmd.CombinedOutput(); err == nil {
			return
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	t.Skip("resize2fs of e2fsprogs is not installed")
}

// verifyGroups opens an image and verifies groups, and inode bitmaps as a sweep does.
func verifyGroups(t *testing.T, f *os.File, report Report) *FS {
	t.Helper()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := New(f, size, "image")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range fs.Problems() {
		report(p)
	}
	if err := fs.VerifyGroups(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if err := fs.SweepInodes(t.Context(), SweepOptions{Report: report}, func(*Inode) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return fs
}

// displacement is a change of a descriptor.
type displacement struct {
	what    string
	table   bool // it is of the inode table
	at      int64
	old, by []byte
}

func (d *displacement) do(t *testing.T, f *os.File)   { writeAt(t, f, d.by, d.at) }
func (d *displacement) undo(t *testing.T, f *os.File) { writeAt(t, f, d.old, d.at) }

func writeAt(t *testing.T, f *os.File, b []byte, at int64) {
	t.Helper()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// displaced lists changes of the places of a group.
func displaced(t *testing.T, fs *FS, g uint32) []displacement {
	raw, at, err := fs.RawGroup(g)
	if err != nil {
		t.Fatal(err)
	}
	var out []displacement
	for _, off := range []int{GDBlockBitmapLo, GDInodeBitmapLo, GDInodeTableLo} {
		was := le.Uint32(raw[off:])
		for _, by := range []int64{-1, 1, -7, 300} {
			b := bytes.Clone(raw)
			le.PutUint32(b[off:], uint32(int64(was)+by))
			fs.Sums().PutGroup(g, b)
			out = append(out, displacement{fmt.Sprintf("byte %d of the descriptor: %d moved by %d (flags %x)", off, was, by, DecodeGroup(raw).Flags), off == GDInodeTableLo, at, raw, b})
		}
	}
	return out
}
