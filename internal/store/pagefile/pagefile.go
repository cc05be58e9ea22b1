// Package pagefile reads and writes single pages of a file for a Writer: the
// raw records of systems whose stores are database files.
//
// Job: a page is the record page/NUMBER/SIZE. Its content is as long as the page,
// shorter where the file ends within it, nil where the file does not reach it.
// Read, Write and Sync of a Writer can hand such records to a File.
//
// Invariants:
//   - After Write a page reads back as what was written: the file is cut where
//     a page shall be short or not be. So pages that make a file grow have to
//     come in ascending order, and are taken back in descending order; that is
//     the order of a journal and its inverse.
//   - A barrier page (the meta page of a bbolt file) reaches the disk after every
//     page written before it and before every page written after it.
//   - Write may be repeated, also over a page that a crash left half written.
//
// It must not: know what is in a page, journal, or lock.
package pagefile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"fettle/internal/store"
)

// prefix is how the address of a page begins.
const prefix = "page/"

// Limits of a page's size in bytes: those of SQLite, wider than those of bbolt.
const (
	minSize = 512
	maxSize = 65536
)

// Page names a page; the size is part of it, so that a journal can be read without the file.
type Page struct {
	Number uint64
	Size   int // bytes
}

// Addr is the address of the record: "page/17/4096".
func (p Page) Addr() string { return fmt.Sprintf("%s%d/%d", prefix, p.Number, p.Size) }

// Change is the change of a page of a target, as a journal holds it.
func (p Page) Change(target string, before, after []byte) store.Change {
	return store.Change{Target: target, Addr: p.Addr(), Before: before, After: after}
}

// Is tells whether addr looks like the address of a page.
func Is(addr string) bool { return strings.HasPrefix(addr, prefix) }

// File is a file whose pages are records. The zero value with a Path is ready to use. Close must be called.
type File struct {
	Path string
	// First is the number of the page at offset 0: 1 for SQLite, 0 for bbolt.
	First uint64
	// Barrier tells of a page whether it has to reach the disk alone; nil: none has to.
	Barrier func(number uint64) bool
	// Open, if not nil, is called before the first page is written and after each Sync.
	Open func() error

	f      *os.File             // nil until a page is written
	toDisk func(*os.File) error // nil is (*os.File).Sync; tests look on
}

// parse reads an address and finds the page's place in the file.
func (f *File) parse(addr string) (p Page, at int64, err error) {
	num, sz, ok := strings.Cut(strings.TrimPrefix(addr, prefix), "/")
	n, err1 := strconv.ParseUint(num, 10, 64)
	s, err2 := strconv.Atoi(sz)
	if !Is(addr) || !ok || err1 != nil || err2 != nil || n < f.First || s < minSize || s > maxSize || n-f.First > uint64(math.MaxInt64/int64(s)-1) {
		return Page{}, 0, fmt.Errorf("bad page address %q", addr)
	}
	return Page{Number: n, Size: s}, int64(n-f.First) * int64(s), nil
}

// Read returns a page as it stands in the file: fewer bytes where the file ends, nil behind its end or without a file.
func (f *File) Read(addr string) (store.Bytes, error) {
	p, at, err := f.parse(addr)
	if err != nil {
		return nil, err
	}
	in, err := os.Open(f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b := make([]byte, p.Size)
	got, err := in.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read page %d of %s: %w", p.Number, f.Path, err)
	}
	if got == 0 {
		return nil, nil
	}
	return b[:got], nil
}

// Write makes a page what c.After says. Except for a barrier page it need not be durable before Sync.
func (f *File) Write(c store.Change) error {
	p, at, err := f.parse(c.Addr)
	if err != nil {
		return err
	}
	if len(c.After) > p.Size {
		return fmt.Errorf("page %d of %s: %d bytes do not fit into it", p.Number, f.Path, len(c.After))
	}
	if err := f.open(); err != nil {
		return err
	}
	barrier := f.Barrier != nil && f.Barrier(p.Number)
	if barrier {
		// Also what an earlier process wrote and did not make durable.
		if err := f.sync(); err != nil {
			return err
		}
	}
	if err := f.put(p, at, c.After); err != nil {
		return err
	}
	if barrier {
		return f.sync()
	}
	return nil
}

func (f *File) sync() error {
	toDisk := f.toDisk
	if toDisk == nil {
		toDisk = (*os.File).Sync
	}
	if err := toDisk(f.f); err != nil {
		return fmt.Errorf("sync %s: %w", f.Path, err)
	}
	return nil
}

func (f *File) open() error {
	if f.f != nil {
		return nil
	}
	if f.Open != nil {
		if err := f.Open(); err != nil {
			return err
		}
	}
	var err error
	f.f, err = os.OpenFile(f.Path, os.O_RDWR, 0)
	return err
}

// put writes a page, and cuts the file where the page is shorter than its size.
func (f *File) put(p Page, at int64, content []byte) error {
	if len(content) > 0 {
		if _, err := f.f.WriteAt(content, at); err != nil {
			return fmt.Errorf("write page %d of %s: %w", p.Number, f.Path, err)
		}
	}
	if len(content) == p.Size {
		return nil
	}
	fi, err := f.f.Stat()
	if err != nil {
		return err
	}
	if end := at + int64(len(content)); fi.Size() > end {
		if err := f.f.Truncate(end); err != nil {
			return fmt.Errorf("cut %s behind page %d: %w", f.Path, p.Number, err)
		}
	}
	return nil
}

// Sync makes all pages durable and lets go of the file, so that another can be renamed over it.
func (f *File) Sync() error {
	if f.f == nil {
		return nil
	}
	if err := f.sync(); err != nil {
		return err
	}
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	f.f = nil
	return nil
}

// Close lets go of the file without making anything durable.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
