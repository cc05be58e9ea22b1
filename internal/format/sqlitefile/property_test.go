package sqlitefile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// sample is a small healthy database with what stands on which page.
type sample struct {
	raw, wal []byte
	rows     []sampleRow
}

// sampleRow is one row of table t and the pages that hold it.
type sampleRow struct {
	text  string
	pages []uint32
}

var (
	sampleOnce sync.Once
	sampleMade sample
)

// makeSample builds the sample once per test binary.
func makeSample(t testing.TB) sample {
	sampleOnce.Do(func() {
		path, db := build(t, "PRAGMA page_size=512", walMode, testTables)
		fill(t, db, 200, 4000)
		run(t, db, `PRAGMA wal_checkpoint(RESTART)`, fillW, `DELETE FROM t WHERE a % 7 = 0`)
		path = snapshot(t, path)
		var err error
		if sampleMade.raw, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if sampleMade.wal, err = os.ReadFile(path + "-wal"); err != nil {
			t.Fatal(err)
		}
		f := mustOpen(t, path, Options{IgnoreWAL: true})
		objects, _ := f.Schema()
		r := f.NewReader(0)
		chain := &PageSet{}
		r.TrackOverflow(chain)
		f.Tree(objects[0].Root, Table).EachRow(r, 0, 0, func(row *Row, err error) bool {
			s := sampleRow{text: render(f, row, 0), pages: []uint32{row.Page}}
			chain.Range(0, 0, func(n uint32) bool { s.pages = append(s.pages, n); return true })
			sampleMade.rows = append(sampleMade.rows, s)
			*chain = PageSet{}
			return true
		})
	})
	return sampleMade
}

// limitedReader fails the test when more is read than bounded work can need.
type limitedReader struct {
	r     io.ReaderAt
	left  int
	spent func()
}

func (l *limitedReader) ReadAt(b []byte, off int64) (int, error) {
	if l.left--; l.left < 0 {
		l.spent()
		return 0, io.ErrUnexpectedEOF
	}
	return l.r.ReadAt(b, off)
}

// exhaust reads everything that can be reached or swept and returns the rows of five columns.
func exhaust(f *File) map[string]bool {
	rows := map[string]bool{}
	free, _ := f.Freelist()
	r := f.NewReader(8 << 10)
	r.TrackOverflow(free)
	read := &PageSet{} // pages read as table leaves
	collect := func(row *Row, err error) bool {
		if row != nil {
			read.Add(row.Page)
			if err == nil && len(row.Cols) == 5 {
				rows[render(f, row, 0)] = true
			}
		}
		return true
	}
	objects, _ := f.Schema()
	for _, o := range objects[:min(len(objects), 10)] {
		f.Tree(o.Root, Table).EachRow(r, 0, 0, collect)
		f.Tree(o.Root, Index).EachEntry(r, 0, 0, func(*Row, error) bool { return true })
	}
	var row Row
	for n := uint32(1); n <= min(f.PageCount(), 1<<16); n++ {
		buf, err := r.Page(n)
		if err != nil || read.Has(n) || f.Classify(n, buf) != TableLeaf {
			continue
		}
		if leaf, err := r.Leaf(n); err == nil {
			for i := range leaf.Len() {
				collect(&row, r.Row(leaf, i, &row))
			}
		}
	}
	return rows
}

// Whatever bytes are damaged: no panic, bounded work, and every row of which no page was touched is still found.
func TestDamageKeepsTheRest(t *testing.T) {
	s := makeSample(t)
	rapid.Check(t, func(t *rapid.T) {
		raw := bytes.Clone(s.raw)
		damaged := map[uint32]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "hits") {
			at := rapid.OneOf(rapid.IntRange(0, len(raw)-1), rapid.IntRange(0, len(raw)/512-1)).Draw(t, "at")
			if rapid.Bool().Draw(t, "header") {
				at = at / 512 * 512 // b-tree headers and overflow pointers
				at += rapid.IntRange(0, 16).Draw(t, "in header")
			}
			length := rapid.SampledFrom([]int{1, 1, 4, 512}).Draw(t, "length")
			value := rapid.Byte().Draw(t, "value")
			for i := at; i < min(at+length, len(raw)); i++ {
				raw[i] = value
				damaged[uint32(i/512)+1] = true
			}
		}
		f, err := newFile(&limitedReader{bytes.NewReader(raw), 200000, func() { t.Fatal("too much was read") }},
			int64(len(raw)), nil, 0, Options{PageSize: 512})
		if err != nil {
			t.Fatal(err)
		}
		if damaged[1] { // what page 1 says about encoding and reserved bytes cannot be known then
			f.header.Encoding, f.reserved, f.usable = UTF8, 0, 512
		}
		got := exhaust(f)
		for _, row := range s.rows {
			whole := true
			for _, p := range row.pages {
				whole = whole && !damaged[p]
			}
			if whole && !got[row.text] {
				t.Fatalf("row %.40s on pages %d is whole but was not found", row.text, row.pages)
			}
		}
	})
}

// Cutting the file keeps every row that lies before the cut.
func TestTruncationKeepsTheRest(t *testing.T) {
	s := makeSample(t)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, len(s.raw)).Draw(t, "size")
		f, err := newFile(bytes.NewReader(s.raw[:size]), int64(size), nil, 0, Options{PageSize: 512})
		if err != nil {
			t.Fatal(err)
		}
		got, kept := exhaust(f), 0
		for _, row := range s.rows {
			whole := true
			for _, p := range row.pages {
				whole = whole && int(p)*512 <= size
			}
			if whole {
				kept++
				if !got[row.text] {
					t.Fatalf("row %.40s on pages %d is whole but was not found", row.text, row.pages)
				}
			}
		}
		if kept > len(got) {
			t.Fatalf("%d rows kept, %d found", kept, len(got))
		}
	})
}

// A row whose overflow chain breaks gives its columns up to the break and says where it broke.
func TestBrokenOverflow(t *testing.T) {
	path, _ := build(t, "PRAGMA page_size=1024", `CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB, d)`,
		`INSERT INTO t VALUES (7, 'key', zeroblob(0), 1)`,
		`UPDATE t SET c = CAST(printf('%.20000c', 'x') AS BLOB)`)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path, Options{})
	objects, _ := f.Schema()
	leaf := objects[0].Root
	chain := chainOf(t, f, leaf)
	if len(chain) != 19 {
		t.Fatalf("chain %v", chain)
	}
	put := func(b []byte, page, next uint32) {
		copy(b[(page-1)*1024:], []byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)})
	}
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		what   RowFault
		page   uint32
		pages  int // whole chain pages that are still given
	}{
		{"zero", func(b []byte) []byte { clear(b[(chain[5]-1)*1024 : chain[5]*1024]); return b }, FaultOverflowZero, chain[5], 5},
		{"ends", func(b []byte) []byte { put(b, chain[5], 0); return b }, FaultOverflowShort, 0, 6},
		{"range", func(b []byte) []byte { put(b, chain[5], 1<<30); return b }, FaultOverflowRange, 1 << 30, 6},
		{"cycle", func(b []byte) []byte { put(b, chain[5], chain[2]); return b }, FaultOverflowCycle, 0, 2},
		{"self", func(b []byte) []byte { put(b, chain[5], chain[5]); return b }, FaultOverflowCycle, chain[5], 5},
		{"cut", func(b []byte) []byte { return b[:(chain[18]-1)*1024+100] }, FaultOverflowRead, chain[18], 18},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.damage(bytes.Clone(raw))
			f, err := newFile(bytes.NewReader(b), int64(len(b)), nil, 0, Options{})
			if err != nil {
				t.Fatal(err)
			}
			r := f.NewReader(0)
			l, err := r.Leaf(leaf)
			if err != nil {
				t.Fatal(err)
			}
			var row Row
			re, ok := r.Row(l, 0, &row).(*RowError)
			if !ok || re.What != c.what || (c.page != 0 && re.Overflow != c.page) || re.RowID != 7 || !re.HasRowID {
				t.Fatalf("%v", re)
			}
			if !row.Truncated || len(row.Cols) != 2 || string(row.Cols[1].B) != "key" || row.TailKind != Blob {
				t.Errorf("row %+v", row)
			}
			if least := c.pages * 1020; c.what != FaultOverflowCycle && len(row.Tail) < least {
				t.Errorf("%d bytes of the blob, want at least %d", len(row.Tail), least)
			}
			if err := r.RowPrefix(l, 0, &row); err != nil || !row.Truncated || len(row.Cols) != 2 {
				t.Errorf("prefix: %v %+v", err, row)
			}
		})
	}
}

// chainOf lists the overflow pages of the only row of a leaf.
func chainOf(t *testing.T, f *File, leaf uint32) (chain []uint32) {
	t.Helper()
	r := f.NewReader(0)
	set := &PageSet{}
	r.TrackOverflow(set)
	l, err := r.Leaf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Row(l, 0, &Row{}); err != nil {
		t.Fatal(err)
	}
	set.Range(0, 0, func(n uint32) bool { chain = append(chain, n); return true })
	return chain
}

// A PageSet behaves like a map, whatever the numbers.
func TestPageSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s PageSet
		model := map[uint32]bool{}
		number := rapid.OneOf(rapid.Uint32Range(0, 200), rapid.Uint32Range(32000, 33000), rapid.Uint32Range(1<<22, 1<<22+100))
		for _, n := range rapid.SliceOf(number).Draw(t, "pages") {
			if s.Add(n) == model[n] {
				t.Fatalf("Add(%d) is wrong", n)
			}
			model[n] = true
		}
		from, to := number.Draw(t, "from"), number.Draw(t, "to")
		want := 0
		for n := range model {
			if n >= from && (n <= to || to == 0) {
				want++
			}
			if !s.Has(n) {
				t.Fatalf("%d is missing", n)
			}
		}
		last := int64(-1)
		s.Range(from, to, func(n uint32) bool {
			if !model[n] || int64(n) <= last || n < from || (n > to && to != 0) {
				t.Fatal(fmt.Sprintf("Range gives %d after %d", n, last))
			}
			last = int64(n)
			want--
			return true
		})
		if want != 0 || s.Count() != len(model) {
			t.Fatalf("Range left out %d, Count %d of %d", want, s.Count(), len(model))
		}
	})
}
