package sqlitefile

import (
	"errors"
	"io"
)

// ReadPage reads page n (from 1) of the merged view into buf, which has at least PageSize bytes. The error is a *PageError.
// With FoundPartial the readable bytes are in buf and the rest of the page is zero.
func (f *File) ReadPage(n uint32, buf []byte) error {
	avail, err := f.readPage(n, buf[:f.pageSize])
	if err == nil && avail < f.pageSize {
		return &PageError{Page: n, Found: FoundPartial}
	}
	return err
}

// readPage returns how many bytes of the page exist; the rest of buf is zero.
func (f *File) readPage(n uint32, buf []byte) (avail int, err error) {
	if f.wal != nil && f.wal.pages.Has(n) {
		if err := f.wal.readPage(n, buf); err != nil {
			return 0, &PageError{Page: n, Found: FoundIOError, Err: err}
		}
		return f.pageSize, nil
	}
	if n == 0 || n > f.filePages {
		return 0, f.absent(n)
	}
	got, err := f.main.ReadAt(buf, int64(n-1)*int64(f.pageSize))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, &PageError{Page: n, Found: FoundIOError, Err: err}
	}
	clear(buf[got:])
	return got, nil
}

// absent is the error for a page that neither file has.
func (f *File) absent(n uint32) *PageError {
	if n == 0 || (n > f.filePages && f.claimed != 0 && n > f.claimed) {
		return &PageError{Page: n, Found: FoundNoPage}
	}
	return &PageError{Page: n, Found: FoundPastEnd}
}

// Path is the path given to Open.
func (f *File) Path() string { return f.path }

// Size is the size of the main file in bytes.
func (f *File) Size() int64 { return f.size }

// PageSize is the size of a page in bytes.
func (f *File) PageSize() int { return f.pageSize }

// Usable is the page size minus the reserved bytes at the end of each page.
func (f *File) Usable() int { return f.usable }

// PageCount is the number of the last page that can be read, even partly, from main file or -wal. Pages up to it may be
// missing (a truncated main file with later pages in the -wal). It never exceeds what the size of the files justifies.
func (f *File) PageCount() uint32 { return f.pageCount }

// FilePages is the number of pages in the main file, counting a partial last one.
func (f *File) FilePages() uint32 { return f.filePages }

// ClaimedPages is the size of the database according to the last commit in the -wal, else to a valid header; 0 if neither
// says. Pages past it are not part of the database for SQLite.
func (f *File) ClaimedPages() uint32 { return f.claimed }

// Header is the header of the merged view (page 1 of the -wal if it is there).
func (f *File) Header() Header { return f.header }

// MainHeader is the header as it stands in the main file.
func (f *File) MainHeader() Header { return f.mainHead }

// WAL gives the facts about the -wal; Exists is false if there is none or Options.IgnoreWAL was set.
func (f *File) WAL() WAL { return f.walFacts }

// InWAL reports whether page n comes from the -wal.
func (f *File) InWAL(n uint32) bool { return f.wal != nil && f.wal.pages.Has(n) }

// Journal gives the facts about a rollback journal beside the main file.
func (f *File) Journal() Journal { return f.journal }

// Problems lists what was found wrong while opening: header, geometry, sizes, -wal and journal.
func (f *File) Problems() []Problem { return f.problems }

// LockBytePage is the number of the page that holds the lock bytes at offset 1 GiB and is never used for data. It may lie
// past the end of the file.
func (f *File) LockBytePage() uint32 { return uint32(pendingByte/int64(f.pageSize)) + 1 }

// IsPointerMap reports whether page n is a pointer map page (only in auto-vacuum databases; fileformat2.html, 1.8).
func (f *File) IsPointerMap(n uint32) bool {
	if f.header.LargestRoot == 0 || n < 2 {
		return false
	}
	group := uint32(f.usable/5) + 1
	first := (n-2)/group*group + 2
	if first == f.LockBytePage() {
		first++
	}
	return n == first
}
