package flux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"fettle/internal/fault"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
)

// Addresses of raw records: what is really written.
//
//	page/17/4096  page 17 of the database file, 4096 bytes; its content is shorter only where the file ends
//	file          the whole database or -wal, as a keptFile
const (
	rawPage = "page/"
	rawFile = "file"
)

// writer makes changes true. It holds SQLite's lock on the database, so that no Flux can open it meanwhile.
type writer struct {
	u      *unit
	work   string
	unlock func() error
	db     *os.File // the database, for pages; nil until the first page is written
	dirty  bool     // pages were written since the last sync
}

// OpenWriter implements store.Planner.
func (u *unit) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}
	w := &writer{u: u, work: work, unlock: func() error { return nil }}
	unlock, err := sqlitefile.LockExclusive(u.path)
	switch {
	case err == nil:
		w.unlock = unlock
	case errors.Is(err, os.ErrNotExist):
		// Between the two renames of a swap that was cut off there is no database; the journal puts it back.
	default:
		return nil, &fault.Error{Op: "lock", Where: u.path, Err: err, Hint: lockHint(err)}
	}
	if err := w.foreignJournal(); err != nil {
		w.unlock()
		return nil, err
	}
	return w, nil
}

// lockHint says what to do about a database that cannot be opened for writing.
func lockHint(err error) string {
	switch {
	case errors.Is(err, sqlitefile.ErrLocked):
		return "stop the Flux instance that uses this store, then try again"
	case errors.Is(err, os.ErrPermission):
		return "run as the owner of the store or as root"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only: remount it writable, or repair a copy"
	}
	return "repair a copy elsewhere if this place cannot be written to"
}

// foreignJournal refuses to write where another program left a rollback journal: the file as it stands may hold half a
// transaction, which is not for us to complete.
func (w *writer) foreignJournal() error {
	f, err := sqlitefile.Open(w.u.path, w.u.opts.fileOptions())
	if err != nil {
		return nil // the file is being swapped; there is nothing to look at
	}
	defer f.Close()
	if !f.Journal().Hot {
		return nil
	}
	if w.ours() {
		return nil
	}
	return &fault.Error{Op: "repair", Where: w.u.path, Err: errors.New("a hot rollback journal lies beside the database"),
		Hint: "open the database once with sqlite3 so that it rolls the transaction back, then check again"}
}

// Close implements store.Writer.
func (w *writer) Close() error {
	var err error
	if w.db != nil {
		err = w.db.Close()
	}
	if e := w.unlock(); err == nil {
		err = e
	}
	return err
}

// pathOf is the file behind a target.
func (w *writer) pathOf(target string) (string, error) {
	switch target {
	case targetDB:
		return w.u.path, nil
	case targetWAL:
		if p := w.u.opts.wal; p != "" && p != "none" {
			return p, nil
		}
		return w.u.path + "-wal", nil
	}
	return "", fmt.Errorf("unknown target %q", target)
}

// Read implements store.Writer.
func (w *writer) Read(ctx context.Context, target, addr string) (store.Bytes, error) {
	path, err := w.pathOf(target)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(addr, rawPage):
		n, size, err := parsePage(addr)
		if err != nil {
			return nil, err
		}
		return readPage(path, n, size)
	case addr == rawFile:
		return w.describeRecord(path)
	}
	return nil, fmt.Errorf("unknown record %q", addr)
}

// describeRecord is the record of a whole file: nil if there is none.
func (w *writer) describeRecord(path string) (store.Bytes, error) {
	k, err := describe(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return k.bytes(), nil
}

// pageAddr names a page; the size is part of it, so that a journal can be read without the database.
func pageAddr(n uint32, size int) string { return fmt.Sprintf("%s%d/%d", rawPage, n, size) }

func parsePage(addr string) (n uint32, size int, err error) {
	num, sz, ok := strings.Cut(strings.TrimPrefix(addr, rawPage), "/")
	p, err1 := strconv.ParseUint(num, 10, 32)
	s, err2 := strconv.Atoi(sz)
	if !ok || err1 != nil || err2 != nil || p == 0 || s < 512 || s > 65536 {
		return 0, 0, fmt.Errorf("bad page address %q", addr)
	}
	return uint32(p), s, nil
}

// readPage returns the bytes of a page as they stand in the file, fewer where the file ends, nil behind its end.
func readPage(path string, n uint32, size int) (store.Bytes, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, size)
	got, err := f.ReadAt(b, int64(n-1)*int64(size))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read page %d of %s: %w", n, path, err)
	}
	if got == 0 {
		return nil, nil
	}
	return b[:got], nil
}

// Write implements store.Writer.
func (w *writer) Write(ctx context.Context, c store.Change) error {
	if c.Guard() {
		return nil
	}
	path, err := w.pathOf(c.Target)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(c.Addr, rawPage):
		return w.writePage(path, c)
	case c.Addr == rawFile:
		return w.place(path, c)
	}
	return fmt.Errorf("unknown record %q", c.Addr)
}

// writePage writes a page in place, or cuts the file where the page shall not be.
func (w *writer) writePage(path string, c store.Change) error {
	n, size, err := parsePage(c.Addr)
	if err != nil {
		return err
	}
	if w.db == nil {
		if err := w.arm(); err != nil {
			return err
		}
		if w.db, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return err
		}
	}
	w.dirty = true
	at := int64(n-1) * int64(size)
	if len(c.After) > 0 {
		if _, err := w.db.WriteAt(c.After, at); err != nil {
			return fmt.Errorf("write page %d of %s: %w", n, path, err)
		}
	}
	if len(c.After) == size {
		return nil
	}
	fi, err := w.db.Stat()
	if err != nil {
		return err
	}
	if end := at + int64(len(c.After)); fi.Size() > end {
		return w.db.Truncate(end)
	}
	return nil
}

// Sync implements store.Writer.
func (w *writer) Sync(context.Context) error {
	if w.db != nil && w.dirty {
		if err := w.db.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", w.u.path, err)
		}
		if err := w.db.Close(); err != nil {
			return fmt.Errorf("close %s: %w", w.u.path, err)
		}
		w.db, w.dirty = nil, false
	}
	return w.disarm()
}

// place puts a kept file where the record says, or takes the present one away, durably. Pages written before are made
// durable first: the -wal may go only when the database holds its content, the journal only when the pages are safe.
func (w *writer) place(path string, c store.Change) error {
	if err := w.Sync(context.Background()); err != nil {
		return err
	}
	if err := w.keepPresent(path, c.Before); err != nil {
		return err
	}
	if c.After == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return syncDir(filepath.Dir(path))
	}
	k, err := parseKept(c.After)
	if err != nil {
		return err
	}
	if err := w.bring(k, path); err != nil {
		return err
	}
	return w.dropBuilt(path, c.Before)
}

// dropBuilt removes a new database that an undo finds still lying beside the store, because the apply was cut off before
// the swap.
func (w *writer) dropBuilt(path string, before store.Bytes) error {
	if path != w.u.path || before == nil {
		return nil
	}
	k, err := parseKept(before)
	if err != nil || !w.isBuilt(k) {
		return err
	}
	if err := os.Remove(w.keptPath(k, path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}
