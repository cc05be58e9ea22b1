package boltfile

import (
	"fmt"
	"io"
)

// A window reads at most maxRun bytes at once, and up to maxGap bytes that nobody asked for to join two reads.
const (
	maxRun = 256 << 10
	maxGap = 4 << 10
)

// window is a source for a reader that knows which pages it will need next: it keeps one run of consecutive bytes. For one
// goroutine.
type window struct {
	r        io.ReaderAt
	size     int64
	pageSize int64
	plan     []uint64 // pages that will be asked for, ascending; they are read together with one before them
	buf      []byte
	off      int64 // of buf[0]
}

func (w *window) readAt(buf []byte, off int64) error {
	if at := off - w.off; at >= 0 && at <= int64(len(w.buf)) && int64(len(buf)) <= int64(len(w.buf))-at {
		copy(buf, w.buf[at:])
		return nil
	}
	if off < 0 || off > w.size || int64(len(buf)) > w.size-off {
		return fmt.Errorf("read %d bytes at offset %d: past the end of the file at %d", len(buf), off, w.size)
	}
	end := w.run(off, off+int64(len(buf)))
	if end-off > maxRun {
		return readFull(w.r, buf, off)
	}
	w.off, w.buf = off, grow(w.buf, end-off)
	if err := readFull(w.r, w.buf, off); err != nil {
		w.buf = w.buf[:0] // perhaps only what comes later is unreadable
		return readFull(w.r, buf, off)
	}
	copy(buf, w.buf)
	return nil
}

// run says how far to read at off when at least the bytes up to end are wanted.
func (w *window) run(off, end int64) int64 {
	for _, page := range w.plan {
		if page >= uint64(w.size/w.pageSize) || int64(page)*w.pageSize > end+maxGap {
			break
		}
		if next := (int64(page) + 1) * w.pageSize; next > end && next-off <= maxRun {
			end = next
		}
	}
	return end
}
