package boltfile

import (
	"encoding/binary"
	"fmt"
)

// header is the start of every page.
type header struct {
	id       uint64
	flags    uint16
	count    uint16
	overflow uint32
}

// parseHeader decodes a page header; b may be too short, what is missing is zero.
func parseHeader(b []byte) header {
	if len(b) < pageHeader {
		return header{}
	}
	le := binary.LittleEndian
	return header{le.Uint64(b), le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[12:])}
}

// loadWhole is the largest extent that is read as a whole. Of larger ones only the elements are, and keys and values when
// they are asked for.
const loadWhole = 256 << 10

// node is a branch or leaf page with its overflow pages, or the page inside an inline bucket. It is reused from page to
// page so that its buffers are.
type node struct {
	src    source
	page   uint64 // 0 for an inline bucket
	off    int64  // of the page in the file; -1 for an inline bucket
	head   header
	extent int64  // bytes that belong to it and lie in the file
	buf    []byte // its first bytes: at least the header and all elements
	own    []byte // what buf is a part of, unless inline
	first  int64  // where the first key must not begin before: the end of the elements

	key, last, val []byte // for keys and values past buf
}

// setHead sets the header, and with it where the elements end.
func (n *node) setHead(h header) {
	n.head, n.first = h, pageHeader+elementSize*int64(h.count)
}

// element is a decoded leaf or branch element.
type element struct {
	flags uint32 // leaf
	child uint64 // branch
	start int64  // of the key, from the start of the page
	ksize int64
	vsize int64 // leaf
}

func (e *element) end() int64 { return e.start + e.ksize + e.vsize }

// element decodes element i without judging it. i is less than head.count.
func (n *node) element(i int) (e element) {
	at := pageHeader + elementSize*i
	b := n.buf[at : at+elementSize]
	le := binary.LittleEndian
	if n.head.flags == flagLeaf {
		e.flags, e.start = le.Uint32(b), int64(at)+int64(le.Uint32(b[4:]))
		e.ksize, e.vsize = int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
		return e
	}
	e.start, e.ksize, e.child = int64(at)+int64(le.Uint32(b)), int64(le.Uint32(b[4:])), le.Uint64(b[8:])
	return e
}

// fault says why element i, decoded as e, cannot be used; "" if it can. bbolt stores keys and values without gaps in the
// order of their elements, so an element must end where the next one begins. That keeps elements from overlapping and
// values from being cut short unnoticed.
func (n *node) fault(i int, e *element) string {
	switch {
	case e.ksize == 0:
		return "has an empty key"
	case e.ksize > maxKeySize:
		return fmt.Sprintf("has a key of %d bytes, more than the %d that bbolt allows", e.ksize, maxKeySize)
	case e.start < n.first:
		return fmt.Sprintf("has its key at offset %d of the page, inside the elements that end at %d", e.start, n.first)
	case e.end() > n.extent:
		return fmt.Sprintf("ends at offset %d of the page, past its end at %d", e.end(), n.extent)
	case i+1 < int(n.head.count):
		return n.gap(i, e.end())
	}
	return ""
}

// gap says that element i, which ends at end, is not followed at once by the next one.
func (n *node) gap(i int, end int64) string {
	next := n.element(i + 1)
	if next.start == end {
		return ""
	}
	if i+2 < int(n.head.count) { // perhaps only the position of the next one is wrong
		if after := n.element(i + 2); after.start == end+next.ksize+next.vsize {
			return ""
		}
	}
	return fmt.Sprintf("ends at offset %d of the page, but the next one begins at %d", end, next.start)
}

// miscount says that the first key does not follow the elements at once, so that there must be more or fewer of them.
func (n *node) miscount() string {
	if n.head.count == 0 || len(n.buf) < pageHeader+elementSize {
		return ""
	}
	if e := n.element(0); e.start != n.first {
		return fmt.Sprintf("has %d elements, which end at offset %d of the page, but the first key begins at %d",
			n.head.count, n.first, e.start)
	}
	return ""
}

// bytes returns size bytes at offset at of the page, which lie inside the extent; scratch is used if they are not in buf.
func (n *node) bytes(at, size int64, scratch *[]byte) ([]byte, error) {
	if at+size <= int64(len(n.buf)) {
		return n.buf[at : at+size : at+size], nil
	}
	*scratch = grow(*scratch, size)
	return *scratch, n.src.readAt(*scratch, n.off+at)
}

// keyOf and valueOf give the bytes of an element without fault, valid until the next load. Unless the node is loaded whole
// only the last two keys and the last value are valid.
func (n *node) keyOf(e *element) ([]byte, error) {
	n.key, n.last = n.last, n.key
	return n.bytes(e.start, e.ksize, &n.key)
}

func (n *node) valueOf(e *element) ([]byte, error) {
	return n.bytes(e.start+e.ksize, e.vsize, &n.val)
}

// grow gives a slice of size bytes, reusing b if it is large enough.
func grow(b []byte, size int64) []byte {
	if int64(cap(b)) >= size {
		return b[:size]
	}
	return make([]byte, size)
}

// fault is a problem of a page without its bucket.
type fault struct {
	kind Kind
	page uint64
	text string
}

func (f *File) faultf(kind Kind, page uint64, format string, args ...any) *fault {
	return &fault{kind, page, fmt.Sprintf("page %d (offset %d): ", page, f.offset(page)) + fmt.Sprintf(format, args...)}
}

// readHeader reads the first page of the tree page id into n and checks what the header alone tells. What is in n after a
// fault is not to be used.
func (f *File) readHeader(src source, id uint64, n *node) *fault {
	if id < 2 || id >= f.limit {
		what := "it is past the end of the file"
		if m, ok := f.Current(); id < 2 {
			what = "pages 0 and 1 are meta pages"
		} else if ok && m.HighWater <= f.pages {
			what = fmt.Sprintf("the database has only %d pages", m.HighWater)
		}
		return f.faultf(BadPage, id, "cannot be a branch or leaf: %s", what)
	}
	n.src, n.page, n.off = src, id, int64(id)*int64(f.pageSize)
	n.extent = min(int64(f.pageSize), f.size-n.off)
	n.own = grow(n.own, n.extent)
	n.buf = n.own
	if err := src.readAt(n.buf, n.off); err != nil {
		return f.faultf(ReadError, id, "%v", err)
	}
	n.setHead(parseHeader(n.buf))
	switch h := &n.head; {
	case len(n.buf) < pageHeader:
		return f.faultf(Truncated, id, "the file ends inside its header")
	case h.id != id:
		return f.faultf(BadPage, id, "names itself page %d", h.id)
	case h.flags != flagBranch && h.flags != flagLeaf:
		return f.faultf(BadPage, id, "has flags %#x, neither branch nor leaf", h.flags)
	}
	return nil
}

// extend reads the overflow pages as far as the elements need them, after readHeader. The overflow count is believed only
// as far as elements fill it: more is reported by Check, not read. claim, if not nil, is called for each overflow page
// before it is read, and can refuse it.
func (f *File) extend(n *node, claim func(page uint64) *fault) *fault {
	if n.head.overflow > 0 && n.head.count > 0 && n.miscount() == "" {
		if fl := f.extendOverflow(n, claim); fl != nil {
			return fl
		}
	}
	if n.first > n.extent {
		return f.faultf(BadPage, n.page, "has %d elements, which need %d bytes, in %d bytes", n.head.count, n.first, n.extent)
	}
	return nil
}

func (f *File) extendOverflow(n *node, claim func(page uint64) *fault) *fault {
	ps := int64(f.pageSize)
	claimed := min((int64(n.head.overflow)+1)*ps, int64(f.limit)*ps-n.off, f.size-n.off)
	if n.first > claimed {
		return nil // extend refuses it
	}
	next := int64(1) // overflow page to claim
	take := func(size int64) *fault {
		for ; claim != nil && next*ps < size; next++ {
			if fl := claim(n.page + uint64(next)); fl != nil {
				return fl
			}
		}
		return nil
	}
	if fl := take(n.first); fl != nil {
		return fl
	}
	if fl := f.fill(n, n.first); fl != nil {
		return fl
	}
	need := n.first
	for i := range int(n.head.count) {
		if e := n.element(i); e.end() <= claimed {
			need = max(need, e.end())
		}
	}
	n.extent = min(claimed, (need+ps-1)/ps*ps)
	if fl := take(n.extent); fl != nil {
		return fl
	}
	if n.extent <= loadWhole {
		return f.fill(n, n.extent)
	}
	return nil
}

// fill makes buf at least size bytes long.
func (f *File) fill(n *node, size int64) *fault {
	have := int64(len(n.buf))
	if size <= have {
		return nil
	}
	if int64(cap(n.own)) < size {
		n.own = append(make([]byte, 0, size), n.buf...)
	}
	n.own = n.own[:size]
	n.buf = n.own
	if err := n.src.readAt(n.buf[have:], n.off+have); err != nil {
		return f.faultf(ReadError, n.page, "%v", err)
	}
	return nil
}

// load reads the tree page id.
func (f *File) load(src source, id uint64, n *node) *fault {
	if fl := f.readHeader(src, id, n); fl != nil {
		return fl
	}
	return f.extend(n, nil)
}

// loadInline takes the page inside an inline bucket, which data holds. at names the place for messages.
func (n *node) loadInline(data []byte) (fault string) {
	n.src, n.page, n.off = nil, 0, -1
	n.buf, n.extent = data, int64(len(data))
	n.setHead(parseHeader(data))
	switch {
	case len(data) < pageHeader:
		return fmt.Sprintf("inline bucket of %d bytes is too short for a page header", len(data))
	case n.head.flags != flagLeaf:
		return fmt.Sprintf("inline bucket has page flags %#x, not leaf", n.head.flags)
	case n.first > n.extent:
		return fmt.Sprintf("inline bucket has %d elements, which need %d bytes, in %d bytes", n.head.count, n.first, n.extent)
	}
	return ""
}
