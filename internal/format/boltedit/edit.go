package boltedit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// Result is what a transaction changes in a file.
type Result struct {
	// PageSize is in bytes. Page n lies at n * PageSize.
	PageSize int
	// Pages are those that differ, in the order in which they must be written:
	// data pages ascending, then the one meta page. Before the meta page is
	// written the data pages must be on disk. They are taken back in the opposite
	// order, with the data pages only after the meta page is on disk again. There
	// are none if the transaction changed nothing.
	Pages []Page
	// OldSize and NewSize are sizes of the file in bytes.
	OldSize, NewSize int64
}

// Page is one page that differs.
type Page struct {
	Number uint64
	Meta   bool
	// Before and After are the bytes of the page: nil where the file does not reach
	// it, fewer than PageSize where the file ends within it.
	Before, After []byte
}

// IsMeta tells whether page n is one of the two meta pages.
func IsMeta(n uint64) bool { return n < 2 }

// chunk is how much is copied or compared at once, in bytes; a multiple of every page size.
const chunk = 1 << 20

// Edit runs fn in one read-write transaction of bbolt on a private copy of the
// file in dir, and returns the pages of the file that the transaction changes.
// The original is opened read-only, never by bbolt. Nobody may write to it
// meanwhile: see Lock. The copy is removed before Edit returns. fn must not keep
// the transaction, and must not commit it or roll it back.
//
// It fails, without calling fn, when the file is not sound: a reachable page or
// the list of free pages is damaged. Panics of bbolt and of fn become errors.
// Memory is what bbolt needs for the transaction and the changed pages.
func Edit(ctx context.Context, path, dir string, fn func(*bbolt.Tx) error) (*Result, error) {
	r, err := edit(ctx, path, dir, fn)
	if err != nil {
		return nil, fmt.Errorf("edit a copy of %s: %w", path, err)
	}
	return r, nil
}

func edit(ctx context.Context, path, dir string, fn func(*bbolt.Tx) error) (_ *Result, err error) {
	src, fi, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	dup, err := os.CreateTemp(dir, "bolt-edit-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dup.Close(), os.Remove(dup.Name())) }()
	if err := copyBytes(ctx, dup, src, fi.Size()); err != nil {
		return nil, err
	}
	old, err := readMetas(dup)
	if err != nil {
		return nil, err
	}
	if err := old.safeToCommit(); err != nil {
		return nil, err
	}
	live, err := requireSound(ctx, dup, fi.Size(), old.current)
	if err != nil {
		return nil, err
	}
	if err := transact(dup.Name(), old.current.freelist == noFreelist, fn); err != nil {
		return nil, err
	}
	return compare(ctx, src, dup, fi, old, live)
}

// compare makes the result from the original and the changed copy, and proves
// that it is what the package promises.
func compare(ctx context.Context, src, dup *os.File, was os.FileInfo, old metas, live pageSet) (*Result, error) {
	is, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if is.Size() != was.Size() || !is.ModTime().Equal(was.ModTime()) {
		return nil, errors.New("it was written to meanwhile; hint: stop the program that uses it")
	}
	fi, err := dup.Stat()
	if err != nil {
		return nil, err
	}
	r := &Result{PageSize: old.current.pageSize, OldSize: was.Size(), NewSize: fi.Size()}
	now, err := readMetas(dup)
	if err != nil {
		return nil, fmt.Errorf("after the change: %w", err)
	}
	if now.current.root == old.current.root {
		// Copy on write: whatever changes moves the root. Only the transaction's number is new.
		r.NewSize = r.OldSize
		return r, nil
	}
	if now.current.txid != old.current.txid+1 || now.current.slot != old.next() || (now.current.freelist == noFreelist) != (old.current.freelist == noFreelist) {
		return nil, fmt.Errorf("transaction %d became %d in meta page %d", old.current.txid, now.current.txid, now.current.slot)
	}
	if _, err := requireSound(ctx, dup, fi.Size(), now.current); err != nil {
		return nil, fmt.Errorf("after the change: %w", err)
	}
	if r.Pages, err = differing(ctx, src, dup, r); err != nil {
		return nil, err
	}
	return r, r.order(live, now.current.slot)
}

// order moves the meta page to the end, after it has checked which pages there are.
func (r *Result) order(live pageSet, slot int) error {
	meta := -1
	for i, p := range r.Pages {
		switch {
		case p.Number == uint64(slot):
			meta = i
		case live.has(p.Number):
			return fmt.Errorf("page %d was changed although it is in use", p.Number)
		}
	}
	if meta < 0 {
		return fmt.Errorf("meta page %d was not written", slot)
	}
	m := r.Pages[meta]
	m.Meta = true
	r.Pages = append(append(r.Pages[:meta:meta], r.Pages[meta+1:]...), m)
	return nil
}

// differing returns the pages in which two files differ, ascending.
func differing(ctx context.Context, was, is *os.File, r *Result) ([]Page, error) {
	a, b := make([]byte, chunk), make([]byte, chunk)
	var out []Page
	for at := int64(0); at < max(r.OldSize, r.NewSize); at += chunk {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		before, err := readUpTo(was, a, at, r.OldSize)
		if err != nil {
			return nil, err
		}
		after, err := readUpTo(is, b, at, r.NewSize)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(before, after) {
			continue
		}
		for i := 0; i < max(len(before), len(after)); i += r.PageSize {
			p := Page{Number: uint64(at+int64(i)) / uint64(r.PageSize), Before: part(before, i, r.PageSize), After: part(after, i, r.PageSize)}
			if !bytes.Equal(p.Before, p.After) {
				p.Before, p.After = bytes.Clone(p.Before), bytes.Clone(p.After)
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// readUpTo fills buf from a file of the given size; what lies behind its end is missing.
func readUpTo(f *os.File, buf []byte, at, size int64) ([]byte, error) {
	buf = buf[:max(0, min(int64(len(buf)), size-at))]
	if _, err := f.ReadAt(buf, at); err != nil {
		return nil, fmt.Errorf("read at %d: %w", at, err)
	}
	return buf, nil
}

// part is the page that begins at i: nil behind the end.
func part(b []byte, i, size int) []byte {
	if i >= len(b) {
		return nil
	}
	return b[i:min(i+size, len(b))]
}

// copyBytes copies the first size bytes, or fails.
func copyBytes(ctx context.Context, to, from *os.File, size int64) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, min(16*chunk, size-done))
		if err != nil {
			return fmt.Errorf("copy at %d: %w", done+n, err)
		}
		done += n
	}
	return nil
}

// transact runs fn on a file that nobody else knows. Nothing is made durable.
func transact(path string, noFreelistSync bool, fn func(*bbolt.Tx) error) (err error) {
	db, err := open(path, &bbolt.Options{NoFreelistSync: noFreelistSync})
	if err != nil {
		return err
	}
	if err := update(db, fn); err != nil {
		return err
	}
	return db.Close()
}

// open opens a private database with settings that make bbolt neither wait nor
// reserve space. The free list is an array, so that equal changes give equal pages.
func open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	defer recovered(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	o.Timeout = 10 * time.Second
	o.NoSync, o.NoGrowSync = true, true
	o.FreelistType = bbolt.FreelistArrayType
	o.NoStatistics = true
	return bbolt.Open(path, 0o600, o)
}

// update runs fn in a transaction. After an error the database is closed, unless
// bbolt died with its locks held: then it is left alone, since Close would wait
// for ever.
func update(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	err = guarded(func() error { return fn(tx) })
	if err == nil {
		err = guarded(tx.Commit)
	}
	if err == nil {
		return nil
	}
	back := guarded(func() error {
		if err := tx.Rollback(); !errors.Is(err, bbolt.ErrTxClosed) {
			return err
		}
		return nil
	})
	if back != nil {
		return errors.Join(err, back)
	}
	return errors.Join(err, db.Close())
}

// guarded turns panics into errors, those for reading outside of a file among them.
func guarded(fn func() error) (err error) {
	defer recovered(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return fn()
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("bbolt: panic: %v", r)
	}
}
