package flux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
)

// Lower implements store.Writer: it works out, on a copy in memory or in a new file, what is to be written.
func (w *writer) Lower(ctx context.Context, step store.Step) ([]store.Change, error) {
	u, err := openUnit(w.u.path, w.u.opts)
	if err != nil {
		return nil, err
	}
	defer u.file.Close()
	for _, c := range step.Changes {
		switch {
		case c.Target == targetWAL && c.Addr == addrWAL:
			return w.lowerWAL(ctx, u)
		case c.Addr == addrFile:
			return w.lowerRebuild(ctx, u, step)
		}
	}
	return w.lowerRows(ctx, u, step)
}

// lowerWAL moves the committed pages of the -wal into the database. Until the -wal is gone it covers every page that is
// written, so a program that opens the store in between sees what it would have seen before.
func (w *writer) lowerWAL(ctx context.Context, u *unit) ([]store.Change, error) {
	if err := w.forgetJournal(); err != nil {
		return nil, err
	}
	wal := u.file.WAL()
	if !wal.Exists {
		return nil, &fault.Error{Op: "repair", Where: u.path, Err: errors.New("the -wal is gone"), Hint: "the store was written to since the plan was made: check again"}
	}
	var out []store.Change
	size := u.file.PageSize()
	buf := make([]byte, size)
	last := u.file.PageCount()
	if wal.Applied && wal.DBSize > 0 {
		last = wal.DBSize
	}
	part := store.Begin(ctx, "wal", "reading the pages of the -wal", int64(last), 0)
	defer part.End()
	for n := uint32(1); n <= last; n++ {
		part.Did(1, 0)
		if n&1023 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !u.file.InWAL(n) {
			continue
		}
		if err := u.file.ReadPage(n, buf); err != nil {
			return nil, err
		}
		before, err := w.pages.Read(pageAddr(n, size))
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(before, buf) {
			out = append(out, store.Change{Target: targetDB, Addr: pageAddr(n, size), Before: before, After: bytes.Clone(buf)})
		}
	}
	// Pages behind the end that the last commit gives are cut off, from the last one backwards.
	for n := u.file.FilePages(); wal.Applied && wal.DBSize > 0 && n > wal.DBSize; n-- {
		before, err := w.pages.Read(pageAddr(n, size))
		if err != nil {
			return nil, err
		}
		out = append(out, store.Change{Target: targetDB, Addr: pageAddr(n, size), Before: before})
	}
	path, err := w.pathOf(targetWAL)
	if err != nil {
		return nil, err
	}
	k, err := w.shelf.Keep(path)
	if err != nil {
		return nil, err
	}
	return append(out, store.Change{Target: targetWAL, Addr: rawFile, Before: k.Bytes()}), nil
}

// lowerRows runs the step as one SQL transaction on a copy-on-write overlay and returns the pages that it changes.
func (w *writer) lowerRows(ctx context.Context, u *unit, step store.Step) ([]store.Change, error) {
	if u.file.WAL().Applied {
		return nil, &fault.Error{Op: "repair", Where: u.path, Err: errors.New("there is a -wal with committed pages, which the plan does not know"),
			Hint: "the store was written to since the plan was made: check again"}
	}
	edit, err := sqliteedit.Begin(ctx, pageSource{u.file})
	if err != nil {
		return nil, &fault.Error{Op: "repair", Where: u.path, Err: err, Hint: "if the file itself is damaged, let the plan rebuild it (--policy 'flux/bad-*=rebuild')"}
	}
	defer edit.Close()
	e := &editor{db: edit.DB, hasEpoch: u.hasEpoch}
	if err := e.makeAll(ctx, step.Changes); err != nil {
		return nil, err
	}
	res, err := edit.Pages()
	if err != nil {
		return nil, err
	}
	var pages []store.Change
	for _, p := range res.Pages {
		pages = append(pages, store.Change{Target: targetDB, Addr: pageAddr(p.Number, res.PageSize), Before: store.Bytes(p.Before), After: store.Bytes(p.After)})
	}
	if len(pages) == 0 {
		return nil, nil
	}
	if err := w.prepareJournal(u, res); err != nil {
		return nil, err
	}
	return pages, nil
}

// pageSource shows a database file to sqliteedit.
type pageSource struct{ f *sqlitefile.File }

func (s pageSource) PageSize() int                       { return s.f.PageSize() }
func (s pageSource) PageCount() uint32                   { return s.f.PageCount() }
func (s pageSource) ReadPage(n uint32, buf []byte) error { return s.f.ReadPage(n, buf) }

// editor makes record changes by SQL, after it has seen that each record is as the plan says.
type editor struct {
	db       *sqliteedit.DB
	hasEpoch bool
	// trust skips the comparison: the database was just built from the store that the plan was made for.
	trust bool
}

// errChanged is the cause of a refusal because the store is not as the plan says.
var errChanged = errors.New("the record is not as it was when the plan was made")

func changed(addr string) error {
	return &fault.Error{Op: "repair", Where: addr, Err: errChanged, Kind: fault.Unrepaired, Hint: "check again and make a new plan"}
}

// makeAll makes all changes of a step, in their order.
func (e *editor) makeAll(ctx context.Context, changes []store.Change) error {
	part := store.Begin(ctx, "lower", "working out the pages to write", int64(len(changes)), 0)
	defer part.End()
	for _, c := range changes {
		if err := e.make(c); err != nil {
			return err
		}
		part.Did(1, 0)
	}
	return nil
}

func (e *editor) make(c store.Change) error {
	switch {
	case c.Addr == addrStorageClass:
		return e.storageClass(c)
	case c.Addr == addrTable:
		return e.table(c)
	case c.Addr == addrLegacy:
		return e.value(c, "checkpt", "key = 'kvs-primary'")
	case strings.HasPrefix(c.Addr, addrCheckpoint):
		id, err := strconv.ParseInt(strings.TrimPrefix(c.Addr, addrCheckpoint), 10, 64)
		if err != nil {
			return fmt.Errorf("bad address %q", c.Addr)
		}
		return e.checkpoint(c, id)
	case strings.HasPrefix(c.Addr, addrObjects):
		return e.object(c)
	}
	return fmt.Errorf("unknown record %q", c.Addr)
}

// one returns the first row of a query.
func (e *editor) one(sql string, args ...any) ([]any, error) {
	for row, err := range e.db.Query(sql, args...) {
		return row, err
	}
	return nil, nil
}

func (e *editor) storageClass(c store.Change) error {
	row, err := e.one("SELECT count(*) FROM objects WHERE typeof(hash) = 'blob'")
	if err != nil {
		return err
	}
	n, _ := row[0].(int64)
	if !e.trust && !bytes.HasPrefix(c.Before, fmt.Appendf(nil, "%d rows", n)) {
		return changed(c.Addr)
	}
	if err := e.db.Exec("UPDATE OR IGNORE objects SET hash = CAST(hash AS TEXT) WHERE typeof(hash) = 'blob'"); err != nil {
		return err
	}
	// What is left has a twin of the right class.
	return e.db.Exec("DELETE FROM objects WHERE typeof(hash) = 'blob'")
}

func (e *editor) table(c store.Change) error {
	row, err := e.one("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'checkpt_v2'")
	if err != nil {
		return err
	}
	if row != nil {
		if e.trust {
			return nil
		}
		return changed(c.Addr)
	}
	return e.db.Exec(string(c.After))
}

// value changes the value column of one row of a checkpoint table.
func (e *editor) value(c store.Change, table, where string) error {
	row, err := e.one("SELECT value FROM " + table + " WHERE " + where)
	if err != nil {
		return err
	}
	if !e.trust && !sameValue(row, c.Before) {
		return changed(c.Addr)
	}
	if c.After == nil {
		return e.db.Exec("DELETE FROM " + table + " WHERE " + where)
	}
	return e.db.Exec("UPDATE "+table+" SET value = ? WHERE "+where, string(c.After))
}

// sameValue compares a row's value (text, NULL or, in damaged rows, anything) with a plan's.
func sameValue(row []any, want store.Bytes) bool {
	if row == nil || want == nil {
		return row == nil && want == nil
	}
	switch v := row[0].(type) {
	case nil:
		return string(want) == nullValue
	case string:
		return v == string(want)
	case []byte:
		return bytes.Equal(v, want)
	case int64, float64:
		return true // a damaged row; its id names it
	}
	return false
}

func (e *editor) checkpoint(c store.Change, id int64) error {
	where := fmt.Sprintf("id = %d", id)
	row, err := e.one("SELECT value FROM checkpt_v2 WHERE " + where)
	if err != nil {
		return err
	}
	if row == nil && c.Before == nil && c.After != nil {
		return e.db.Exec("INSERT INTO checkpt_v2(id, value) VALUES(?, ?)", id, string(c.After))
	}
	if row == nil && e.trust {
		return nil
	}
	return e.value(c, "checkpt_v2", where)
}
