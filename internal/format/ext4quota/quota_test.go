package ext4quota

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// fresh makes the file that an empty file system has: an entry for id 0 only.
func fresh(kind Kind) []byte {
	b := make([]byte, 6*BlockSize)
	le.PutUint32(b, magics[kind])
	le.PutUint32(b[4:], version)
	le.PutUint32(b[8:], 604800)
	le.PutUint32(b[12:], 604800)
	le.PutUint32(b[infoBlocks:], 6)
	le.PutUint32(b[infoRoom:], 5)
	for i := 1; i < 5; i++ {
		le.PutUint32(b[i*BlockSize:], uint32(i+1))
	}
	leaf := b[5*BlockSize:]
	le.PutUint16(leaf[leafCount:], 1)
	le.PutUint64(leaf[leafHeader+entryGrace:], 1)
	return b
}

func decode(t interface{ Fatal(...any) }, data []byte) *File {
	f, err := Decode(User, data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Ids get in, at random and next to each other, until there is no room: the file is sound each time, and every id has what it was given.
func TestInsert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := decode(t, fresh(User))
		most := rapid.IntRange(6, 60).Draw(t, "blocks") * BlockSize
		want := map[uint32]Usage{0: {}}
		for i := range rapid.IntRange(1, 120).Draw(t, "ids") {
			id := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 300), rapid.Uint32Range(65500, 70000)).Draw(t, "id")
			u := Usage{Inodes: uint64(i % 5), Bytes: rapid.Uint64().Draw(t, "bytes")}
			was := bytes.Clone(f.Data())
			switch err := f.Insert(id, u, most); {
			case errors.Is(err, ErrFull):
				if !bytes.Equal(was, f.Data()) {
					t.Fatal("an id that did not fit left something behind")
				}
				if _, ok := f.Get(id); ok {
					t.Fatal("an id that did not fit is there")
				}
			case err != nil:
				t.Fatal(err)
			default:
				want[id] = u
			}
			f = decode(t, f.Data())
			if len(f.Data()) > max(most, 6*BlockSize) {
				t.Fatalf("%d bytes, %d are allowed", len(f.Data()), most)
			}
		}
		if !slices.Equal(f.IDs(), slices.Sorted(maps.Keys(want))) {
			t.Fatalf("ids are %d, should be %v", f.IDs(), want)
		}
		for id, u := range want {
			if got, ok := f.Get(id); !ok || got != u {
				t.Fatalf("id %d has %v, should have %v", id, got, u)
			}
		}
	})
}

// Limits and grace times stay when usage is set; the mark of id 0 without usage goes and comes.
func TestSet(t *testing.T) {
	f := decode(t, fresh(User))
	at := f.entries[0]
	grace := func() uint64 { return le.Uint64(f.data[at+entryGrace:]) }
	f.Set(0, Usage{3, 4096})
	if u, ok := f.Get(0); !ok || u != (Usage{3, 4096}) || grace() != 0 {
		t.Errorf("usage %v, grace time %d", u, grace())
	}
	f.Set(0, Usage{})
	if grace() != 1 {
		t.Error("id 0 without usage has no mark")
	}
	le.PutUint64(f.data[at+8:], 500) // a limit
	le.PutUint64(f.data[at+entryGrace:], 77)
	f.Set(0, Usage{9, 9})
	if le.Uint64(f.data[at+8:]) != 500 || grace() != 77 {
		t.Error("limit or grace time were lost")
	}
	if f.Set(5, Usage{}) {
		t.Error("an id without an entry was set")
	}
}

// Every damage that could lead a writer astray is refused.
func TestDamaged(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	put32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	for _, c := range []struct {
		name  string
		spoil func([]byte)
		want  error
	}{
		{"magic", put32(0, 1), ErrForm},
		{"revision 0", put32(4, 0), ErrForm},
		{"no blocks", put32(infoBlocks, 1), ErrDamaged},
		{"too many blocks", put32(infoBlocks, 7), ErrDamaged},
		{"free block outside", put32(infoFree, 6), ErrDamaged},
		{"block with room outside", put32(infoRoom, 1<<31), ErrDamaged},
		{"reference outside", put32(4*BlockSize+4, 6), ErrDamaged},
		{"reference to the info block", put32(2*BlockSize, 0xffffffff), ErrDamaged},
		{"loop", put32(3*BlockSize, 2), ErrDamaged},
		{"table as entries", put32(4*BlockSize+4, 3), ErrDamaged},
		{"id without an entry", put32(4*BlockSize+4, 5), ErrDamaged},
		{"entry that nothing leads to", put32(5*BlockSize+leafHeader+entrySize, 9), ErrDamaged},
		{"count", put16(5*BlockSize+leafCount, 2), ErrDamaged},
	} {
		data := fresh(User)
		c.spoil(data)
		if _, err := Decode(User, data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := Decode(Group, fresh(User)); !errors.Is(err, ErrForm) {
		t.Errorf("a file of users for groups: %v", err)
	}
	if _, err := Decode(User, make([]byte, MaxSize+1)); !errors.Is(err, ErrTooBig) {
		t.Errorf("a large file: %v", err)
	}
}

// Lists that do not hold together are met when an id needs them.
func TestInsertDamaged(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func([]byte)
	}{
		{"free block in use", func(b []byte) { le.PutUint32(b[infoFree:], 3) }},
		{"block with room is a table", func(b []byte) { le.PutUint32(b[infoRoom:], 4) }},
	} {
		data := fresh(User)
		c.spoil(data)
		f := decode(t, data)
		was := bytes.Clone(f.Data())
		if err := f.Insert(1<<24, Usage{1, 1}, 20*BlockSize); !errors.Is(err, ErrDamaged) || !bytes.Equal(was, f.Data()) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzDecode takes any content: no panic, and what is accepted stays sound when ids are set and put in.
func FuzzDecode(f *testing.F) {
	f.Add(fresh(User), uint32(0))
	f.Add(fresh(User), uint32(70000))
	free := append(fresh(User), make([]byte, 2*BlockSize)...)
	le.PutUint32(free[infoBlocks:], 8)
	le.PutUint32(free[infoFree:], 7)
	le.PutUint32(free[7*BlockSize:], 6)
	f.Add(free, uint32(1<<24))
	f.Add(fresh(User)[:100], uint32(1))
	f.Fuzz(func(t *testing.T, data []byte, id uint32) {
		q, err := Decode(User, data[:min(len(data), 64<<10)])
		if err != nil {
			return
		}
		before := len(q.IDs())
		if err := q.Insert(id, Usage{1, 2}, 80<<10); err != nil {
			if len(q.IDs()) != before {
				t.Fatal("a failed insertion left an id behind")
			}
			return
		}
		again, err := Decode(User, q.Data())
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := again.Get(id); !ok || u != (Usage{1, 2}) || len(again.IDs()) != len(q.IDs()) {
			t.Fatalf("id %d has %v", id, u)
		}
	})
}
