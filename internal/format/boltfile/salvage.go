package boltfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// Element is one leaf element that Salvage found.
type Element struct {
	Page     uint64 // the leaf page that it lies on
	Index    int    // on that page, from 0
	Free     bool   // the page is on the freelist: the element is an old version, or was deleted on purpose
	Repaired bool   // the page's header is unusable and was inferred from its elements
	Bucket   bool
	// Key and Value are valid until the function returns. Value is nil for a bucket whose value makes sense.
	Key, Value []byte
	Root       uint64 // the top page of a bucket, 0 if inline
	// Sub is the bucket if it is inline, or if its top page can be read, is not part of the current transaction's tree
	// and was not given out before. Its Path is Key alone.
	Sub *Bucket
}

// Salvage calls fn for every leaf element that the current transaction's tree does not reach, in file order: elements on
// free and leaked pages, on pages below unreadable branches, and on pages of the tree whose number of elements cannot be
// right (those come again here, with what is missing). Without a usable root these are all leaf pages of the file.
// What the tree does reach is for Each.
//
// An element counts if it lies inside its page and overflow pages and these were not taken by other pages since. Pages with
// an unusable header are taken too if their elements prove what the header must have been. Old versions of the same element
// may come more than once, and the elements of one bucket come page by page; Sub gives them together, where it is set.
// An error of fn or ctx ends it and is returned.
func (f *File) Salvage(ctx context.Context, fn func(e Element) error) error {
	c := f.newChecker(ctx, nil)
	if err := c.run(); err != nil {
		return fmt.Errorf("salvage %s: %w", f.name, err)
	}
	s := &salvage{f: f, ctx: ctx, fn: fn, tree: c, src: f.newWindow()}
	s.budget.Store(int64(8*f.pages) + 1000)
	planned := uint64(0)
	for id := uint64(0); id < f.pages; {
		if id >= planned {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("salvage %s: %w", f.name, err)
			}
			planned = s.plan(id)
		}
		next, err := s.page(id)
		if err != nil {
			return err
		}
		id = next
	}
	return nil
}

// salvage is one run of Salvage.
type salvage struct {
	f      *File
	ctx    context.Context
	fn     func(e Element) error
	tree   *checker
	src    *window
	given  pageSet // top pages of buckets that were given out
	budget atomic.Int64
	wasted int64 // bytes of pages that were read and then not believed
	n      node
}

// plan tells the window which pages from first on are wanted, and returns the number of the first page after these.
func (s *salvage) plan(first uint64) uint64 {
	end := min(first+512, s.f.pages)
	s.src.plan = s.src.plan[:0]
	for id := first; id < end; id++ {
		if !s.reached(id) {
			s.src.plan = append(s.src.plan, id)
		}
	}
	return end
}

// reached reports whether the current transaction uses page id and Each gives what is on it.
func (s *salvage) reached(id uint64) bool { return s.tree.readable.has(id) }

// page looks at page id and returns the number of the next one to look at.
func (s *salvage) page(id uint64) (next uint64, err error) {
	next = id + 1
	if s.reached(id) {
		return next, nil
	}
	n, ps := &s.n, int64(s.f.pageSize)
	n.src, n.page, n.off = s.src, id, int64(id)*ps
	n.extent = min(ps, s.f.size-n.off)
	n.own = grow(n.own, n.extent)
	n.buf = n.own
	if n.extent < pageHeader+elementSize || s.src.readAt(n.buf, n.off) != nil {
		return next, nil
	}
	h := parseHeader(n.buf)
	n.setHead(h)
	named := h.id == id && h.flags == flagLeaf
	if other := h.id == id && (h.flags == flagBranch || h.flags == flagFreelist || h.flags == flagMeta); other {
		return next, nil
	}
	repaired := !named || h.count == 0 || n.miscount() != ""
	if repaired && !s.infer(n) {
		if !named {
			return next, nil
		}
		n.setHead(h)
		repaired = false
	}
	if h.count == 0 && !repaired {
		return next, nil
	}
	if repaired && n.first > ps && s.wasted > 4*s.f.size {
		return next, nil // the file is made of pages that look promising and are not
	}
	if !s.extend(n, repaired) || repaired && !chained(n) {
		s.wasted += n.extent
		return next, nil
	}
	return id + uint64((n.extent+ps-1)/ps), s.elements(n, repaired)
}

// infer sets the header that the first element proves: bbolt puts the first key right behind the last element.
func (s *salvage) infer(n *node) bool {
	pos := binary.LittleEndian.Uint32(n.buf[pageHeader+4:])
	if pos == 0 || pos%elementSize != 0 || pos/elementSize >= 0xffff {
		return false
	}
	n.setHead(header{id: n.page, flags: flagLeaf, count: uint16(pos / elementSize)})
	end := n.first
	for i := range min(int(n.head.count), len(n.buf)/elementSize-1) {
		e := n.element(i)
		if e.start != end || e.ksize == 0 {
			return false
		}
		end = e.end()
	}
	return true
}

// extend gives n the overflow pages that its elements need, up to the first one that another page has taken. The header's
// overflow count is believed unless it was inferred.
func (s *salvage) extend(n *node, inferred bool) bool {
	ps := int64(s.f.pageSize)
	room := s.f.size - n.off
	if !inferred {
		room = min(room, (int64(n.head.overflow)+1)*ps)
	}
	if !s.grow(n, min(n.first, room)) || n.first > int64(len(n.buf)) {
		return false
	}
	need := n.first
	for i := range int(n.head.count) {
		if e := n.element(i); e.end() <= room && e.end() > need {
			need = e.end()
		}
	}
	return s.grow(n, min(need, room))
}

// grow makes the extent of n at least size bytes long and reads it, but not past a page that is taken.
func (s *salvage) grow(n *node, size int64) bool {
	ps := int64(s.f.pageSize)
	for n.extent < size {
		id := n.page + uint64(n.extent/ps)
		var b [pageHeader]byte
		if s.reached(id) || s.f.size-n.off-n.extent < pageHeader || s.src.readAt(b[:], n.off+n.extent) != nil {
			break
		}
		if h := parseHeader(b[:]); h.id == id && (h.flags == flagLeaf || h.flags == flagBranch || h.flags == flagFreelist) {
			break
		}
		n.extent = min(n.extent+ps, s.f.size-n.off)
	}
	load := n.extent
	if load > loadWhole {
		load = max(n.first, loadWhole)
	}
	return s.f.fill(n, min(load, n.extent)) == nil
}

// chained reports whether all elements of n follow each other without a gap, with ascending keys and known flags. Bytes
// that are not a leaf page do not look like that.
func chained(n *node) bool {
	end := n.first
	var last []byte
	for i := range int(n.head.count) {
		e := n.element(i)
		if e.start != end || n.fault(i, &e) != "" || e.flags > elementIsBucket {
			return false
		}
		k, err := n.keyOf(&e)
		if err != nil || bytes.Compare(last, k) >= 0 {
			return false
		}
		last, end = k, e.end()
	}
	return true
}

func (s *salvage) elements(n *node, repaired bool) error {
	for i := range int(n.head.count) {
		e := n.element(i)
		if n.fault(i, &e) != "" {
			continue
		}
		k, err := n.keyOf(&e)
		if err != nil {
			continue
		}
		v, err := n.valueOf(&e)
		if err != nil {
			continue
		}
		el := Element{Page: n.page, Index: i, Free: s.tree.free.has(n.page), Repaired: repaired, Key: k, Value: v}
		if e.flags&elementIsBucket != 0 {
			s.bucket(n, &el)
		}
		if err := s.fn(el); err != nil {
			return err
		}
	}
	return nil
}

// bucket completes an element that is a bucket.
func (s *salvage) bucket(n *node, el *Element) {
	el.Bucket = true
	top := s.f.RootAt(0, 0)
	top.owners.budget = &s.budget
	sub := top.sub(n, el.Index, el.Key, el.Value)
	if sub.bad != nil {
		return
	}
	el.Value, el.Root = nil, sub.root
	if sub.root == 0 {
		el.Sub = sub
		return
	}
	if sub.root >= s.f.pages || s.reached(sub.root) || s.given.has(sub.root) {
		return
	}
	var sn node
	if s.f.loose.readHeader(s.f.cache, sub.root, &sn) == nil {
		s.given.add(sub.root)
		el.Sub = sub
	}
}
