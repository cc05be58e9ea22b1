package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/format/ext4"
)

// Many attributes of one inode come, change their size, move between inode and block, and go; their order in the block is that of the
// format, and e2fsck finds nothing at any stage.
func TestXattrPlaces(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, v)
			e := openEdit(t, img)
			m := newModel(t, e)
			m.create(ext4.InoRoot, "f", true)
			ino := m.names[ext4.InoRoot]["f"].Inode
			m.attrs[ino] = map[string]string{}
			r := rand.New(rand.NewPCG(3, 4))
			blocks, full := 0, 0
			for i := range 400 {
				name := []string{"zz", "a", "link", "lma", "lov", "bb", "a-long-name", "b-long-name", "c", "fid"}[r.IntN(10)]
				key := "4." + name
				if r.IntN(3) == 0 {
					_, there := m.attrs[ino][key]
					if err := e.RemoveXattr(ino, ext4.XattrIndexTrusted, name); there != (err == nil) {
						t.Fatal(err)
					}
					delete(m.attrs[ino], key)
				} else {
					value := bytes.Repeat([]byte{byte(i)}, r.IntN(int(e.sb.InodeSize)/3))
					err := e.SetXattr(ino, ext4.XattrIndexTrusted, name, value)
					if errors.Is(err, ErrNoSpace) {
						full++
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					m.attrs[ino][key] = string(value)
				}
				if i%20 == 0 {
					m.check(t, fresh(t, e))
				}
				if i == 200 {
					fsck(t, e, img)
				}
				in, err := e.View().Inode(ino)
				if err != nil {
					t.Fatal(err)
				}
				if in.FileACL != 0 {
					blocks++
				}
			}
			m.check(t, fresh(t, e))
			if blocks == 0 || blocks == 400 && e.sb.InodeSize > 128 {
				t.Errorf("an attribute block was there %d times", blocks)
			}
			after := fsck(t, e, img)
			m.debugfs(t, after+".plain")
			undo(t, e, img, after)
			t.Log(fmt.Sprint(blocks, " with block, ", full, " refused"))
		})
	}
}

// An attribute block that inodes share is copied, and freed with its last inode.
func TestSharedXattrBlock(t *testing.T) {
	for _, v := range variants {
		if v.name == inodesAreBlocks {
			continue // no value fits into a block that does not fit into an inode
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, v)
			e := openEdit(t, img)
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
