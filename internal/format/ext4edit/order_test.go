package ext4edit

import (
	"fmt"
	"slices"
	"testing"

	"fettle/internal/format/ext4"
)

// While blocks are written in the order of their turns, a directory never misses a name that it had and will have, as a reader sees it
// that goes through its blocks one by one.
func TestTurnsKeepNames(t *testing.T) {
	for _, v := range variants {
		if v.size == "150M" || v.name == "inline-512" {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			path := makeImage(t, v)
			for round := range 12 { // each makes the directory larger: linear, tree, splits
				e := openEdit(t, path)
				for i := range 40 {
					n := Name{Name: fmt.Appendf(nil, "%d-%d-%0100d", round, i, i), Inode: 11, Type: ext4.TypeDir}
					if _, err := e.InsertName(ext4.InoRoot, n); err != nil {
						t.Fatal(err)
					}
					if i%8 != 0 {
						continue
					}
					if !followTurns(t, e, path) {
						return
					}
				}
				path = apply(t, e, path)
			}
		})
	}
}

// followTurns writes the blocks of an edit one by one to a copy in memory.
func followTurns(t *testing.T, e *Edit, path string) bool {
	t.Helper()
	img := &memory{under: openFS(t, path), over: map[uint64][]byte{}}
	had := namesOf(t, img)
	blocks := e.Blocks()
	slices.SortStableFunc(blocks, func(a, b Block) int { return int(a.Turn) - int(b.Turn) })
	for i, b := range blocks {
		img.over[b.Number] = b.After
		now := namesOf(t, img)
		for name := range had {
			if !now[name] {
				t.Errorf("%q is not there after block %d (%d of %d, turn %d)", name, b.Number, i+1, len(blocks), b.Turn)
				return false
			}
		}
	}
	return true
}

// memory is an image with some blocks changed.
type memory struct {
	under *ext4.FS
	over  map[uint64][]byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	size := int64(m.under.Super().BlockSize)
	for n := int64(0); n < int64(len(p)); {
		block, in := uint64((off+n)/size), (off+n)%size
		buf := m.over[block]
		if buf == nil {
			buf = make([]byte, size)
			if err := m.under.ReadBlock(block, buf); err != nil {
				return int(n), err
			}
		}
		n += int64(copy(p[n:], buf[in:]))
	}
	return len(p), nil
}

func namesOf(t *testing.T, m *memory) map[string]bool {
	t.Helper()
	fs, err := ext4.New(m, m.under.Size(), "memory")
	if err != nil {
		t.Fatal(err)
	}
	in, err := fs.Inode(ext4.InoRoot)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	if err := fs.Dir(in, func(d ext4.Dirent) bool { out[string(d.Name)] = true; return true }, nil); err != nil {
		t.Fatal(err)
	}
	return out
}
