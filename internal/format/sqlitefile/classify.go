package sqlitefile

import "encoding/binary"

// PageType is what a page looks like when read on its own.
type PageType uint8

// Page types. The numbers are those of the type byte of a b-tree page.
const (
	Other         PageType = 0   // overflow, freelist trunk, pointer map, or garbage
	IndexInterior PageType = 2   // b-tree page of an index, with children
	TableInterior PageType = 5   // b-tree page of a table, with children
	IndexLeaf     PageType = 10  // b-tree page of an index, without children
	TableLeaf     PageType = 13  // b-tree page of a table that holds rows
	Zero          PageType = 255 // every byte is 0
)

func (t PageType) String() string {
	switch t {
	case IndexInterior:
		return "index interior"
	case TableInterior:
		return "table interior"
	case IndexLeaf:
		return "index leaf"
	case TableLeaf:
		return "table leaf"
	case Zero:
		return "all zero"
	}
	return "other"
}

// interior reports whether pages of this type have children.
func (t PageType) interior() bool { return t == IndexInterior || t == TableInterior }

// fileHeaderSize is the length of the database header, which stands before the b-tree header of page 1.
const fileHeaderSize = 100

// btreeHeader is the decoded header of a b-tree page. Offsets count from the start of the page.
type btreeHeader struct {
	typ     PageType
	cells   int
	ptrs    int    // offset of the cell pointer array
	content int    // start of the cell content area
	right   uint32 // right-most child of interior pages
}

// headerOffset is where the b-tree header of page n starts.
func headerOffset(n uint32) int {
	if n == 1 {
		return fileHeaderSize
	}
	return 0
}

// parseBtreeHeader decodes the b-tree header of page n and checks that type and pointer array are possible within the
// first limit bytes of the page. ok is false if they are not.
func parseBtreeHeader(n uint32, buf []byte, limit int) (h btreeHeader, ok bool) {
	off := headerOffset(n)
	if limit > len(buf) {
		limit = len(buf)
	}
	if limit < off+12 {
		return h, false
	}
	h.typ = PageType(buf[off])
	h.ptrs = off + 8
	switch h.typ {
	case TableLeaf, IndexLeaf:
	case TableInterior, IndexInterior:
		h.ptrs = off + 12
		h.right = binary.BigEndian.Uint32(buf[off+8:])
	default:
		return btreeHeader{}, false
	}
	h.cells = int(binary.BigEndian.Uint16(buf[off+3:]))
	h.content = int(binary.BigEndian.Uint16(buf[off+5:]))
	if h.content == 0 {
		h.content = 65536 // how the format writes 65536 into 16 bits
	}
	return h, h.ptrs+2*h.cells <= limit
}

// allZero reports whether b has only zero bytes.
func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Classify says what the page n with content buf (PageSize bytes) looks like. A b-tree type means: the header is possible,
// the free space fits, and all cell pointers lie in the content area. Pages on the freelist keep their old content and are
// classified by it, so a sweep must leave out the pages of Freelist or treat them as deleted data.
func (f *File) Classify(n uint32, buf []byte) PageType {
	return classify(n, buf, f.usable)
}

func classify(n uint32, buf []byte, usable int) PageType {
	h, ok := parseBtreeHeader(n, buf, usable)
	if !ok || !plausible(n, buf, h, usable) {
		if allZero(buf) {
			return Zero
		}
		return Other
	}
	return h.typ
}

// plausible checks the parts of a b-tree page that SQLite itself refuses when they are wrong.
func plausible(n uint32, buf []byte, h btreeHeader, usable int) bool {
	off := headerOffset(n)
	end := h.ptrs + 2*h.cells
	if h.content < end || h.content > usable || buf[off+7] > 60 { // at most 60 fragmented bytes by the format
		return false
	}
	if h.cells == 0 && n != 1 && h.typ.interior() {
		// SQLite can leave an interior page with only a right-most child, but never without one.
		if h.right == 0 {
			return false
		}
	}
	if free := int(binary.BigEndian.Uint16(buf[off+1:])); free != 0 && (free < h.content || free > usable-4) {
		return false
	}
	for i := 0; i < h.cells; i++ {
		p := int(binary.BigEndian.Uint16(buf[h.ptrs+2*i:]))
		if p < h.content || p > usable-4 {
			return false
		}
	}
	return true
}
