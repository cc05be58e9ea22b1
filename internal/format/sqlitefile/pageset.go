package sqlitefile

import "math/bits"

// chunkPages is the number of pages in one chunk of a PageSet (4 KiB of bits).
const chunkPages = 1 << 15

// PageSet is a set of page numbers: one bit per page, in chunks that exist only once a page of theirs was added. The zero
// value is an empty set. It is safe for concurrent reading, not for concurrent adding.
type PageSet struct {
	chunks []*[chunkPages / 64]uint64
	count  int
}

// Has reports whether page n is in the set.
func (s *PageSet) Has(n uint32) bool {
	if s == nil {
		return false
	}
	c := int(n / chunkPages)
	if c >= len(s.chunks) || s.chunks[c] == nil {
		return false
	}
	return s.chunks[c][n%chunkPages/64]&(1<<(n%64)) != 0
}

// Add puts page n into the set and reports whether it was not there before.
func (s *PageSet) Add(n uint32) bool {
	c := int(n / chunkPages)
	for c >= len(s.chunks) {
		s.chunks = append(s.chunks, nil)
	}
	if s.chunks[c] == nil {
		s.chunks[c] = new([chunkPages / 64]uint64)
	}
	w, b := &s.chunks[c][n%chunkPages/64], uint64(1)<<(n%64)
	if *w&b != 0 {
		return false
	}
	*w |= b
	s.count++
	return true
}

// Count is the number of pages in the set.
func (s *PageSet) Count() int {
	if s == nil {
		return 0
	}
	return s.count
}

// Union adds all pages of o.
func (s *PageSet) Union(o *PageSet) {
	o.Range(0, 0, func(n uint32) bool { s.Add(n); return true })
}

// Range calls fn for each page p of the set with from <= p <= to in increasing order until fn returns false. to = 0 means
// no upper limit. fn must not add pages.
func (s *PageSet) Range(from, to uint32, fn func(n uint32) bool) {
	if s == nil {
		return
	}
	if to == 0 {
		to = ^uint32(0)
	}
	for c := int(from / chunkPages); c < len(s.chunks); c++ {
		chunk := s.chunks[c]
		base := uint32(c) * chunkPages
		if base > to {
			return
		}
		if chunk == nil {
			continue
		}
		for i, w := range chunk {
			for w != 0 {
				n := base + uint32(i)*64 + uint32(bits.TrailingZeros64(w))
				w &= w - 1
				if n < from {
					continue
				}
				if n > to || !fn(n) {
					return
				}
			}
		}
	}
}
