package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"fettle/internal/format/ext4"
)

// Many attributes of one inode come, change their size, move between inode and block, and go; their order in the block is that of the
// format, and e2fsck finds nothing at any stage.
func TestXattrPlaces(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
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
