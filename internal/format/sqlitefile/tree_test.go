package sqlitefile

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"testing"
)

// deep is a database whose table t has three levels, as bytes, with the shape of that table.
type deep struct {
	raw    []byte
	root   uint32
	middle []uint32 // interior pages below the root
	bottom []uint32 // the leaves below middle[1], in order
	leaves int
	first  int // leaves below middle[0]
}

func makeDeep(t *testing.T) deep {
	t.Helper()
	path, _ := build(t, "PRAGMA page_size=512", `CREATE TABLE t(a INTEGER PRIMARY KEY, b)`,
		`WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 6000) INSERT INTO t SELECT i*10, i FROM n`)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path, Options{})
	objects, _ := f.Schema()
	tree := f.Tree(objects[0].Root, Table)
	if tree.Depth != 3 || len(tree.Problems) > 0 {
		t.Fatalf("depth %d, problems %v", tree.Depth, tree.Problems)
	}
	d := deep{raw: raw, root: tree.Root, leaves: tree.Leaves.Count()}
	all := &PageSet{}
	all.Union(tree.Leaves)
	all.Union(tree.Interior)
	for _, p := range tree.Locate(all) {
		if p.Parent == d.root {
			d.middle = append(d.middle, p.Page)
		}
		if p.Parent == d.middle[0] {
			d.first++
		}
		if len(d.middle) == 2 && p.Parent == d.middle[1] {
			d.bottom = append(d.bottom, p.Page)
		}
	}
	if len(d.middle) < 3 || len(d.bottom) < 10 {
		t.Fatalf("middle %v, bottom %v", d.middle, d.bottom)
	}
	return d
}

// cellAt is the offset in the file of cell i of interior page n.
func (d *deep) cellAt(b []byte, n uint32, i int) int {
	page := int(n-1) * 512
	return page + int(binary.BigEndian.Uint16(b[page+12+2*i:]))
}

func (d *deep) setChild(b []byte, n uint32, i int, child uint32) {
	binary.BigEndian.PutUint32(b[d.cellAt(b, n, i):], child)
}

func TestTreeProblems(t *testing.T) {
	d := makeDeep(t)
	page := func(b []byte, n uint32) []byte { return b[(n-1)*512 : n*512] }
	mid := d.middle[1]
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		kind   ProblemKind
		page   uint32
		found  Found
		lost   int // leaves that are not in the tree any more
	}{
		{"leaf number 0", func(b []byte) []byte { d.setChild(b, mid, 2, 0); return b }, ProblemChild, 0, FoundNoPage, 1},
		{"leaf number huge", func(b []byte) []byte { d.setChild(b, mid, 2, 1<<31); return b }, ProblemChild, 1 << 31, FoundNoPage, 1},
		{"leaf twice", func(b []byte) []byte { d.setChild(b, mid, 2, d.bottom[1]); return b }, ProblemTwice, d.bottom[1], FoundNothing, 1},
		{"cycle to the root", func(b []byte) []byte { d.setChild(b, mid, 2, d.root); return b }, ProblemCycle, d.root, FoundNothing, 1},
		{"interior twice", func(b []byte) []byte { d.setChild(b, d.root, 0, mid); return b }, ProblemTwice, mid, FoundNothing, d.first},
		{"interior zero", func(b []byte) []byte { clear(page(b, mid)); return b }, ProblemChild, mid, FoundZero, len(d.bottom)},
		{"interior garbage", func(b []byte) []byte { copy(page(b, mid), bytes.Repeat([]byte("x"), 512)); return b }, ProblemChild, mid, FoundGarbage, len(d.bottom)},
		{"interior of an index", func(b []byte) []byte { page(b, mid)[0] = 2; return b }, ProblemChild, mid, FoundWrongType, len(d.bottom)},
		{"leaf among interiors", func(b []byte) []byte { copy(page(b, mid), page(b, d.bottom[0])); return b }, ProblemDepth, mid, FoundWrongType, len(d.bottom) - 1},
		{"cell pointer", func(b []byte) []byte { page(b, mid)[12+2*3] = 0xff; return b }, ProblemCellPointer, mid, FoundGarbage, 1},
		{"order", func(b []byte) []byte { b[d.cellAt(b, mid, 3)+4] = 0xff; return b }, ProblemOrder, mid, FoundNothing, 0},
		{"root zero", func(b []byte) []byte { clear(page(b, d.root)); return b }, ProblemRoot, d.root, FoundZero, d.leaves},
		{"root is a row page of the schema", func(b []byte) []byte { copy(page(b, d.root), page(b, d.bottom[3])); return b }, "", 0, "", d.leaves - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.damage(bytes.Clone(d.raw))
			f, err := newFile(bytes.NewReader(b), int64(len(b)), nil, 0, Options{})
			if err != nil {
				t.Fatal(err)
			}
			tree := f.Tree(d.root, Table)
			if got := d.leaves - tree.Leaves.Count(); got != c.lost {
				t.Errorf("%d leaves lost, want %d", got, c.lost)
			}
			if c.kind == "" {
				if len(tree.Problems) > 0 {
					t.Errorf("problems %v", tree.Problems)
				}
				return
			}
			i := slices.IndexFunc(tree.Problems, func(p Problem) bool { return p.Kind == c.kind })
			if i < 0 {
				t.Fatalf("no %s in %v", c.kind, tree.Problems)
			}
			p := tree.Problems[i]
			if p.Page != c.page || p.Found != c.found || p.Root != d.root || p.Text == "" {
				t.Errorf("%+v", p)
			}
			if p.Kind == ProblemChild && (!p.HasRange || p.RowLo >= p.RowHi || p.Parent == 0) {
				t.Errorf("no range of rows: %+v", p)
			}
		})
	}
}

// When all children of one interior page are gone, the rest of the tree tells that they were leaves.
func TestRoleOfLostLeaves(t *testing.T) {
	d := makeDeep(t)
	b := bytes.Clone(d.raw)
	for _, n := range d.bottom {
		clear(b[(n-1)*512 : n*512])
	}
	f, err := newFile(bytes.NewReader(b), int64(len(b)), nil, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree := f.Tree(d.root, Table)
	if len(tree.Problems) != len(d.bottom) || tree.Depth != 3 || tree.Leaves.Count() != d.leaves-len(d.bottom) {
		t.Fatalf("%d problems, depth %d", len(tree.Problems), tree.Depth)
	}
	for i, p := range tree.Problems {
		if p.Kind != ProblemChild || p.Found != FoundZero || p.Role != TableLeaf || p.Page != d.bottom[i] || p.Parent != d.middle[1] {
			t.Errorf("%+v", p)
		}
	}
}

// Locate gives the range of rowids that a leaf can hold.
func TestLocate(t *testing.T) {
	d := makeDeep(t)
	f, err := newFile(bytes.NewReader(d.raw), int64(len(d.raw)), nil, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree, r := f.Tree(d.root, Table), f.NewReader(0)
	var row Row
	last := int64(0)
	for _, p := range tree.Locate(tree.Leaves) {
		l, err := r.Leaf(p.Page)
		if err != nil || !p.HasRange {
			t.Fatalf("%+v: %v", p, err)
		}
		for i := range l.Len() {
			if err := r.Row(l, i, &row); err != nil || row.RowID <= p.RowLo || row.RowID > p.RowHi || row.RowID <= last {
				t.Fatalf("rowid %d after %d in %+v (%v)", row.RowID, last, p, err)
			}
			last = row.RowID
		}
	}
	if last != 60000 {
		t.Errorf("last rowid %d", last)
	}
}

func TestFreelistProblems(t *testing.T) {
	path, db := build(t, "PRAGMA page_size=512", testTables)
	fill(t, db, 2000, 100)
	run(t, db, `DELETE FROM t`)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u32 := binary.BigEndian
	trunk := u32.Uint32(raw[32:])
	at := int(trunk-1) * 512
	second := u32.Uint32(raw[at:])
	if second == 0 {
		t.Fatal("only one trunk")
	}
	for _, c := range []struct {
		name   string
		damage func(b []byte)
		kind   ProblemKind
		page   uint32
	}{
		{"trunk outside", func(b []byte) { u32.PutUint32(b[at:], 1<<30) }, ProblemFreelistPage, 1 << 30},
		{"trunk cycle", func(b []byte) { u32.PutUint32(b[(second-1)*512:], trunk) }, ProblemCycle, trunk},
		{"count", func(b []byte) { u32.PutUint32(b[at+4:], 1<<31) }, ProblemFreelistTrunk, trunk},
		{"leaf outside", func(b []byte) { u32.PutUint32(b[at+8:], 0) }, ProblemFreelistPage, 0},
		{"leaf twice", func(b []byte) { copy(b[at+8:at+12], b[at+12:at+16]) }, ProblemTwice, u32.Uint32(raw[at+12:])},
		{"header count", func(b []byte) { b[39]++ }, ProblemFreelistCount, 0},
		{"header lost", func(b []byte) { clear(b[:100]) }, ProblemFreelistPage, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(raw)
			c.damage(b)
			f, err := newFile(bytes.NewReader(b), int64(len(b)), nil, 0, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, problems := f.Freelist()
			if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Kind == c.kind && p.Page == c.page }) {
				t.Errorf("%v", problems)
			}
		})
	}
}

// Rows that all lead into one long chain do not make reading take rows times chain.
func TestSharedOverflowIsBounded(t *testing.T) {
	path, _ := build(t, "PRAGMA page_size=512", `CREATE TABLE t(a INTEGER PRIMARY KEY, b)`,
		`WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 300) INSERT INTO t SELECT i, zeroblob(20000) FROM n`)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path, Options{})
	objects, _ := f.Schema()
	tree := f.Tree(objects[0].Root, Table)
	r := f.NewReader(0)
	var first []byte // overflow page number of the first row, which all rows get
	tree.Leaves.Range(0, 0, func(n uint32) bool {
		l, err := r.Leaf(n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.Len() {
			p := int(binary.BigEndian.Uint16(l.data[l.head.ptrs+2*i:]))
			c, _ := parseCell(TableLeaf, l.data, p, f.usable)
			at := int(n-1)*512 + c.start + c.local
			if first == nil {
				first = raw[at : at+4]
			}
			copy(raw[at:at+4], first)
		}
		return true
	})
	reads := 100000
	limited := &limitedReader{bytes.NewReader(raw), reads, func() { t.Fatal("too much was read") }}
	if f, err = newFile(limited, int64(len(raw)), nil, 0, Options{}); err != nil {
		t.Fatal(err)
	}
	r = f.NewReader(512)
	r.TrackOverflow(&PageSet{})
	r.repeats = 500 // as if the file were smaller: the rows would need 23 times as many
	good, shared := 0, 0
	f.Tree(objects[0].Root, Table).EachRow(r, 0, 0, func(row *Row, err error) bool {
		if re, ok := err.(*RowError); ok && re.What == FaultShared {
			shared++
		} else if err == nil {
			good++
		}
		return true
	})
	if good == 0 || shared == 0 || good+shared != 300 || r.repeats > 0 {
		t.Errorf("%d good, %d shared, %d repeats left", good, shared, r.repeats)
	}
}
