package sqlitefile

import (
	"encoding/binary"
	"fmt"
	"math"
)

// TreeKind says which of the two b-trees a root page starts.
type TreeKind uint8

// Tree kinds. Tables declared WITHOUT ROWID are stored as Index.
const (
	Table TreeKind = iota
	Index
)

func (k TreeKind) leaf() PageType {
	if k == Table {
		return TableLeaf
	}
	return IndexLeaf
}

func (k TreeKind) interior() PageType {
	if k == Table {
		return TableInterior
	}
	return IndexInterior
}

func (k TreeKind) String() string {
	if k == Table {
		return "table"
	}
	return "index"
}

// maxSampled bounds how many unusable children are read in search of one that tells what the others are.
const maxSampled = 8

// maxDepth is more levels than a b-tree can have: SQLite itself stops at 20 (BTCURSOR_MAX_DEPTH).
const maxDepth = 20

// Tree is the shape of one b-tree. Leaves holds the pages that should be leaves; only a few of them were read, so whether
// one is whole shows when Reader.Leaf reads it. Pages that are surely not usable (outside the file, already taken by an
// earlier parent) are in Problems instead.
type Tree struct {
	Root     uint32
	Kind     TreeKind
	Depth    int // levels, 1 = the root is a leaf; 0 = the root is unreadable. If no leaf was met: interior levels plus one
	Leaves   *PageSet
	Interior *PageSet
	Problems []Problem
	f        *File
}

// Place is where a page hangs in a tree.
type Place struct {
	Page, Parent uint32
	Cell         int   // cell of Parent; its cell count for the right-most child
	RowLo, RowHi int64 // table trees: RowLo < rowid <= RowHi, as far as the parents can be trusted
	HasRange     bool
}

// Tree walks the interior pages of the b-tree at root. Memory is one bit per page and one page per level.
func (f *File) Tree(root uint32, kind TreeKind) *Tree {
	t := &Tree{Root: root, Kind: kind, Leaves: &PageSet{}, Interior: &PageSet{}, f: f}
	w := newTreeWalk(t)
	w.run()
	t.Problems = w.problems.all()
	return t
}

// Locate finds the parents, and for tables the rowid ranges, of those pages of set that belong to the tree, in key order.
// It walks the interior pages once more.
func (t *Tree) Locate(set *PageSet) []Place {
	var places []Place
	again := &Tree{Root: t.Root, Kind: t.Kind, Leaves: &PageSet{}, Interior: &PageSet{}, f: t.f}
	w := newTreeWalk(again)
	w.visit = func(p Place) {
		if set.Has(p.Page) {
			places = append(places, p)
		}
	}
	w.run()
	return places
}

// treeWalk is the state of one walk.
type treeWalk struct {
	t        *Tree
	f        *File
	r        *Reader
	problems problemList
	levels   []level
	bad      PageSet     // pages that were read and found unusable, so that they are read only once
	deepest  int         // levels of interior pages met
	visit    func(Place) // called for every child that is taken into the tree; may be nil
}

// level is one interior page on the path from the root. Its page is a copy, since the Reader's buffer moves on.
type level struct {
	page     uint32
	data     []byte
	head     btreeHeader
	next     int   // next child to look at
	last     int64 // rowid of the previous cell
	lo, hi   int64
	hasRange bool
	children childKind
}

// childKind is what the children of an interior page are.
type childKind uint8

const (
	childMixed    childKind = iota // not known or not uniform: read each
	childLeaf                      // do not read them
	childInterior                  // read each
)

func newTreeWalk(t *Tree) *treeWalk {
	return &treeWalk{t: t, f: t.f, r: t.f.NewReader(firstReadAhead), levels: make([]level, 0, maxDepth)}
}

func (w *treeWalk) run() {
	t := w.t
	typ, found := w.look(t.Root)
	switch {
	case found == FoundNothing && typ == t.Kind.leaf():
		t.Leaves.Add(t.Root)
		t.Depth = 1
		return
	case found != FoundNothing || typ != t.Kind.interior():
		if found == FoundNothing {
			found = FoundWrongType
		}
		w.problem(Problem{Kind: ProblemRoot, Page: t.Root, Cell: -1, Role: t.Kind.interior(), Found: found,
			Text: fmt.Sprintf("root page %d of a %s tree: %s", t.Root, t.Kind, describe(found, typ))})
		return
	}
	t.Interior.Add(t.Root)
	w.push(t.Root, math.MinInt64, math.MaxInt64, t.Kind == Table)
	for len(w.levels) > 0 {
		l := &w.levels[len(w.levels)-1]
		if l.next > l.head.cells {
			w.levels = w.levels[:len(w.levels)-1]
			continue
		}
		w.child(l)
	}
	if t.Depth == 0 { // no leaf was met at all
		t.Depth = w.deepest + 1
	}
}

// below says what the children of the page at the end of the path should be; Other if nothing in the tree tells yet.
func (w *treeWalk) below() PageType {
	switch l := &w.levels[len(w.levels)-1]; {
	case l.children == childLeaf, l.children == childMixed && w.t.Depth == len(w.levels)+1:
		return w.t.Kind.leaf()
	case l.children == childInterior, w.t.Depth > len(w.levels)+1:
		return w.t.Kind.interior()
	}
	return Other
}

// look reads page n and says what it is. found is FoundNothing for a b-tree page of any type.
func (w *treeWalk) look(n uint32) (PageType, Found) {
	data, avail, err := w.r.pages.page(n)
	if err != nil {
		if pe, ok := err.(*PageError); ok {
			return Other, pe.Found
		}
		return Other, FoundIOError
	}
	typ := w.f.Classify(n, data)
	switch {
	case avail < w.f.pageSize:
		return typ, FoundPartial
	case typ == Zero:
		return typ, FoundZero
	case typ == Other:
		// Salvage what a page with a damaged free list or a single bad cell pointer still tells.
		if h, ok := parseBtreeHeader(n, data, w.f.usable); ok && h.typ == w.t.Kind.interior() {
			return h.typ, FoundNothing
		}
		return typ, FoundGarbage
	}
	return typ, FoundNothing
}

// push starts on interior page n, which look has just read and found good.
func (w *treeWalk) push(n uint32, lo, hi int64, hasRange bool) {
	depth := len(w.levels)
	w.levels = w.levels[:depth+1]
	l := &w.levels[depth]
	data, _, err := w.r.pages.page(n)
	if err != nil {
		w.levels = w.levels[:depth]
		w.problem(Problem{Kind: ProblemChild, Page: n, Cell: -1, Role: w.t.Kind.interior(), Found: FoundIOError, Text: err.Error()})
		return
	}
	copied := append(l.data[:0], data...)
	h, _ := parseBtreeHeader(n, copied, w.f.usable)
	if !hasRange {
		lo, hi = math.MinInt64, math.MaxInt64
	}
	*l = level{page: n, data: copied, head: h, last: lo, lo: lo, hi: hi, hasRange: hasRange}
	l.children = w.sample(l)
	w.deepest = max(w.deepest, depth+1)
	if l.children == childLeaf {
		w.t.Depth = max(w.t.Depth, depth+2)
	}
}

// sample looks at the first and the last readable child, to tell a level of leaves without reading them all.
func (w *treeWalk) sample(l *level) childKind {
	first, ok := w.firstGood(l, 0, 1)
	if !ok {
		return childMixed
	}
	last, _ := w.firstGood(l, l.head.cells, -1)
	switch {
	case first == w.t.Kind.leaf() && last == first:
		return childLeaf
	case first == w.t.Kind.interior() && last == first:
		return childInterior
	}
	return childMixed
}

// firstGood returns the type of the first child from cell i on that is a page of this kind of tree.
func (w *treeWalk) firstGood(l *level, i, step int) (PageType, bool) {
	for tries := 0; i >= 0 && i <= l.head.cells && tries < maxSampled; i, tries = i+step, tries+1 {
		c, ok := w.cellAt(l, i)
		if !ok {
			continue
		}
		if typ, found := w.look(c.child); found == FoundNothing && (typ == w.t.Kind.leaf() || typ == w.t.Kind.interior()) {
			return typ, true
		}
	}
	return Other, false
}

// cellAt decodes cell i of an interior page; the right-most child counts as the cell after the last.
func (w *treeWalk) cellAt(l *level, i int) (cell, bool) {
	if i == l.head.cells {
		return cell{child: l.head.right, rowid: l.hi}, true
	}
	p := int(binary.BigEndian.Uint16(l.data[l.head.ptrs+2*i:]))
	if p < l.head.ptrs+2*l.head.cells {
		return cell{}, false
	}
	return parseCell(l.head.typ, l.data[:w.f.usable], p, w.f.usable)
}

// child handles the next child of l.
func (w *treeWalk) child(l *level) {
	i := l.next
	l.next++
	c, ok := w.cellAt(l, i)
	if !ok {
		w.problem(Problem{Kind: ProblemCellPointer, Page: l.page, Cell: i, Role: l.head.typ, Found: FoundGarbage,
			Text: fmt.Sprintf("interior page %d: cell %d lies outside the page; what hangs below it is not known", l.page, i)})
		l.hasRange = false // the next range would start at an unknown rowid
		return
	}
	place := Place{Page: c.child, Parent: l.page, Cell: i, RowLo: l.last, RowHi: c.rowid, HasRange: l.hasRange}
	if w.t.Kind == Table && i < l.head.cells {
		// The first cell of a left-most page may have the smallest rowid of all, so lo itself is allowed there.
		if c.rowid < l.last || c.rowid > l.hi || (c.rowid == l.last && c.rowid != math.MinInt64) {
			w.problem(Problem{Kind: ProblemOrder, Page: l.page, Cell: i, Role: l.head.typ, Found: FoundNothing,
				Text: fmt.Sprintf("interior page %d: rowid %d of cell %d is not between %d and %d", l.page, c.rowid, i, l.last, l.hi)})
			place.HasRange = false
		}
		l.last = c.rowid
	}
	if w.refused(place) {
		return
	}
	if l.children == childLeaf {
		w.accept(w.t.Leaves, place)
		return
	}
	w.descend(l, place)
}

// refused reports, as a Problem, a child whose number alone rules it out.
func (w *treeWalk) refused(p Place) bool {
	f, t := w.f, w.t
	role := w.below()
	if p.Page == 0 || p.Page == f.LockBytePage() || (p.Page > f.filePages && !f.InWAL(p.Page)) {
		found := f.absent(p.Page).Found
		if p.Page == f.LockBytePage() {
			found = FoundNoPage
		}
		w.childProblem(ProblemChild, p, role, found, describe(found, Other))
		return true
	}
	for i := range w.levels {
		if w.levels[i].page == p.Page {
			w.childProblem(ProblemCycle, p, role, FoundNothing, "is its own ancestor")
			return true
		}
	}
	if t.Leaves.Has(p.Page) || t.Interior.Has(p.Page) {
		w.childProblem(ProblemTwice, p, role, FoundNothing, "already has another parent in the same tree")
		return true
	}
	if w.bad.Has(p.Page) {
		w.childProblem(ProblemTwice, p, role, FoundGarbage, "is not usable, and another parent refers to it too")
		return true
	}
	if f.claimed != 0 && p.Page > f.claimed {
		w.childProblem(ProblemPastClaimed, p, role, FoundNothing,
			fmt.Sprintf("lies past the %d pages that the database claims to have", f.claimed))
	}
	return false
}

// descend reads a child and takes it as what it is.
func (w *treeWalk) descend(l *level, p Place) {
	t := w.t
	typ, found := w.look(p.Page)
	if found == FoundNothing && typ != t.Kind.leaf() && typ != t.Kind.interior() {
		found = FoundWrongType
	}
	switch {
	case found != FoundNothing:
		w.bad.Add(p.Page)
		w.childProblem(ProblemChild, p, w.below(), found, describe(found, typ))
	case typ == t.Kind.leaf():
		if l.children == childMixed {
			t.Depth = max(t.Depth, len(w.levels)+1)
		}
		if l.children == childInterior {
			w.childProblem(ProblemDepth, p, t.Kind.interior(), FoundWrongType, "is a leaf where its neighbours are interior pages")
		}
		w.accept(t.Leaves, p)
	case len(w.levels) == maxDepth:
		w.bad.Add(p.Page)
		w.childProblem(ProblemDepth, p, t.Kind.leaf(), FoundWrongType, fmt.Sprintf("is interior at level %d, deeper than any tree", maxDepth+1))
	default:
		w.accept(t.Interior, p)
		w.push(p.Page, p.RowLo, p.RowHi, p.HasRange)
	}
}

func (w *treeWalk) accept(set *PageSet, p Place) {
	set.Add(p.Page)
	if w.visit != nil {
		w.visit(p)
	}
}

// childProblem reports something about the child at place p. role Other means that it is not known what it should be.
func (w *treeWalk) childProblem(kind ProblemKind, p Place, role PageType, found Found, what string) {
	name := "child"
	if role != Other {
		name = role.String()
	}
	w.problem(Problem{Kind: kind, Page: p.Page, Parent: p.Parent, Cell: p.Cell, Role: role, Found: found,
		RowLo: p.RowLo, RowHi: p.RowHi, HasRange: p.HasRange,
		Text: fmt.Sprintf("page %d, %s of the %s tree at page %d (cell %d of page %d): %s",
			p.Page, name, w.t.Kind, w.t.Root, p.Cell, p.Parent, what)})
}

func (w *treeWalk) problem(p Problem) {
	p.Root = w.t.Root
	p.Offset = -1
	if p.Page != 0 {
		p.Offset = int64(p.Page-1) * int64(w.f.pageSize)
	}
	w.problems.add(p)
}

// describe puts into words what was found in place of a page.
func describe(found Found, typ PageType) string {
	switch found {
	case FoundZero:
		return "every byte is zero"
	case FoundGarbage:
		return "is not a b-tree page"
	case FoundWrongType:
		return fmt.Sprintf("is a page of another type (%s)", typ)
	case FoundPastEnd:
		return "lies past the end of the file"
	case FoundPartial:
		return "the file ends inside the page"
	case FoundNoPage:
		return "is not a possible page number"
	}
	return string(found)
}
