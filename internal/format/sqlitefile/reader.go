package sqlitefile

import (
	"encoding/binary"
	"fmt"
)

// DefaultWindow is the number of bytes a Reader reads at once when pages are asked for in increasing order.
const DefaultWindow = 1 << 20

// Reader decodes pages and rows for one goroutine. Everything it returns lives in its buffers: a page or Leaf until the
// next Page or Leaf call, a row's values until the next Row, RowPrefix or Entry call as well.
type Reader struct {
	f        *File
	pages    window // leaf pages
	chains   window // overflow pages, apart so that they do not push out the leaf
	leaf     Leaf
	payload  []byte
	overflow *PageSet
	repeats  int // overflow pages that may still be read a second time
}

// NewReader makes a Reader that reads up to window bytes at once (0 = DefaultWindow).
func (f *File) NewReader(window int) *Reader {
	if window <= 0 {
		window = DefaultWindow
	}
	return &Reader{f: f, pages: newWindow(f, window), chains: newWindow(f, min(window, 256<<10))}
}

// TrackOverflow makes the Reader add every overflow page it reads to set, and bounds the total work: a page may then be
// met again only as often as there are pages in the file (in sum); after that, rows with such pages fail with
// FaultShared. Without it, hostile cells that all share one long chain make reading take rows times pages. The set must
// not be used by another goroutine meanwhile. Reading a row twice counts as meeting its pages again; call TrackOverflow
// anew before a second pass.
func (r *Reader) TrackOverflow(set *PageSet) {
	r.overflow, r.repeats = set, int(r.f.pageCount)+1000
}

// Page returns page n of the merged view. The error is a *PageError; with FoundPartial the data is returned as well, zero
// where the file ended.
func (r *Reader) Page(n uint32) ([]byte, error) {
	data, avail, err := r.pages.page(n)
	if err == nil && avail < r.f.pageSize {
		err = &PageError{Page: n, Found: FoundPartial}
	}
	return data, err
}

// Leaf is a decoded b-tree page that holds rows or entries.
type Leaf struct {
	Page  uint32
	Type  PageType // TableLeaf, IndexLeaf or IndexInterior
	Short bool     // the file ends inside this page; cells past the end fail
	data  []byte   // the readable usable bytes
	head  btreeHeader
}

// Len is the number of cells.
func (l *Leaf) Len() int { return l.head.cells }

// RightChild is the right-most child of an IndexInterior page.
func (l *Leaf) RightChild() uint32 { return l.head.right }

// Leaf decodes page n, which must be a table leaf, index leaf or index interior page (interior pages of indexes carry
// entries too). Otherwise the error is a *PageError that says what was found.
func (r *Reader) Leaf(n uint32) (*Leaf, error) {
	data, avail, err := r.pages.page(n)
	if err != nil {
		return nil, err
	}
	short := avail < r.f.pageSize
	if err := r.leaf.decode(n, data[:min(avail, r.f.usable)]); err != nil {
		if short {
			err.Found = FoundPartial
		}
		return nil, err
	}
	r.leaf.Short = short
	return &r.leaf, nil
}

// decode sets l to page n with the usable bytes data.
func (l *Leaf) decode(n uint32, data []byte) *PageError {
	h, ok := parseBtreeHeader(n, data, len(data))
	switch {
	case ok && h.typ == TableInterior:
		return &PageError{Page: n, Found: FoundWrongType, Type: h.typ, Want: "a page with rows"}
	case !ok && allZero(data):
		return &PageError{Page: n, Found: FoundZero, Type: Zero, Want: "a page with rows"}
	case !ok:
		return &PageError{Page: n, Found: FoundGarbage, Want: "a page with rows"}
	}
	l.Page, l.Type, l.data, l.head = n, h.typ, data, h
	return nil
}

// RowFault names what is wrong with a row. The values are stable.
type RowFault string

// Faults of rows and entries.
const (
	FaultPage          RowFault = "wrong kind of page"             // Row on an index page, Entry on a table page, or no such cell
	FaultCellPointer   RowFault = "cell pointer outside the page"  // or into the page's own header
	FaultCell          RowFault = "cell reaches past its page"     //
	FaultPayload       RowFault = "payload larger than the file"   // declared payload size is impossible
	FaultRecord        RowFault = "bad record"                     // header or serial types are impossible
	FaultOverflowRange RowFault = "overflow page out of range"     // number 0 < n, but outside the files
	FaultOverflowZero  RowFault = "overflow page is zero"          // a page in mid-chain that is all zero
	FaultOverflowShort RowFault = "overflow chain too short"       // the chain ends before the payload does
	FaultOverflowCycle RowFault = "overflow chain runs in a cycle" //
	FaultOverflowRead  RowFault = "overflow page unreadable"       // read error, or the file ends inside the page
	FaultShared        RowFault = "overflow pages shared too often"
)

// RowError says why a row cannot be read in full. Everything that can be read is in the Row nevertheless.
type RowError struct {
	Page     uint32
	Cell     int
	RowID    int64
	HasRowID bool // RowID is known (a table leaf whose cell header could be read)
	What     RowFault
	Overflow uint32 // the overflow page concerned, 0 if none
	Got      uint64 // payload bytes that could be read
	Need     uint64 // payload bytes declared
	Err      error  // cause, e.g. a *PageError
}

func (e *RowError) Error() string {
	s := fmt.Sprintf("page %d cell %d", e.Page, e.Cell)
	if e.HasRowID {
		s += fmt.Sprintf(" (rowid %d)", e.RowID)
	}
	s += ": " + string(e.What)
	if e.Overflow != 0 {
		s += fmt.Sprintf(" (page %d)", e.Overflow)
	}
	if e.Need != 0 {
		s += fmt.Sprintf(", %d of %d bytes read", e.Got, e.Need)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause, if any.
func (e *RowError) Unwrap() error { return e.Err }

// Row decodes row i (from 0) of a table leaf into row, following its overflow chain. On a *RowError row still has the
// columns that could be read whole, Truncated is set if some are missing, and Tail has what there is of the next one.
func (r *Reader) Row(l *Leaf, i int, row *Row) error { return r.record(l, i, row, false, true) }

// RowPrefix is Row without reading overflow pages: only the columns that lie whole on the leaf page are given. Truncated
// is set, without an error, if there are more.
func (r *Reader) RowPrefix(l *Leaf, i int, row *Row) error { return r.record(l, i, row, false, false) }

// Entry decodes entry i (from 0) of an index leaf or index interior page. RowID is 0; in an ordinary index the last column
// is the rowid of the row that the entry stands for.
func (r *Reader) Entry(l *Leaf, i int, row *Row) error { return r.record(l, i, row, true, true) }

// LeftChild is the left child of cell i of an IndexInterior page; 0 if there is none or the cell is bad.
func (r *Reader) LeftChild(l *Leaf, i int) uint32 {
	if !l.Type.interior() || i < 0 || i >= l.head.cells {
		return 0
	}
	p := int(binary.BigEndian.Uint16(l.data[l.head.ptrs+2*i:]))
	if p+4 > len(l.data) {
		return 0
	}
	return binary.BigEndian.Uint32(l.data[p:])
}

// record does the work of Row, RowPrefix and Entry.
func (r *Reader) record(l *Leaf, i int, row *Row, index, follow bool) error {
	row.reset(l.Page, i)
	if index == (l.Type == TableLeaf) || i < 0 || i >= l.head.cells {
		return &RowError{Page: l.Page, Cell: i, What: FaultPage}
	}
	p := int(binary.BigEndian.Uint16(l.data[l.head.ptrs+2*i:]))
	if p < l.head.ptrs+2*l.head.cells || p >= len(l.data) {
		return &RowError{Page: l.Page, Cell: i, What: FaultCellPointer}
	}
	c, ok := parseCell(l.Type, l.data, p, r.f.usable)
	row.RowID, row.Overflow = c.rowid, c.over
	row.PayloadSize = int(min(c.payload, 1<<62))
	if !ok {
		row.Truncated = true
		return &RowError{Page: l.Page, Cell: i, RowID: c.rowid, HasRowID: c.start > 0 && !index, What: FaultCell, Need: c.payload}
	}
	payload := l.data[c.start : c.start+c.local]
	var fault *RowError
	if c.over && follow {
		payload, fault = r.assemble(payload, &c, binary.BigEndian.Uint32(l.data[c.start+c.local:]))
	}
	if what := row.decode(payload, c.payload); what != "" && fault == nil {
		fault = &RowError{What: what}
	}
	if fault == nil {
		return nil
	}
	fault.Page, fault.Cell, fault.RowID, fault.HasRowID = l.Page, i, c.rowid, !index
	fault.Got, fault.Need = uint64(len(payload)), c.payload
	return fault
}
