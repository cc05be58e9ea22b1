package sqlitefile

import (
	"errors"
	"io"
)

// Read-ahead of a window: after a jump it reads little, and doubles while the pages asked for go forward.
const (
	firstReadAhead = 16 << 10
	maxForwardGap  = 64 << 10
)

// window serves pages of the main file out of one buffer of consecutive bytes, and pages of the -wal out of another.
type window struct {
	f     *File
	buf   []byte
	limit int   // most bytes to read at once
	off   int64 // file offset of buf[0]
	have  int   // bytes in buf
	ahead int   // bytes to read next time
	wal   []byte
}

func newWindow(f *File, limit int) window {
	limit = max(limit, f.pageSize)
	return window{f: f, limit: limit - limit%f.pageSize}
}

// held returns page n if its bytes are already in the buffer.
func (w *window) held(n uint32) []byte {
	at := int64(n-1)*int64(w.f.pageSize) - w.off
	if at < 0 || at+int64(w.f.pageSize) > int64(w.have) || n == 0 || w.f.InWAL(n) {
		return nil
	}
	return w.buf[at : at+int64(w.f.pageSize)]
}

// page returns page n, valid until the next call, and how many bytes of it exist (the rest is zero). Errors are *PageError.
func (w *window) page(n uint32) (data []byte, avail int, err error) {
	if data := w.held(n); data != nil {
		return data, len(data), nil
	}
	f := w.f
	if f.InWAL(n) {
		if w.wal == nil {
			w.wal = make([]byte, f.pageSize)
		}
		avail, err = f.readPage(n, w.wal)
		return w.wal, avail, err
	}
	if n == 0 || n > f.filePages {
		return nil, 0, f.absent(n)
	}
	return w.load(n)
}

// load refills the buffer from page n on.
func (w *window) load(n uint32) ([]byte, int, error) {
	f, ps := w.f, w.f.pageSize
	off := int64(n-1) * int64(ps)
	gap := off - (w.off + int64(w.have))
	if w.have > 0 && gap >= 0 && gap <= maxForwardGap {
		w.ahead = min(2*w.ahead, w.limit)
	} else {
		w.ahead = min(max(firstReadAhead, ps), w.limit)
	}
	want := max(int(min(int64(w.ahead), f.size-off)), ps)
	if cap(w.buf) < want {
		w.buf = make([]byte, max(want, min(4*want, w.limit)))
	}
	w.buf = w.buf[:cap(w.buf)]
	w.off = off
	got, err := f.main.ReadAt(w.buf[:want], off)
	w.have = got
	if err != nil && !errors.Is(err, io.EOF) && got < ps {
		w.have = 0
		return nil, 0, &PageError{Page: n, Found: FoundIOError, Err: err}
	}
	if got < ps {
		clear(w.buf[got:ps])
	}
	return w.buf[:ps], min(got, ps), nil
}
