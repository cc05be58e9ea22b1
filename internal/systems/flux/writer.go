package flux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"fettle/internal/fault"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
	"fettle/internal/store/pagefile"
	"fettle/internal/store/wholefile"
)

// Addresses of raw records: what is really written.
//
//	page/17/4096  page 17 of the database file, 4096 bytes; its content is shorter only where the file ends (store/pagefile)
//	file          the whole database or -wal (store/wholefile)
const rawFile = "file"

// pageAddr is the address of a page of the database.
func pageAddr(n uint32, size int) string {
	return pagefile.Page{Number: uint64(n), Size: size}.Addr()
}

// writer makes changes true. It holds SQLite's lock on the database, so that no Flux can open it meanwhile.
type writer struct {
	u      *unit
	work   string
	unlock func() error
	pages  pagefile.File   // of the database
	shelf  wholefile.Shelf // the database and the -wal as they were, and a new database
}

// OpenWriter implements store.Planner.
func (u *unit) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}
	w := newWriter(u, work)
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

func newWriter(u *unit, work string) *writer {
	w := &writer{u: u, work: work, unlock: func() error { return nil }}
	w.pages = pagefile.File{Path: u.path, First: 1, Open: w.arm}
	w.shelf = wholefile.Shelf{Work: work, Beside: []string{u.path}} // beside the store the database can be renamed into place
	return w
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
	return errors.Join(w.pages.Close(), w.unlock())
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
	case target == targetDB && pagefile.Is(addr):
		return w.pages.Read(addr)
	case addr == rawFile:
		return wholefile.Read(path)
	}
	return nil, fmt.Errorf("unknown record %q", addr)
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
	case c.Target == targetDB && pagefile.Is(c.Addr):
		return w.pages.Write(c)
	case c.Addr == rawFile:
		return w.place(path, c)
	}
	return fmt.Errorf("unknown record %q", c.Addr)
}

// Sync implements store.Writer.
func (w *writer) Sync(context.Context) error {
	if err := w.pages.Sync(); err != nil {
		return err
	}
	return w.disarm()
}

// place puts a kept file where the record says, or takes the present one away, durably. Pages written before are made
// durable first: the -wal may go only when the database holds its content, the journal only when the pages are safe.
func (w *writer) place(path string, c store.Change) error {
	if err := w.Sync(context.Background()); err != nil {
		return err
	}
	return w.shelf.Place(path, c)
}
