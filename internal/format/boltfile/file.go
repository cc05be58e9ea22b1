package boltfile

import (
	"errors"
	"fmt"
	"io"
)

// File is an open database. All methods may be used by many goroutines at once.
type File struct {
	name     string
	r        io.ReaderAt
	closer   io.Closer
	size     int64
	pageSize int
	pages    uint64 // pages that begin inside the file, the last one perhaps partly missing
	limit    uint64 // pages that may be referred to: the high-water mark, but not past the end of the file
	metas    [2]Meta
	problems []Problem
	cache    *cache
	loose    *File // the same without the high-water mark, for pages that a guess or an old version leads to
}

// Open opens the database at path for reading only. It fails only if the file cannot be read (missing, no permission, not a
// regular file or block device, I/O error at the meta pages). Damage of any kind, wrong magic and zero length are no
// errors: see Metas and Problems.
func Open(path string) (*File, error) {
	r, size, _, err := openReadOnly(path)
	if err != nil {
		return nil, fmt.Errorf("open bolt file: %w", err)
	}
	f, err := New(r, size, path)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	f.closer = r
	return f, nil
}

// New reads a database of size bytes from r, which must stay readable as long as the File is used; name stands for it in
// messages and is what Path returns. It fails only on I/O errors.
func New(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{name: name, r: r, size: max(size, 0)}
	if err := f.readMetas(); err != nil {
		return nil, fmt.Errorf("open bolt file %s: %w", name, err)
	}
	ps := int64(f.pageSize)
	f.pages = uint64((f.size + ps - 1) / ps)
	f.limit = f.pages
	if m, ok := f.Current(); ok {
		f.limit = min(f.limit, m.HighWater)
	}
	f.cache = newCache(r, f.size)
	f.findProblems()
	loose := *f
	loose.limit = f.pages
	f.loose, loose.loose = &loose, &loose
	return f, nil
}

// findProblems fills in what the meta pages and the size alone tell.
func (f *File) findProblems() {
	add := func(kind Kind, page uint64, format string, args ...any) {
		f.problems = append(f.problems, Problem{Kind: kind, Page: page, Text: fmt.Sprintf(format, args...)})
	}
	if f.size == 0 {
		add(Empty, 0, "the file has zero length; bbolt would silently make a new, empty database of it")
		return
	}
	m, ok := f.Current()
	if !ok {
		add(InvalidMetas, 0, "no valid meta page: page 0 (offset 0): %s; page 1 (offset %d): %s",
			f.metas[0].Why, f.pageSize, f.metas[1].Why)
		return
	}
	if bad := f.metas[1-m.Page]; bad.odd {
		add(BadPage, bad.Page, "meta page %d (offset %d): %s; bbolt does not look at that and may take it for the newer one",
			bad.Page, f.offset(bad.Page), bad.Why)
	} else if !bad.Valid {
		add(OneMetaBad, bad.Page, "meta page %d (offset %d): %s; transaction %d of the other one is read, it may be the older",
			bad.Page, f.offset(bad.Page), bad.Why, m.Txid)
	}
	if whole := uint64(f.size / int64(f.pageSize)); whole < m.HighWater {
		add(Truncated, 0, "the database has %d pages of %d bytes, the file ends at offset %d, %d pages too early",
			m.HighWater, f.pageSize, f.size, m.HighWater-whole)
	}
}

// Problems lists what was found while opening: Empty, Truncated, InvalidMetas, OneMetaBad, and BadPage for a meta page whose
// checksum is right and whose page size is not.
func (f *File) Problems() []Problem { return append([]Problem(nil), f.problems...) }

// Close closes the file. Buckets of it can no longer be read.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	err := f.closer.Close()
	f.closer = nil
	return err
}

// Size is the size of the file in bytes.
func (f *File) Size() int64 { return f.size }

// PageSize is the size of a page in bytes: as a valid meta page says, else guessed.
func (f *File) PageSize() int { return f.pageSize }

// Path is the path given to Open, or the name given to New.
func (f *File) Path() string { return f.name }

// offset is where a page begins, for messages; pages far outside the file give the largest number.
func (f *File) offset(page uint64) uint64 {
	if page > ^uint64(0)/uint64(f.pageSize) {
		return ^uint64(0)
	}
	return page * uint64(f.pageSize)
}

// peek reads up to n bytes at off before there is a cache; fewer at the end of the file.
func (f *File) peek(off int64, n int) ([]byte, error) {
	b := make([]byte, min(int64(n), max(f.size-off, 0)))
	got, err := f.r.ReadAt(b, off)
	if got == len(b) || errors.Is(err, io.EOF) {
		return b[:got], nil
	}
	return nil, fmt.Errorf("read %d bytes at offset %d: %w", len(b), off, err)
}
