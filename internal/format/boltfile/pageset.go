package boltfile

import (
	"sync"
	"sync/atomic"
)

// setChunk is the number of pages in one chunk of a pageSet (4 KiB of bits).
const setChunk = 1 << 15

// pageSet is a set of page numbers: a few in place, then one bit per page in chunks that exist only once a page of theirs
// was added. Page numbers added must lie inside the file: they size the set. The zero value is empty.
type pageSet struct {
	few    [6]uint64
	n      int // used in few; -1 once chunks are used
	chunks []*[setChunk / 64]uint64
}

func (s *pageSet) has(page uint64) bool {
	for i := range max(s.n, 0) {
		if s.few[i] == page {
			return true
		}
	}
	c := page / setChunk
	if c >= uint64(len(s.chunks)) || s.chunks[c] == nil {
		return false
	}
	return s.chunks[c][page%setChunk/64]&(1<<(page%64)) != 0
}

// add puts page into the set and reports whether it was not there before.
func (s *pageSet) add(page uint64) bool {
	if s.n < 0 {
		return s.set(page)
	}
	if s.has(page) {
		return false
	}
	if s.n < len(s.few) {
		s.few[s.n] = page
		s.n++
		return true
	}
	s.n = -1
	for _, p := range s.few {
		s.set(p)
	}
	return s.set(page)
}

func (s *pageSet) set(page uint64) bool {
	c := int(page / setChunk)
	for c >= len(s.chunks) {
		s.chunks = append(s.chunks, nil)
	}
	if s.chunks[c] == nil {
		s.chunks[c] = new([setChunk / 64]uint64)
	}
	w, bit := &s.chunks[c][page%setChunk/64], uint64(1)<<(page%64)
	if *w&bit != 0 {
		return false
	}
	*w |= bit
	return true
}

// ownerChunk is the number of pages in one chunk of owners (4 KiB).
const ownerChunk = 512

// owners says which bucket each page belongs to, so that a page under many buckets is not read for each of them. It is
// shared by all buckets that come from one root.
type owners struct {
	mu     sync.Mutex
	chunks []*[ownerChunk]uint64
	budget *atomic.Int64 // pages that may still be taken; nil for no limit
}

// take gives page to the bucket with the identity id, unless another one has it or the budget is
// used up. Page numbers must lie inside the file.
func (o *owners) take(page, id uint64) bool {
	id |= 1 // 0 means nobody
	if o.budget != nil && o.budget.Add(-1) < 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := int(page / ownerChunk)
	for c >= len(o.chunks) {
		o.chunks = append(o.chunks, nil)
	}
	if o.chunks[c] == nil {
		o.chunks[c] = new([ownerChunk]uint64)
	}
	slot := &o.chunks[c][page%ownerChunk]
	if *slot == 0 {
		*slot = id
	}
	return *slot == id
}
