package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
)

// forge builds databases that bbolt would never write.
type forge struct {
	data []byte
	ps   int
}

// newForge makes pages of 1024 bytes, with a valid meta page 0 that names root.
func newForge(pages int, root uint64) *forge { return newForgeFree(pages, root, noFreelist) }

func newForgeFree(pages int, root, freelist uint64) *forge {
	f := &forge{make([]byte, pages*1024), 1024}
	b := f.data[pageHeader:]
	le := binary.LittleEndian
	f.header(0, flagMeta, 0, 0)
	f.header(1, flagMeta, 0, 0)
	le.PutUint32(b, magic)
	le.PutUint32(b[4:], version)
	le.PutUint32(b[8:], 1024)
	le.PutUint64(b[16:], root)
	le.PutUint64(b[32:], freelist)
	le.PutUint64(b[40:], uint64(pages))
	le.PutUint64(b[48:], 6)
	sum := fnv.New64a()
	sum.Write(b[:56])
	le.PutUint64(b[56:], sum.Sum64())
	return f
}

func (f *forge) header(page, flags, count, overflow int) {
	b, le := f.data[page*f.ps:], binary.LittleEndian
	le.PutUint64(b, uint64(page))
	le.PutUint16(b[8:], uint16(flags))
	le.PutUint16(b[10:], uint16(count))
	le.PutUint32(b[12:], uint32(overflow))
}

// branch writes a branch page with the given children and ascending keys.
func (f *forge) branch(page int, children ...int) {
	f.header(page, flagBranch, len(children), 0)
	b, le := f.data[page*f.ps:], binary.LittleEndian
	at := pageHeader + elementSize*len(children)
	for i, c := range children {
		e := b[pageHeader+elementSize*i:]
		le.PutUint32(e, uint32(at-pageHeader-elementSize*i))
		le.PutUint32(e[4:], 2)
		le.PutUint64(e[8:], uint64(c))
		binary.BigEndian.PutUint16(b[at:], uint16(i+1))
		at += 2
	}
}

// buckets writes a leaf page whose elements are buckets with the given roots.
func (f *forge) buckets(page int, roots ...int) {
	f.header(page, flagLeaf, len(roots), 0)
	b, le := f.data[page*f.ps:], binary.LittleEndian
	at := pageHeader + elementSize*len(roots)
	for i, r := range roots {
		e := b[pageHeader+elementSize*i:]
		le.PutUint32(e, elementIsBucket)
		le.PutUint32(e[4:], uint32(at-pageHeader-elementSize*i))
		le.PutUint32(e[8:], 2)
		le.PutUint32(e[12:], bucketHead)
		binary.BigEndian.PutUint16(b[at:], uint16(i+1))
		le.PutUint64(b[at+2:], uint64(r))
		at += 2 + bucketHead
	}
}

func repeat(page, n int) (pages []int) {
	for range n {
		pages = append(pages, page)
	}
	return pages
}

func TestHostileShapes(t *testing.T) {
	const pages = 200
	for _, c := range []struct {
		name  string
		build func(f *forge)
		kind  Kind
	}{
		{"branch is its own child", func(f *forge) { f.branch(2, repeat(2, 50)...) }, DoubleUse},
		{"each branch is twenty times the parent of the next", func(f *forge) {
			for p := 2; p < pages; p++ {
				f.branch(p, repeat(min(p+1, pages-1), 20)...)
			}
		}, DoubleUse},
		{"bucket contains itself", func(f *forge) { f.buckets(2, repeat(2, 20)...) }, DoubleUse},
		{"each bucket is twenty times in the one before", func(f *forge) {
			for p := 2; p < pages; p++ {
				f.buckets(p, repeat(min(p+1, pages-1), 20)...)
			}
		}, DoubleUse},
		{"branches too deep", func(f *forge) {
			for p := 2; p < pages-1; p++ {
				f.branch(p, p+1)
			}
			f.buckets(pages - 1)
		}, BadPage},
		{"buckets too deep", func(f *forge) {
			for p := 2; p < pages-1; p++ {
				f.buckets(p, p+1)
			}
			f.buckets(pages - 1)
		}, BadPage},
		{"all buckets below one branch", func(f *forge) {
			f.branch(2, 3, 4, 5, 6)
			for p := 3; p < 7; p++ {
				f.buckets(p, repeat(2, 20)...)
			}
		}, DoubleUse},
		{"every page claims all that follow", func(f *forge) {
			f.branch(2, 3, 4, 5, 6, 7, 8, 9)
			for p := 3; p < pages; p++ {
				f.header(p, flagLeaf, 0xffff, 0xffffffff)
				binary.LittleEndian.PutUint32(f.data[p*f.ps+pageHeader+4:], elementSize*0xffff)
			}
		}, BadPage},
		{"first key is right behind the first of many elements, and empty", func(f *forge) {
			f.header(2, flagLeaf, 5000, 0)
			binary.LittleEndian.PutUint32(f.data[2*f.ps+pageHeader+4:], elementSize)
		}, BadPage},
		{"no page is what it should be", func(f *forge) {
			rnd := rand.New(rand.NewPCG(3, 4))
			for i := 2 * f.ps; i < len(f.data); i++ {
				f.data[i] = byte(rnd.Uint32())
			}
		}, BadPage},
		{"anything refers to anything", func(f *forge) {
			rnd := rand.New(rand.NewPCG(5, 6))
			for p := 2; p < pages; p++ {
				var to []int
				for range 20 {
					to = append(to, rnd.IntN(pages+3))
				}
				if p%2 == 0 {
					f.branch(p, to...)
				} else {
					f.buckets(p, to...)
				}
			}
		}, DoubleUse},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newForge(pages, 2)
			c.build(f)
			file := openBytes(t, f.data)
			if m, ok := file.Current(); !ok {
				t.Fatalf("%+v", m)
			}
			r := readAll(t, file)
			if r.report.Sound() || r.damage == nil {
				t.Errorf("sound: %v, damage: %v", r.report.Sound(), r.damage)
			}
			found := false
			for _, p := range r.report.Problems {
				found = found || p.Kind == c.kind
			}
			if !found {
				t.Errorf("no %s in %v", c.kind, r.report.Problems)
			}
			if limit := 21 * pages; len(r.lines) > 2*limit || r.parts > limit {
				t.Errorf("%d lines, %d parts", len(r.lines), r.parts)
			}
		})
	}
}

// Freelists that cannot be.
func TestHostileFreelist(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name  string
		wreck func(f *forge, list []byte)
		size  int // of the file in bytes, 0 for whole
		kind  Kind
	}{
		{"is not one", func(f *forge, _ []byte) { f.header(9, flagLeaf, 0, 0) }, 0, BadFreelist},
		{"goes on past the end", func(f *forge, _ []byte) { f.header(9, flagFreelist, 1, 0xffffffff) }, 0, BadFreelist},
		{"goes on past the end inside its first page", func(f *forge, _ []byte) { f.header(9, flagFreelist, 1, 0xffffffff) }, 9*1024 + 100, BadFreelist},
		{"more entries than room", func(f *forge, _ []byte) { f.header(9, flagFreelist, 0xfffe, 0) }, 0, BadFreelist},
		{"huge count", func(f *forge, list []byte) {
			f.header(9, flagFreelist, 0xffff, 0)
			le.PutUint64(list, 1<<63+5)
		}, 0, BadFreelist},
		{"entry past the end", func(f *forge, list []byte) { le.PutUint64(list[8:], 10) }, 0, BadFreelist},
		{"entry is a meta page", func(f *forge, list []byte) { le.PutUint64(list, 1) }, 0, BadFreelist},
		{"same entry twice", func(f *forge, list []byte) { le.PutUint64(list[8:], 3) }, 0, BadFreelist},
		{"entry is in use", func(f *forge, list []byte) { le.PutUint64(list, 2) }, 0, DoubleUse},
		{"entry is the freelist", func(f *forge, list []byte) { le.PutUint64(list[8*5:], 9) }, 0, DoubleUse},
		{"entry missing", func(f *forge, _ []byte) { f.header(9, flagFreelist, 5, 0) }, 0, LeakedPages},
		{"good", func(*forge, []byte) {}, 0, ""},
		{"good, with the count in the list", func(f *forge, list []byte) {
			f.header(9, flagFreelist, 0xffff, 0)
			copy(list[8:], list[:8*6])
			le.PutUint64(list, 6)
		}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newForgeFree(10, 2, 9)
			f.buckets(2)
			f.header(9, flagFreelist, 6, 0)
			list := f.data[9*f.ps+pageHeader:]
			for i := range 6 {
				le.PutUint64(list[8*i:], uint64(3+i))
			}
			c.wreck(f, list)
			if c.size > 0 {
				f.data = f.data[:c.size]
			}
			r := readAll(t, openBytes(t, f.data))
			if c.kind == "" && (r.report.Free != 6 || r.report.Reachable != 4) {
				t.Errorf("%+v", r.report)
			}
			found := c.kind == ""
			for _, p := range r.report.Problems {
				found = found || p.Kind == c.kind
				if p.Kind != c.kind && p.Kind != OneMetaBad && c.size == 0 && (p.Kind != LeakedPages || c.kind != DoubleUse) {
					t.Error(p)
				}
			}
			if !found {
				t.Errorf("no %s in %v", c.kind, r.report.Problems)
			}
		})
	}
}

// Get and Bucket find an end in a cycle.
func TestHostileGet(t *testing.T) {
	f := newForge(10, 2)
	f.branch(2, 3)
	f.branch(3, 2)
	file := openBytes(t, f.data)
	if _, _, err := file.Root().Get([]byte("a")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, _, err := file.Root().Bucket([]byte("a")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// Pages without a usable header that all look as if they were the start of a huge leaf are not all followed.
func TestHostileSalvage(t *testing.T) {
	const pages = 3000
	f := newForge(pages, 2)
	le := binary.LittleEndian
	for p := 3; p < pages; p++ {
		b := f.data[p*f.ps:]
		le.PutUint64(b, 77)
		start := pageHeader + elementSize*60000
		for i := range f.ps/elementSize - 1 {
			e := b[pageHeader+elementSize*i:]
			le.PutUint32(e[4:], uint32(start+i-pageHeader-elementSize*i))
			le.PutUint32(e[8:], 1)
		}
	}
	if r := readAll(t, openBytes(t, f.data)); r.parts != 0 {
		t.Errorf("%d elements", r.parts)
	}
}

// The list of problems is bounded, the count is not.
func TestManyProblems(t *testing.T) {
	const pages = 3000
	f := newForge(pages, 2)
	var top []int
	for p := 3; p < 53; p++ {
		top = append(top, p)
		var low []int
		for i := range 50 {
			low = append(low, 53+50*(p-3)+i)
		}
		f.branch(p, low...)
	}
	f.branch(2, top...)
	r := readAll(t, openBytes(t, f.data))
	if len(r.report.Problems) != maxProblems || r.report.More < 1000 {
		t.Errorf("%d problems and %d more", len(r.report.Problems), r.report.More)
	}
	var damage *DamageError
	if !errors.As(r.damage, &damage) || len(damage.Problems) != maxProblems || damage.More < 1000 {
		t.Error(fmt.Sprint(r.damage))
	}
}
