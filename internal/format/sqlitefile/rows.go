package sqlitefile

import "errors"

// EachRow calls fn for every row on the leaf pages from <= page <= to (to = 0: no limit) of a table tree, in order of page
// numbers, which is not the order of rowids. A page that cannot be used gives one call with row == nil and a *PageError; a
// damaged row one with what could be read and a *RowError. row is valid during the call. fn returns false to stop.
func (t *Tree) EachRow(r *Reader, from, to uint32, fn func(row *Row, err error) bool) {
	t.each(r, t.Leaves, from, to, TableLeaf, TableLeaf, r.Row, fn)
}

// EachEntry is EachRow for the entries of an index tree: those on leaf pages, then those on interior pages.
func (t *Tree) EachEntry(r *Reader, from, to uint32, fn func(row *Row, err error) bool) {
	if t.each(r, t.Leaves, from, to, IndexLeaf, IndexLeaf, r.Entry, fn) {
		t.each(r, t.Interior, from, to, IndexInterior, IndexInterior, r.Entry, fn)
	}
}

// each goes over one set of pages and reports whether fn wanted more.
func (t *Tree) each(r *Reader, set *PageSet, from, to uint32, want, role PageType,
	decode func(*Leaf, int, *Row) error, fn func(*Row, error) bool) (more bool) {
	var row Row
	more = true
	set.Range(from, to, func(n uint32) bool {
		leaf, err := r.Leaf(n)
		if err == nil && leaf.Type != want {
			err = &PageError{Page: n, Found: FoundWrongType, Type: leaf.Type}
		}
		if err != nil {
			var pe *PageError
			if errors.As(err, &pe) {
				pe.Want = role.String()
			}
			more = fn(nil, err)
			return more
		}
		for i := 0; i < leaf.Len() && more; i++ {
			err := decode(leaf, i, &row)
			more = fn(&row, err)
		}
		return more
	})
	return more
}
