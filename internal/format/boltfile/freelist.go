package boltfile

import (
	"encoding/binary"
	"fmt"
)

// checkFreelist reads the freelist of m into c.free and reports whether it was there and could be read.
func (c *checker) checkFreelist(m Meta) bool {
	if m.NoFreelist() {
		return false
	}
	bad := func(format string, args ...any) bool {
		fl := c.f.faultf(BadFreelist, m.Freelist, "the freelist "+format, args...)
		c.add(fl)
		return false
	}
	if m.Freelist < 2 || m.Freelist >= c.f.limit {
		return bad("lies outside the %d pages of the database", c.f.limit)
	}
	ps := int64(c.f.pageSize)
	off := int64(m.Freelist) * ps
	var b [pageHeader + 8]byte
	if err := c.src.readAt(b[:], off); err != nil {
		return bad("cannot be read: %v", err)
	}
	h := parseHeader(b[:])
	if h.id != m.Freelist || h.flags != flagFreelist {
		return bad("has a page header that says page %d, flags %#x", h.id, h.flags)
	}
	// 0xffff means that the count did not fit; it is in the first place of the list (bbolt internal/common/page.go).
	count, first := uint64(h.count), off+pageHeader
	if h.count == 0xffff {
		count, first = binary.LittleEndian.Uint64(b[pageHeader:]), first+8
	}
	end := min(c.f.size, int64(c.f.limit)*ps)
	if room := (end - off) / ps; int64(h.overflow) >= room {
		return bad("has %d overflow pages, but only %d whole pages are left where it begins", h.overflow, room)
	}
	if room := uint64(off+(int64(h.overflow)+1)*ps-first) / 8; count > room {
		return bad("has %d entries, there is room for %d", count, room)
	}
	for id := m.Freelist; id <= m.Freelist+uint64(h.overflow); id++ {
		if fl := c.claim(id); fl != nil {
			c.add(fl)
		}
	}
	return c.readFreelist(m, first, count)
}

// readFreelist reads count page numbers at offset off. bbolt writes them in ascending order.
func (c *checker) readFreelist(m Meta, off int64, count uint64) bool {
	wrong, why, last := 0, "", uint64(0)
	b := make([]byte, min(8*count, 64<<10))
	for done := uint64(0); done < count; {
		chunk := b[:min(uint64(len(b)), 8*(count-done))]
		if err := c.src.readAt(chunk, off+8*int64(done)); err != nil {
			c.add(c.f.faultf(ReadError, m.Freelist, "the freelist cannot be read: %v", err))
			return false
		}
		for ; len(chunk) > 0; chunk, done = chunk[8:], done+1 {
			id := binary.LittleEndian.Uint64(chunk)
			if id < 2 || id >= m.HighWater || id <= last {
				if wrong++; wrong == 1 {
					why = fmt.Sprintf("entry %d is page %d, after page %d, in a database of %d pages", done, id, last, m.HighWater)
				}
				continue
			}
			last = id
			c.nFree++
			if id >= c.f.limit {
				continue // cut off; told by Truncated
			}
			c.free.add(id)
			if c.used.has(id) {
				c.add(c.f.faultf(DoubleUse, id, "is on the freelist, which it is itself a part of"))
			}
		}
	}
	if wrong > 0 {
		c.add(c.f.faultf(BadFreelist, m.Freelist, "the freelist has %d impossible entries of %d: %s", wrong, count, why))
	}
	return wrong == 0
}

// countLeaked reports the pages that are neither in use nor free.
func (c *checker) countLeaked(m Meta) {
	first := uint64(0)
	for id := uint64(2); id < c.f.limit; id++ {
		if !c.used.has(id) && !c.free.has(id) {
			if c.leaked++; c.leaked == 1 {
				first = id
			}
		}
	}
	if c.leaked > 0 {
		c.now = 0
		c.add(&fault{LeakedPages, first, fmt.Sprintf("%d of %d pages are neither in use nor free, the first is page %d (offset %d)",
			c.leaked, m.HighWater, first, c.f.offset(first))})
	}
}
