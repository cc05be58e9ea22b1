package flux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
	"fettle/internal/store/wholefile"
)

// lowerRebuild builds a new database beside the old one from every row whose content is good, makes the other changes of
// the step in it, and returns the swap: the -wal goes first, since it must never be read on top of the new file.
func (w *writer) lowerRebuild(ctx context.Context, u *unit, step store.Step) ([]store.Change, error) {
	if err := w.forgetJournal(); err != nil {
		return nil, err
	}
	if err := u.analyse(ctx, w.work, 2); err != nil {
		return nil, err
	}
	build := u.path + ".fettle-build"
	for _, leftover := range []string{build, build + "-journal"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	size := u.file.PageSize()
	if size < 512 {
		size = 4096
	}
	err := sqliteedit.Build(ctx, build, sqliteedit.BuildOptions{PageSize: size, WAL: true, Check: u.file.Size() < 1<<30},
		func(db *sqliteedit.DB) error { return u.refill(ctx, db, step) })
	if err != nil {
		return nil, fmt.Errorf("build new database: %w", err)
	}
	k, err := w.shelf.AdoptBuilt(build, w.u.path)
	if err != nil {
		return nil, err
	}
	old, err := wholefile.Describe(u.path)
	if err != nil {
		return nil, err
	}
	var out []store.Change
	if wal := u.file.WAL(); wal.Exists {
		kw, err := w.shelf.Keep(wal.Path)
		if err != nil {
			return nil, err
		}
		out = append(out, store.Change{Target: targetWAL, Addr: rawFile, Before: kw.Bytes(), Note: "kept"})
	}
	return append(out, store.Change{Target: targetDB, Addr: rawFile, Before: old.Bytes(), After: k.Bytes(), Note: "the old file is kept beside it"}), nil
}

// refill copies the good rows and the checkpoint rows into a new database and makes the changes of the step.
func (u *unit) refill(ctx context.Context, db *sqliteedit.DB, step store.Step) error {
	for _, sql := range []string{sqlObjects, sqlCheckpoint} {
		if err := db.Exec(sql); err != nil {
			return err
		}
	}
	if err := u.copyRows(ctx, db); err != nil {
		return err
	}
	drop := map[string]bool{}
	for _, c := range step.Changes {
		if c.After == nil {
			drop[c.Addr] = true
		}
	}
	if err := u.copyCheckpoints(db, drop); err != nil {
		return err
	}
	e := &editor{db: db, hasEpoch: true, trust: true}
	for _, c := range step.Changes {
		if c.Addr == addrFile || c.Addr == addrTable || c.Addr == addrStorageClass || strings.HasPrefix(c.Addr, addrRowID) {
			continue // the new database has neither wrong rows nor wrong classes
		}
		if c.Addr == addrLegacy {
			c.Addr = checkpointAddr(1)
			c.Before = nil
			if c.After == nil {
				continue
			}
		}
		if err := e.make(c); err != nil {
			return err
		}
	}
	return nil
}

// copyRows inserts every row with good content, in the order of the old file.
func (u *unit) copyRows(ctx context.Context, db *sqliteedit.DB) error {
	b := newBlobReader(u)
	const insert = "INSERT OR IGNORE INTO objects(hash, size, object, epoch) VALUES(?, ?, ?, ?)"
	order := u.inFileOrder()
	part := store.Begin(ctx, "rebuild", "building a new database", int64(len(order)), 0)
	defer part.End()
	for i, n := range order {
		part.Did(1, 0)
		if i&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, err := b.at(u.idx.at(int(n)))
		if err != nil {
			return err
		}
		if row.Status != statusGood {
			continue
		}
		if err := db.Exec(insert, string(row.Hash), row.Size, row.Stored, row.Epoch); err != nil {
			return err
		}
	}
	return nil
}

// copyCheckpoints keeps the valid rows, with their ids, so that they stay in their order.
func (u *unit) copyCheckpoints(db *sqliteedit.DB, drop map[string]bool) error {
	for i := len(u.checkpoints) - 1; i >= 0; i-- {
		c := &u.checkpoints[i]
		if c.err != nil || c.Legacy && u.checkptRoot != 0 || drop[checkpointAddr(c.ID)] {
			continue
		}
		id := c.ID
		if c.Legacy {
			id = 1
		}
		if err := db.Exec("INSERT OR IGNORE INTO checkpt_v2(id, value) VALUES(?, ?)", id, string(c.Value)); err != nil {
			return err
		}
	}
	return nil
}

// lastSequence is the last id that sqlite_sequence knows for checkpt_v2.
func (u *unit) lastSequence() int64 {
	if u.seqRoot == 0 {
		return 0
	}
	var last int64
	t := u.file.Tree(u.seqRoot, sqlitefile.Table)
	t.EachRow(u.file.NewReader(blobWindow), 1, 0, func(row *sqlitefile.Row, err error) bool {
		if err == nil && len(row.Cols) == 2 && string(row.Cols[0].B) == "checkpt_v2" {
			last = max(last, row.Cols[1].I)
		}
		return true
	})
	return last
}
