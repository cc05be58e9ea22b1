package boltfile

import "io"

// Read-ahead of a window: after a jump it reads little, and doubles while the bytes asked for go forward.
const (
	firstReadAhead = 8 << 10
	maxReadAhead   = 512 << 10
	maxForwardGap  = 64 << 10
)

// window is a source for a reader that mostly goes forward: it keeps one run of consecutive bytes. For one goroutine.
type window struct {
	r     io.ReaderAt
	size  int64
	buf   []byte
	off   int64 // of buf[0]
	ahead int64 // bytes to read next time
}

func (w *window) readAt(buf []byte, off int64) error {
	if at := off - w.off; at >= 0 && at <= int64(len(w.buf)) && int64(len(buf)) <= int64(len(w.buf))-at {
		copy(buf, w.buf[at:])
		return nil
	}
	if len(buf) > maxReadAhead/2 || off < 0 || off > w.size || int64(len(buf)) > w.size-off {
		return readFull(w.r, buf, off)
	}
	if gap := off - (w.off + int64(len(w.buf))); len(w.buf) > 0 && gap > -int64(len(buf)) && gap <= maxForwardGap {
		w.ahead = min(2*w.ahead, maxReadAhead)
	} else {
		w.ahead = firstReadAhead
	}
	want := min(max(w.ahead, int64(len(buf))), w.size-off)
	w.off, w.buf = off, grow(w.buf, want)
	if err := readFull(w.r, w.buf, off); err != nil {
		w.buf = w.buf[:0] // perhaps only what was read ahead is unreadable
		return readFull(w.r, buf, off)
	}
	copy(buf, w.buf)
	return nil
}
