package boltedit

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// maxDepth bounds how deep pages lie below each other: the levels of a tree and
// the buckets in buckets together.
const maxDepth = 1000

// pageSet is a set of page numbers below a limit.
type pageSet []uint64

func newPageSet(n uint64) pageSet   { return make(pageSet, n/64+1) }
func (s pageSet) has(n uint64) bool { return n/64 < uint64(len(s)) && s[n/64]>>(n%64)&1 == 1 }
func (s pageSet) add(n uint64)      { s[n/64] |= 1 << (n % 64) }

func pageError(n uint64, format string, args ...any) error {
	return fmt.Errorf("page %d: %w", n, fmt.Errorf(format, args...))
}

// checker looks at everything that bbolt would follow blindly. Memory is one
// bit for each page and the pages on the way from the root.
type checker struct {
	ctx  context.Context
	r    io.ReaderAt
	m    meta
	live pageSet // pages in use by the transaction, the free list's own among them
}

// requireSound reads every page that the transaction of m uses and returns
// their numbers. It fails on whatever would make bbolt panic, read outside of
// the file or take a page in use for a free one. size is that of the file.
func requireSound(ctx context.Context, r io.ReaderAt, size int64, m meta) (pageSet, error) {
	if m.high < 3 || m.high > uint64(size)/uint64(m.pageSize) {
		return nil, fmt.Errorf("the meta page counts %d pages of %d bytes, the file has %d bytes", m.high, m.pageSize, size)
	}
	c := &checker{ctx: ctx, r: r, m: m, live: newPageSet(m.high)}
	c.live.add(0)
	c.live.add(1)
	if err := c.tree(m.root, nil, nil, 0); err != nil {
		return nil, err
	}
	if m.freelist != noFreelist {
		if err := c.freelist(); err != nil {
			return nil, err
		}
	}
	return c.live, nil
}

// page reads page n with those that go on with it, and takes them as used.
func (c *checker) page(n uint64) ([]byte, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if n < 2 || n >= c.m.high {
		return nil, pageError(n, "the number is outside of the %d pages of the database", c.m.high)
	}
	size := int64(c.m.pageSize)
	var head [headerSize]byte
	if _, err := c.r.ReadAt(head[:], int64(n)*size); err != nil {
		return nil, pageError(n, "%w", err)
	}
	if id := binary.LittleEndian.Uint64(head[:]); id != n {
		return nil, pageError(n, "its header says %d", id)
	}
	more := uint64(binary.LittleEndian.Uint32(head[12:]))
	if more >= c.m.high-n {
		return nil, pageError(n, "%d pages more belong to it, behind the end of the database", more)
	}
	for i := n; i <= n+more; i++ {
		if c.live.has(i) {
			return nil, pageError(i, "used twice")
		}
		c.live.add(i)
	}
	b := make([]byte, int64(more+1)*size)
	if _, err := c.r.ReadAt(b, int64(n)*size); err != nil {
		return nil, fmt.Errorf("read page %d: %w", n, err)
	}
	return b, nil
}

// tree looks at a page and all below it. lo and hi (nil: none) bound its keys.
func (c *checker) tree(n uint64, lo, hi []byte, depth int) error {
	if depth > maxDepth {
		return pageError(n, "it lies deeper than %d levels", maxDepth)
	}
	b, err := c.page(n)
	if err != nil {
		return err
	}
	switch flags := binary.LittleEndian.Uint16(b[8:]); flags {
	case flagLeaf:
		return c.leaf(n, b, lo, hi, depth, true)
	case flagBranch:
		return c.branch(n, b, lo, hi, depth)
	default:
		return pageError(n, "flags %#x, neither branch nor leaf", flags)
	}
}

// within cuts out the bytes of an element that lie pos bytes behind its begin.
func within(b []byte, at int, pos, size uint32) ([]byte, bool) {
	from := uint64(at) + uint64(pos)
	if from+uint64(size) > uint64(len(b)) {
		return nil, false
	}
	return b[from : from+uint64(size)], true
}

// elements returns how many elements a page has.
func elements(n uint64, b []byte) (int, error) {
	count := int(binary.LittleEndian.Uint16(b[10:]))
	if headerSize+count*elementSize > len(b) {
		return 0, pageError(n, "%d elements do not fit into it", count)
	}
	return count, nil
}

// inOrder checks one key against the one before it (or the lower bound of the
// page) and the upper bound.
func inOrder(key, last, hi []byte, first bool) bool {
	order := bytes.Compare(last, key)
	return len(key) > 0 && (last == nil || order < 0 || first && order == 0) && (hi == nil || bytes.Compare(key, hi) < 0)
}

func (c *checker) branch(n uint64, b []byte, lo, hi []byte, depth int) error {
	count, err := elements(n, b)
	if err != nil {
		return err
	}
	if count == 0 {
		return pageError(n, "a branch without elements")
	}
	keys := make([][]byte, count)
	for i := range keys {
		at := headerSize + i*elementSize
		key, ok := within(b, at, binary.LittleEndian.Uint32(b[at:]), binary.LittleEndian.Uint32(b[at+4:]))
		if !ok {
			return pageError(n, "key %d lies outside of it", i)
		}
		if !inOrder(key, lo, hi, i == 0) {
			return pageError(n, "key %d is empty or not in order", i)
		}
		keys[i], lo = key, key
	}
	for i, key := range keys {
		next := hi
		if i+1 < count {
			next = keys[i+1]
		}
		if err := c.tree(binary.LittleEndian.Uint64(b[headerSize+i*elementSize+8:]), key, next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf looks at a leaf page, and the buckets in it if there may be any.
func (c *checker) leaf(n uint64, b []byte, lo, hi []byte, depth int, buckets bool) error {
	count, err := elements(n, b)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for i := range count {
		at := headerSize + i*elementSize
		flags, pos, ksize, vsize := le.Uint32(b[at:]), le.Uint32(b[at+4:]), le.Uint32(b[at+8:]), le.Uint32(b[at+12:])
		key, ok := within(b, at, pos, ksize)
		if !ok {
			return pageError(n, "key %d lies outside of it", i)
		}
		if !inOrder(key, lo, hi, i == 0) {
			return pageError(n, "key %d is empty or not in order", i)
		}
		lo = key
		value, ok := within(b, at+int(pos), ksize, vsize)
		if !ok {
			return pageError(n, "value %d lies outside of it", i)
		}
		if flags&flagBucket == 0 {
			continue
		}
		if !buckets {
			return pageError(n, "an inline bucket holds a bucket")
		}
		if err := c.bucket(n, value, depth); err != nil {
			return err
		}
	}
	return nil
}

// bucket looks at the value of an element that is a bucket: its root page, or
// the whole bucket if it is small.
func (c *checker) bucket(n uint64, value []byte, depth int) error {
	if len(value) < bucketHeaderSize {
		return pageError(n, "a bucket of %d bytes", len(value))
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return c.tree(root, nil, nil, depth+1)
	}
	inline := value[bucketHeaderSize:]
	if len(inline) < headerSize || binary.LittleEndian.Uint16(inline[8:]) != flagLeaf {
		return pageError(n, "an inline bucket is no leaf")
	}
	return c.leaf(n, inline, nil, nil, depth, false)
}

// freelist looks at the list of free pages: none may be in use or named twice.
func (c *checker) freelist() error {
	n := c.m.freelist
	b, err := c.page(n)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if flags := binary.LittleEndian.Uint16(b[8:]); flags != flagFreelist {
		return pageError(n, "flags %#x, not a free list", flags)
	}
	ids, count := b[headerSize:], uint64(binary.LittleEndian.Uint16(b[10:]))
	if count == 0xFFFF { // too many for the header: the first entry is the number
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return pageError(n, "a free list of %d pages does not fit into it", count)
	}
	free := newPageSet(c.m.high)
	for i := range count {
		id := binary.LittleEndian.Uint64(ids[i*8:])
		switch {
		case id < 2 || id >= c.m.high:
			return pageError(n, "free list: page %d is outside of the %d pages of the database", id, c.m.high)
		case c.live.has(id):
			return pageError(n, "free list: page %d is in use", id)
		case free.has(id):
			return pageError(n, "free list: page %d is named twice", id)
		}
		free.add(id)
	}
	return nil
}
