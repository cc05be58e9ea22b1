package sqlitefile

import (
	"encoding/binary"
	"io"
)

// geometry is a candidate for how the file is cut into pages.
type geometry struct{ pageSize, reserved int }

func (g geometry) usable() int { return g.pageSize - g.reserved }

// sampleSize is what inference reads at one place: one page of the largest size.
const (
	sampleSize = maxPageSize
	maxSamples = 80
)

// chooseGeometry settles page size and reserved bytes. walPageSize is that of a -wal whose header has a good checksum, or
// 0. The header is believed if its shape is right and the pages do not speak against it.
func chooseGeometry(r io.ReaderAt, size int64, h *Header, walPageSize int) (geometry, []Problem) {
	fromHeader := geometry{h.PageSize, int(h.Reserved)}
	if h.shape() && pageFits(r, fromHeader) {
		return fromHeader, nil
	}
	best, score := inferGeometry(r, size, int(h.Reserved))
	if h.shape() {
		if best == fromHeader || 2*scoreGeometry(r, size, fromHeader) >= score {
			return fromHeader, nil
		}
		return best, []Problem{fileProblem(ProblemPageSize, 16,
			"header says page size %d with %d reserved bytes, but the pages parse as %d with %d",
			h.PageSize, h.Reserved, best.pageSize, best.reserved)}
	}
	if score > 0 {
		return best, []Problem{fileProblem(ProblemPageSize, 16,
			"page size %d with %d reserved bytes was inferred from %d pages that parse as b-tree pages",
			best.pageSize, best.reserved, score)}
	}
	g, why := geometry{4096, 0}, "no page parses as a b-tree page of any size; 4096 is only SQLite's default"
	switch {
	case walPageSize != 0:
		g, why = geometry{walPageSize, 0}, "page size was taken from the -wal"
	case validPageSize(h.PageSize):
		g, why = geometry{h.PageSize, 0}, "page size was taken from the damaged header; no page confirms it"
	}
	return g, []Problem{fileProblem(ProblemPageSize, 16, "%s (%d)", why, g.pageSize)}
}

// pageFits reports whether page 1 is, with geometry g, a b-tree page whose cells reach exactly to its end.
func pageFits(r io.ReaderAt, g geometry) bool {
	buf := make([]byte, g.pageSize)
	if n, _ := r.ReadAt(buf, 0); n < len(buf) {
		return false
	}
	return reachesEnd(1, buf, g.usable())
}

// inferGeometry returns the geometry with the most pages that parse, 4096 first, and their number.
func inferGeometry(r io.ReaderAt, size int64, reserved int) (best geometry, score int) {
	for _, ps := range []int{4096, 512, 1024, 2048, 8192, 16384, 32768, 65536} {
		for _, res := range []int{0, reserved} {
			g := geometry{ps, res}
			if g.usable() < minUsable || (res == 0 && reserved == 0 && best == g) {
				continue
			}
			if s := scoreGeometry(r, size, g); s > score {
				best, score = g, s
			}
			if reserved == 0 {
				break
			}
		}
	}
	return best, score
}

// scoreGeometry counts the pages of evenly spread samples that parse and whose cells reach exactly to the end of the page:
// a page read with too large a size parses, but ends early.
func scoreGeometry(r io.ReaderAt, size int64, g geometry) (score int) {
	buf := make([]byte, sampleSize)
	blocks := (size + sampleSize - 1) / sampleSize
	step := max(1, blocks/maxSamples)
	for b := int64(0); b < blocks; b += step {
		n, _ := r.ReadAt(buf, b*sampleSize) // an unreadable sample counts for nothing
		for off := 0; off+g.pageSize <= n; off += g.pageSize {
			page := uint32(min((b*sampleSize+int64(off))/int64(g.pageSize)+1, int64(^uint32(0))))
			if reachesEnd(page, buf[off:off+g.pageSize], g.usable()) {
				score++
			}
		}
	}
	return score
}

// reachesEnd reports whether buf parses as b-tree page n and its last cell, or free block, ends at the end of the page.
func reachesEnd(n uint32, buf []byte, usable int) bool {
	h, ok := parseBtreeHeader(n, buf, usable)
	if !ok || !plausible(n, buf, h, usable) {
		return false
	}
	if h.cells == 0 {
		return h.content == usable
	}
	last := 0
	for i := 0; i < h.cells; i++ {
		last = max(last, int(binary.BigEndian.Uint16(buf[h.ptrs+2*i:])))
	}
	end := usable
	if c, ok := parseCell(h.typ, buf[:usable], last, usable); ok {
		end = last + max(c.size, 4)
	}
	if end == usable {
		return true
	}
	// Walk the chain of free blocks, which is in increasing order, for one that closes the page.
	for at, steps := int(binary.BigEndian.Uint16(buf[headerOffset(n)+1:])), 0; at >= h.content && at <= usable-4 && steps < usable; steps++ {
		if at+int(binary.BigEndian.Uint16(buf[at+2:])) == usable {
			return true
		}
		next := int(binary.BigEndian.Uint16(buf[at:]))
		if next <= at {
			return false
		}
		at = next
	}
	return false
}
