package sqlitefile

import "encoding/binary"

// cell is one decoded cell header. Offsets count from the start of the page.
type cell struct {
	child   uint32 // left child, interior pages only
	rowid   int64  // table pages only
	payload uint64 // declared payload size in bytes
	start   int    // where the local payload starts
	local   int    // bytes of payload on this page
	size    int    // whole cell including the overflow page number
	over    bool   // a 4-byte overflow page number follows the local payload
}

// parseCell decodes the cell at offset p of a page of type typ. data is the page cut to its readable usable part; usable
// is the geometry's usable size, which fixes how much payload is local. ok is false if the cell leaves data.
func parseCell(typ PageType, data []byte, p, usable int) (c cell, ok bool) {
	if p < 0 || p >= len(data) {
		return c, false
	}
	at := p
	if typ.interior() {
		if at+4 > len(data) {
			return c, false
		}
		c.child = binary.BigEndian.Uint32(data[at:])
		at += 4
	}
	if typ != TableInterior {
		v, n := varint(data[at:])
		if n == 0 {
			return c, false
		}
		c.payload = v
		at += n
	}
	if typ == TableLeaf || typ == TableInterior {
		v, n := varint(data[at:])
		if n == 0 {
			return c, false
		}
		c.rowid = int64(v)
		at += n
	}
	c.start = at
	if typ != TableInterior {
		c.local, c.over = localPayload(typ, c.payload, usable)
		at += c.local
		if c.over {
			at += 4
		}
	}
	c.size = at - p
	return c, at <= len(data)
}

// localPayload gives how many of size payload bytes are kept on the b-tree page itself (fileformat2.html, 1.6).
func localPayload(typ PageType, size uint64, usable int) (local int, over bool) {
	most := usable - 35
	if typ != TableLeaf {
		most = (usable-12)*64/255 - 23
	}
	if size <= uint64(most) {
		return int(size), false
	}
	least := (usable-12)*32/255 - 23
	k := least + int((size-uint64(least))%uint64(usable-4))
	if k <= most {
		return k, true
	}
	return least, true
}
