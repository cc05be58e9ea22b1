package sqliteedit

import (
	"fmt"
	"io"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// Offsets in page 1 of the two file format version bytes, and their values.
// https://www.sqlite.org/fileformat2.html section 1.3.
const (
	offWriteVersion = 18
	offReadVersion  = 19
	versionLegacy   = 1
	versionWAL      = 2
)

// overlay is the main database file that SQLite sees: the pages of src, except
// those that SQLite has written, which live in pages.
//
// It implements vfs.File and is used by one connection on one goroutine.
type overlay struct {
	src      Source
	pageSize int64
	// count is the present size in pages.
	count uint32
	// srcLimit is the highest page that may still be read from src. A truncation
	// lowers it for good: a page that is cut off and added again starts as zeros.
	srcLimit uint32
	pages    map[uint32][]byte
	scratch  []byte
	// err is the first error of src.
	err error
}

func newOverlay(src Source) *overlay {
	return &overlay{
		src:      src,
		pageSize: int64(src.PageSize()),
		count:    src.PageCount(),
		srcLimit: src.PageCount(),
		pages:    map[uint32][]byte{},
		scratch:  make([]byte, src.PageSize()),
	}
}

// load fills buf (one page long) with page n as SQLite should see it.
func (o *overlay) load(n uint32, buf []byte) error {
	if p, ok := o.pages[n]; ok {
		copy(buf, p)
		return nil
	}
	if n > o.srcLimit {
		clear(buf)
		return nil
	}
	if err := o.src.ReadPage(n, buf); err != nil {
		err = fmt.Errorf("read page %d of the store: %w", n, err)
		if o.err == nil {
			o.err = err
		}
		return err
	}
	if n == 1 {
		hideWAL(buf)
	}
	return nil
}

// hideWAL makes a WAL mode header look like a rollback mode header.
func hideWAL(page1 []byte) {
	for _, off := range []int{offWriteVersion, offReadVersion} {
		if page1[off] == versionWAL {
			page1[off] = versionLegacy
		}
	}
}

// ReadAt implements io.ReaderAt. SQLite also reads parts of page 1.
func (o *overlay) ReadAt(b []byte, off int64) (int, error) {
	size := o.size()
	done := 0
	for done < len(b) {
		at := off + int64(done)
		if at >= size {
			return done, io.EOF
		}
		n := uint32(at/o.pageSize) + 1
		in := at % o.pageSize
		if in == 0 && int64(len(b)-done) >= o.pageSize {
			if err := o.load(n, b[done:done+int(o.pageSize)]); err != nil {
				return done, vfs.SystemError(err, sqlite3.IOERR_READ)
			}
			done += int(o.pageSize)
			continue
		}
		if err := o.load(n, o.scratch); err != nil {
			return done, vfs.SystemError(err, sqlite3.IOERR_READ)
		}
		done += copy(b[done:], o.scratch[in:])
	}
	return done, nil
}

// WriteAt implements io.WriterAt. SQLite writes whole pages; anything else is
// handled as well, by reading the rest of the page first.
func (o *overlay) WriteAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		at := off + int64(done)
		if at/o.pageSize >= maxPageCount {
			return done, sqlite3.FULL
		}
		n := uint32(at/o.pageSize) + 1
		in := at % o.pageSize
		p, ok := o.pages[n]
		if !ok {
			p = make([]byte, o.pageSize)
			if whole := in == 0 && int64(len(b)-done) >= o.pageSize; !whole {
				if err := o.load(n, p); err != nil {
					return done, vfs.SystemError(err, sqlite3.IOERR_WRITE)
				}
			}
			o.pages[n] = p
		}
		done += copy(p[in:], b[done:])
		o.count = max(o.count, n)
	}
	return done, nil
}

// Truncate implements vfs.File. The size is rounded up to whole pages.
func (o *overlay) Truncate(size int64) error {
	count := (size + o.pageSize - 1) / o.pageSize
	if count < 0 || count > maxPageCount {
		return sqlite3.FULL
	}
	o.count = uint32(count)
	o.srcLimit = min(o.srcLimit, o.count)
	for n := range o.pages {
		if n > o.count {
			delete(o.pages, n)
		}
	}
	return nil
}

func (o *overlay) size() int64 { return int64(o.count) * o.pageSize }

func (o *overlay) Size() (int64, error)             { return o.size(), nil }
func (o *overlay) Close() error                     { return nil }
func (o *overlay) Sync(vfs.SyncFlag) error          { return nil }
func (o *overlay) Lock(vfs.LockLevel) error         { return nil }
func (o *overlay) Unlock(vfs.LockLevel) error       { return nil }
func (o *overlay) CheckReservedLock() (bool, error) { return false, nil }
func (o *overlay) SectorSize() int                  { return 512 }

// DeviceCharacteristics says that a write never touches neighbouring bytes, so
// SQLite journals and writes only the pages it really changes.
func (o *overlay) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_SAFE_APPEND | vfs.IOCAP_SEQUENTIAL | vfs.IOCAP_POWERSAFE_OVERWRITE
}
