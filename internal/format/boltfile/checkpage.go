package boltfile

import (
	"bytes"
	"fmt"
)

// pageCheck looks at all elements of one page. Of each sort of fault it tells the first one and how many there are.
type pageCheck struct {
	c     *checker
	n     *node
	outer *node // for the page of an inline bucket: the leaf that it lies in
	at    int   // and the element

	bad, order       int
	badWhy, orderWhy string
	badAt, orderAt   int
	prev             []byte
}

// leaf checks a leaf page.
func (p *pageCheck) leaf(lo, hi []byte) {
	n := p.n
	for i := range int(n.head.count) {
		e := n.element(i)
		k := p.key(i, &e, lo, hi)
		if k == nil {
			continue
		}
		p.c.keys++
		isBucket := e.flags&elementIsBucket != 0
		switch {
		case e.flags > elementIsBucket:
			p.fault(i, fmt.Sprintf("has unknown flags %#x", e.flags))
		case isBucket && p.outer != nil:
			p.fault(i, "is a bucket inside an inline bucket, which bbolt never writes")
			continue
		case !isBucket && p.outer == nil && p.c.buckets[p.c.now].depth == 0:
			p.fault(i, "is not a bucket, as everything in the root bucket must be")
		}
		if !isBucket || p.outer != nil {
			continue
		}
		if e.vsize > int64(bucketHead+p.c.f.pageSize) {
			p.fault(i, fmt.Sprintf("is a bucket with a value of %d bytes, more than a page", e.vsize))
			continue
		}
		v, err := n.valueOf(&e)
		if err != nil {
			p.fault(i, err.Error())
			continue
		}
		p.c.bucket(n, i, v)
	}
	p.finish()
}

// branch checks a branch page, but not what is below it.
func (p *pageCheck) branch(lo, hi []byte) {
	if p.n.head.count == 0 {
		p.fault(0, "is missing: a branch must have one")
	}
	for i := range int(p.n.head.count) {
		e := p.n.element(i)
		p.key(i, &e, lo, hi)
	}
	p.finish()
}

// key checks what branch and leaf elements have in common and returns the key; nil if the element cannot be used.
func (p *pageCheck) key(i int, e *element, lo, hi []byte) []byte {
	if why := p.n.fault(i, e); why != "" {
		p.fault(i, why)
		return nil
	}
	k, err := p.n.keyOf(e)
	if err != nil {
		p.fault(i, err.Error())
		return nil
	}
	why := ""
	switch {
	case p.prev != nil && bytes.Compare(k, p.prev) <= 0:
		why = fmt.Sprintf("has key %s, which is not above the one before, %s", quote(k), quote(p.prev))
	case p.prev == nil && lo != nil && bytes.Compare(k, lo) < 0:
		why = fmt.Sprintf("has key %s, below %s, where the parent says the page begins", quote(k), quote(lo))
	case hi != nil && bytes.Compare(k, hi) >= 0:
		why = fmt.Sprintf("has key %s, not below %s, where the parent says the next page begins", quote(k), quote(hi))
	}
	if why != "" {
		if p.order++; p.order == 1 {
			p.orderWhy, p.orderAt = why, i
		}
	}
	p.prev = k
	return k
}

func (p *pageCheck) fault(i int, why string) {
	if p.bad++; p.bad == 1 {
		p.badWhy, p.badAt = why, i
	}
}

// finish checks the page as a whole and tells what was found.
func (p *pageCheck) finish() {
	n, end := p.n, p.n.first
	if why := n.miscount(); why != "" {
		p.add(BadPage, p.c.f.nodeFault(n, why))
	} else if n.head.count > 0 {
		last := n.element(int(n.head.count) - 1)
		end = last.end()
	}
	if p.bad > 0 {
		p.add(BadPage, p.c.f.elementFault(n, p.badAt, p.badWhy+others(p.bad)))
	}
	if p.order > 0 {
		p.add(Order, p.c.f.elementFault(n, p.orderAt, p.orderWhy+others(p.order)))
	}
	if end > n.extent {
		return // told already
	}
	if p.outer == nil {
		p.overflow(end)
	} else if n.head.id != 0 || n.head.overflow != 0 || end != n.extent {
		p.add(BadPage, &fault{text: fmt.Sprintf("the inline bucket's page says page %d and %d overflow pages, its elements end at %d of %d bytes",
			n.head.id, n.head.overflow, end, n.extent)})
	}
	p.residue(end)
}

// residue looks for bytes after end, where bbolt leaves zeros. After the last element they may be what was cut off it, or
// the tool that wrote them is not bbolt; on a page without elements they are the elements.
func (p *pageCheck) residue(end int64) {
	n := p.n
	switch {
	case zero(n.buf[min(end, int64(len(n.buf))):]):
	case n.head.count == 0:
		p.add(BadPage, p.c.f.nodeFault(n, "says that it has no elements, but the bytes after its header are not zero"))
	default:
		p.add(Residue, p.c.f.nodeFault(n, fmt.Sprintf("has bytes other than zero after its last element, which ends at offset %d of the page", end)))
	}
}

// overflow compares the page's overflow count with what its elements, which end at end, need. bbolt takes as many pages as
// needed; boltdb before it took one too many when the last was exactly full.
func (p *pageCheck) overflow(end int64) {
	ps, have := int64(p.c.f.pageSize), int64(p.n.head.overflow)
	if need := (end+ps-1)/ps - 1; have != need && have != end/ps {
		p.add(BadPage, p.c.f.faultf(BadPage, p.n.page, "has %d overflow pages, its elements need %d", have, need))
	}
}

// add tells a fault of the page; for an inline bucket it says where that lies.
func (p *pageCheck) add(kind Kind, fl *fault) {
	fl.kind = kind
	if p.outer != nil {
		where := p.c.f.elementFault(p.outer, p.at, "")
		fl.page, fl.text = where.page, where.text+": "+fl.text
	}
	p.c.add(fl)
}

func others(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("; %d elements of this page have such faults", n)
}

// zero reports whether b is all zero.
func zero(b []byte) bool {
	for len(b) >= len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

var zeros [4096]byte
