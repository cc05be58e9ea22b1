package ext4edit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// withIndex makes a file system with an index of these blocks in a file, and gives the file's inode.
func withIndex(t testing.TB, v variant, blocks [][]byte) (path string, ino uint32) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "oi.16.0"), bytes.Join(blocks, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	path = makeImage(t, v, "-d", dir)
	e := openEdit(t, path)
	x, err := e.Find(ext4.InoRoot, []byte("oi.16.0"))
	if err != nil {
		t.Fatal(err)
	}
	return path, x.Inode
}

// growing are forms of file systems in which an index grows: the block size decides how soon, the map of blocks how.
var growing = []struct {
	v     variant
	order string
	n     int
}{
	{variant{"ext3-1k", "30M", "-t ext3 -b 1024 -I 256 -J size=1", false}, "random", 100_000},
	{variant{"ext4-4k-csum", "40M", "-t ext4 -b 4096 -O metadata_csum", false}, "random", 20_000},
	{variant{"ext4-1k-extents", "30M", "-t ext4 -b 1024", false}, "ascending", 20_000},
	{variant{"ext2-1k", "30M", "-t ext2 -b 1024", false}, "descending", 20_000},
}

// keysOf gives FIDs in an order.
func keysOf(order string, n int) []lustre.FID {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	seen := map[lustre.FID]bool{}
	var out []lustre.FID
	for len(out) < n {
		f := lustre.FID{Seq: 0x200000400 + uint64(r.IntN(1000)), OID: r.Uint32N(1 << 20)}
		if !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	if order != "random" {
		slices.SortFunc(out, func(a, b lustre.FID) int { return a.Compare(b) })
	}
	if order == "descending" {
		slices.Reverse(out)
	}
	return out
}

// An index takes any number of entries, in any order, and stays what a server and e2fsck expect.
func TestIndexGrows(t *testing.T) {
	for _, c := range growing {
		t.Run(c.v.name+" "+c.order, func(t *testing.T) {
			size := 1024
			if c.v.name == "ext4-4k-csum" {
				size = 4096
			}
			blocks, err := lustre.BuildOI(size, nil)
			if err != nil {
				t.Fatal(err)
			}
			path, ino := withIndex(t, c.v, blocks)
			e := openEdit(t, path)
			n := c.n
			if testing.Short() {
				n = 5000
			}
			want := map[lustre.FID]lustre.OIEntry{}
			for i, f := range keysOf(c.order, n) {
				x := lustre.OIEntry{FID: f, Ino: uint32(i + 1), Generation: uint32(i * 7)}
				if err := e.OIInsert(ino, x); err != nil {
					t.Fatalf("entry %d: %v", i, err)
				}
				want[f] = x
			}
			levels := checkIndex(t, e, ino, want)
			t.Logf("%d entries in %d blocks, %d levels of index blocks", len(want), indexSize(t, e, ino)/size, levels)
			checked := 0
			for f, x := range want {
				if got, err := e.OIFind(ino, f); err != nil || got != x {
					t.Fatalf("%v: %+v, %v", f, got, err)
				}
				if checked++; checked == 2000 {
					break
				}
			}
			if err := e.OIInsert(ino, lustre.OIEntry{FID: keysOf(c.order, n)[0]}); !errors.Is(err, ErrExists) {
				t.Errorf("the same again: %v", err)
			}
			fsck(t, e, path)
		})
	}
}

func indexSize(t testing.TB, e *Edit, ino uint32) int {
	t.Helper()
	in, err := e.View().Inode(ino)
	if err != nil {
		t.Fatal(err)
	}
	return int(in.Size)
}

// plainIndex reads an index without the decoders: a tree in a file.
type plainIndex struct {
	t       testing.TB
	file    []byte
	size    int
	levels  int
	used    map[uint32]string // blocks by what they are
	entries map[lustre.FID]lustre.OIEntry
	last    []byte
}

// checkIndex reads an index file anew from the edited file system, and compares it with what it should hold. It gives the levels of
// index blocks.
func checkIndex(t testing.TB, e *Edit, ino uint32, want map[lustre.FID]lustre.OIEntry) int {
	t.Helper()
	fs, err := ext4.New(e, e.Size(), "again")
	if err != nil {
		t.Fatal(err)
	}
	p := &plainIndex{t: t, file: make([]byte, indexSize(t, e, ino)), size: int(fs.Super().BlockSize), used: map[uint32]string{0: "root"}, entries: map[lustre.FID]lustre.OIEntry{}}
	if _, err := fs.ReadFile(ino, 0, p.file); err != nil {
		t.Fatal(err)
	}
	root := p.file[:p.size]
	if binary.LittleEndian.Uint64(root) != 0xbedabb1ed || root[8] != 16 || root[10] != 8 || root[12] != 4 {
		t.Fatalf("root: %x", root[:16])
	}
	p.levels = int(root[14])
	p.pointers(root[16:], (p.size-16)/20, p.levels, nil, nil)
	p.idle(binary.LittleEndian.Uint32(root[20:]))
	if len(p.used)*p.size != len(p.file) {
		t.Errorf("%d blocks are used or idle, the file has %d", len(p.used), len(p.file)/p.size)
	}
	if len(p.entries) != len(want) {
		t.Errorf("%d entries, want %d", len(p.entries), len(want))
	}
	for f, x := range want {
		if p.entries[f] != x {
			t.Fatalf("%v: %+v, want %+v", f, p.entries[f], x)
		}
	}
	return p.levels
}

// block claims a block of the file.
func (p *plainIndex) block(n uint32, what string) []byte {
	p.t.Helper()
	if p.used[n] != "" || int(n) >= len(p.file)/p.size {
		p.t.Fatalf("block %d is %s and %q, of %d", n, what, p.used[n], len(p.file)/p.size)
	}
	p.used[n] = what
	return p.file[int(n)*p.size:][:p.size]
}

// pointers goes through count, limit and pointers of the root or an index block. All keys below lie between from and to.
func (p *plainIndex) pointers(b []byte, limit, levels int, from, to []byte) {
	if limit == p.size/20 && len(b) != p.size {
		limit-- // the limit of the root is less than that of others
	}
	count := int(binary.LittleEndian.Uint16(b[2:]))
	if int(binary.LittleEndian.Uint16(b)) != limit || count < 2 || count > limit {
		p.t.Fatalf("limit %d, want %d; count %d", binary.LittleEndian.Uint16(b), limit, count)
	}
	for i := 1; i < count; i++ {
		low, high := from, to
		if i > 1 {
			low = b[i*20 : i*20+16]
		}
		if i+1 < count {
			high = b[(i+1)*20 : (i+1)*20+16]
		}
		child := binary.LittleEndian.Uint32(b[i*20+16:])
		if levels > 0 {
			p.pointers(p.block(child, "index block"), p.size/20, levels-1, low, high)
			continue
		}
		p.leaf(p.block(child, "leaf"), low, high)
	}
	for _, x := range b[count*20:] {
		if x != 0 {
			p.t.Fatal("something lies behind the pointers")
		}
	}
}

func (p *plainIndex) leaf(b, from, to []byte) {
	count := int(binary.LittleEndian.Uint16(b[2:]))
	if binary.LittleEndian.Uint16(b) != 0x1976 || count > (p.size-4)/24 {
		p.t.Fatalf("leaf: %x", b[:4])
	}
	for i := range count {
		r := b[4+i*24:][:24]
		if p.last != nil && bytes.Compare(p.last, r[:16]) >= 0 || bytes.Compare(r[:16], from) < 0 || to != nil && bytes.Compare(r[:16], to) >= 0 {
			p.t.Fatalf("key %x after %x, in a leaf for %x to %x", r[:16], p.last, from, to)
		}
		p.last = r[:16]
		f := lustre.FID{Seq: binary.BigEndian.Uint64(r), OID: binary.BigEndian.Uint32(r[8:]), Ver: binary.BigEndian.Uint32(r[12:])}
		if f != (lustre.FID{}) {
			p.entries[f] = lustre.OIEntry{FID: f, Ino: binary.BigEndian.Uint32(r[16:]), Generation: binary.BigEndian.Uint32(r[20:])}
		}
	}
}

func (p *plainIndex) idle(table uint32) {
	for table != 0 {
		b := p.block(table, "table of idle blocks")
		if binary.LittleEndian.Uint16(b) != 0x7903 {
			p.t.Fatalf("table of idle blocks: %x", b[:4])
		}
		for i := range int(binary.LittleEndian.Uint16(b[2:])) {
			p.block(binary.LittleEndian.Uint32(b[8+4*i:]), "idle")
		}
		table = binary.LittleEndian.Uint32(b[4:])
	}
}

// idleIndex is an index with full leaves and two tables of idle blocks.
func idleIndex(t testing.TB) (blocks [][]byte, want map[lustre.FID]lustre.OIEntry) {
	t.Helper()
	want = map[lustre.FID]lustre.OIEntry{}
	var entries []lustre.OIEntry
	for i := range 300 {
		x := lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: uint32(10 * (i + 1))}, Ino: uint32(i + 12)}
		entries, want[x.FID] = append(entries, x), x
	}
	blocks, err := lustre.BuildOI(1024, entries)
	if err != nil {
		t.Fatal(err)
	}
	n := uint32(len(blocks))
	second, err1 := lustre.IAMIdle{Blocks: []uint32{n + 2}}.Encode(1024)
	first, err2 := lustre.IAMIdle{Next: n, Blocks: []uint32{n + 3, n + 4}}.Encode(1024)
	empty, err3 := lustre.ShapeOI.Leaf(1024, nil)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	lustre.SetIAMIdle(blocks[0], n+1)
	return append(blocks, second, first, empty, empty, empty), want
}

var idleForm = variant{"idle", "4M", "-t ext3 -b 1024 -O ^has_journal", false}

// Idle blocks of an index are used before it gets new ones, with the blocks of their tables.
func TestIndexTakesIdleBlocks(t *testing.T) {
	blocks, want := idleIndex(t)
	path, ino := withIndex(t, idleForm, blocks)
	e := openEdit(t, path)
	taken := map[string]int{}
	for i := range 1500 {
		x := lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: uint32(10*(i%300+1) + 1 + i/300)}, Ino: uint32(i + 1)}
		if err := e.OIInsert(ino, x); err != nil {
			t.Fatal(err)
		}
		want[x.FID] = x
		if i%25 != 0 {
			continue
		}
		checkIndex(t, e, ino, want)
		root := make([]byte, 1024)
		if _, err := e.View().ReadFile(ino, 0, root); err != nil {
			t.Fatal(err)
		}
		grown := indexSize(t, e, ino) > 1024*len(blocks)
		table := binary.LittleEndian.Uint32(root[20:])
		if grown && table != 0 {
			t.Fatal("the file grew while there were idle blocks")
		}
		taken[fmt.Sprint(table, grown)]++
	}
	if len(taken) < 4 {
		t.Errorf("conditions of the tables: %v", taken)
	}
	fsck(t, e, path)
}

// Whatever tables of idle blocks say, no block that the index uses is taken.
func TestIndexRefusesWrongIdleBlocks(t *testing.T) {
	sound, _ := idleIndex(t)
	n := len(sound) - 5 // the first behind the tree
	for name, damage := range map[string]func(b [][]byte){
		"a leaf in use":         func(b [][]byte) { le.PutUint32(b[n+1][12:], 2) },
		"an empty leaf in use":  func(b [][]byte) { clear(b[2][2:]); le.PutUint32(b[n+1][12:], 2) },
		"the root":              func(b [][]byte) { le.PutUint32(b[n+1][12:], 0) },
		"a block behind it":     func(b [][]byte) { le.PutUint32(b[n+1][12:], 5000) },
		"a table that is none":  func(b [][]byte) { lustre.SetIAMIdle(b[0], 3) },
		"a table behind it":     func(b [][]byte) { lustre.SetIAMIdle(b[0], 1<<31) },
		"too many":              func(b [][]byte) { le.PutUint16(b[n+1][2:], 60000) },
		"a next that is none":   func(b [][]byte) { le.PutUint16(b[n+1][2:], 0); le.PutUint32(b[n+1][4:], 1) },
		"an idle block in use":  func(b [][]byte) { copy(b[n+4], b[1]) },
		"a table inside a loop": func(b [][]byte) { le.PutUint16(b[n+1][2:], 1); le.PutUint32(b[n+1][8:], uint32(n+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			blocks, _ := idleIndex(t)
			damage(blocks)
			path, ino := withIndex(t, idleForm, blocks)
			e := openEdit(t, path)
			for i := range 60 {
				before := snapshot(e)
				err := e.OIInsert(ino, lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: 2001, Ver: uint32(i)}, Ino: 12})
				if err == nil {
					continue
				}
				if !errors.Is(err, ErrDamaged) || !bytes.Equal(snapshot(e), before) {
					t.Fatalf("%v; changed: %t", err, !bytes.Equal(snapshot(e), before))
				}
				return
			}
			t.Error("no split was refused")
		})
	}
}

// Indexes of other forms are left alone.
func TestIndexOfOtherForms(t *testing.T) {
	lvar := make([]byte, 2048)
	le.PutUint32(lvar, 0xb01dface)
	other, err := lustre.ShapeFLD.Build(1024, 256, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, blocks := range map[string][][]byte{"lvar": {lvar}, "of other sizes": other} {
		path, ino := withIndex(t, idleForm, blocks)
		if err := openEdit(t, path).OIInsert(ino, lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: 1}, Ino: 12}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzIndex changes places of an index and inserts into it: every insert ends, and one that fails changes nothing.
func FuzzIndex(f *testing.F) {
	blocks, _ := idleIndex(f)
	path, ino := withIndex(f, idleForm, blocks)
	img, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	e := openEdit(f, path)
	in, err := e.inode(ino)
	if err != nil {
		f.Fatal(err)
	}
	p, err := e.places(in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0, 14, 1, 0, 0, 36, 0, 0}, uint32(2001))
	f.Add([]byte{1, 2, 42, 0, 0, 20, 3, 0}, uint32(11))
	f.Add(bytes.Repeat([]byte{0, 40, 255, 255}, 3), uint32(1))
	f.Fuzz(func(t *testing.T, patches []byte, key uint32) {
		bad := bytes.Clone(img)
		for ; len(patches) >= 4; patches = patches[4:] {
			at, err := p.at(uint32(patches[0]) % p.blocks)
			if err != nil {
				t.Fatal(err)
			}
			copy(bad[at*1024+uint64(patches[1])*4+uint64(patches[2]&3):], patches[2:4])
		}
		fs, err := ext4.New(bytes.NewReader(bad), int64(len(bad)), "index")
		if err != nil {
			t.Fatal(err)
		}
		e, err := Open(fs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			before := len(e.over.after)
			x := lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: key, Ver: uint32(i)}, Ino: 12}
			err := e.OIInsert(ino, x)
			if err != nil && len(e.over.after) != before {
				t.Fatalf("failed and left something: %v", err)
			}
			if got, ferr := e.OIFind(ino, x.FID); err == nil && (ferr != nil || got != x) {
				t.Fatalf("inserted, and then found %+v, %v", got, ferr)
			}
		}
	})
}
