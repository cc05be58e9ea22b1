package flux

import (
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// object changes one row of objects, found by its hash or its rowid.
func (e *editor) object(c store.Change) error {
	var where, key string
	var arg any
	ref, named := refOfAddr(c.Addr)
	if named {
		key = string(ref.Sum())
		where, arg = "hash = ?", key
	} else {
		id, err := strconv.ParseInt(strings.TrimPrefix(c.Addr, addrRowID), 10, 64)
		if err != nil {
			return fmt.Errorf("bad address %q", c.Addr)
		}
		where, arg = "rowid = ?", id
	}
	if c.Before != nil {
		r, err := parseRecordRow(c.Before)
		if err != nil {
			return err
		}
		if e.trust {
			if named {
				if err := e.db.Exec("DELETE FROM objects WHERE hash = ?", key); err != nil {
					return err
				}
			}
		} else {
			if r.RowID != 0 {
				where, arg = "rowid = ?", r.RowID
			}
			if err := e.remove(c, where, arg, r); err != nil {
				return err
			}
		}
	} else if row, err := e.one("SELECT 1 FROM objects WHERE "+where, arg); err != nil {
		return err
	} else if row != nil {
		if e.trust {
			return nil
		}
		return changed(c.Addr)
	}
	if c.After == nil || e.trust && !named {
		return nil
	}
	return e.insert(c, key)
}

// remove deletes the row that a change is about, if it is as the plan says; the changed row is inserted anew, with its rowid.
func (e *editor) remove(c store.Change, where string, arg any, want recordRow) error {
	row, err := e.one("SELECT typeof(hash), size, object FROM objects WHERE "+where, arg)
	if err != nil {
		return err
	}
	if row == nil || !want.matches(row) {
		return changed(c.Addr)
	}
	return e.db.Exec("DELETE FROM objects WHERE "+where, arg)
}

// matches compares a row (class of the key, size, object) with the plan's.
func (r recordRow) matches(row []any) bool {
	if class, _ := row[0].(string); class != r.Key {
		return false
	}
	if size, ok := row[1].(int64); ok && r.Size != nil && size != *r.Size {
		return false
	}
	switch o := row[2].(type) {
	case nil:
		return r.Object == nil && r.Digest == ""
	case []byte:
		return r.has(o)
	case string:
		return r.has([]byte(o))
	}
	return r.Object == nil && r.Digest == ""
}

// objectOf reads the object of the row that a new row takes it from.
func (e *editor) objectOf(addr string, r recordRow) (store.Bytes, error) {
	if r.ObjectOf == 0 || e.trust { // in a new database the rows have other ids
		return nil, fmt.Errorf("row in plan: %s is to be written, but the plan has only a digest of its content", addr)
	}
	row, err := e.one("SELECT object FROM objects WHERE rowid = ?", r.ObjectOf)
	if err != nil {
		return nil, err
	}
	var object []byte
	if row != nil {
		switch o := row[0].(type) {
		case []byte:
			object = o
		case string:
			object = []byte(o)
		}
	}
	if !r.has(object) {
		return nil, changed(rowAddr(r.ObjectOf))
	}
	return object, nil
}

// insert adds the row as the plan wants it. A row that already has the key with the right storage class wins over one
// that only gets it now.
func (e *editor) insert(c store.Change, hash string) error {
	r, err := parseRecordRow(c.After)
	if err != nil {
		return err
	}
	if r.Digest != "" {
		if r.Object, err = e.objectOf(c.Addr, r); err != nil {
			return err
		}
	}
	if hash == "" {
		ref, err := treeobj.ParseRef(r.Hash)
		if err != nil {
			return fmt.Errorf("row in plan: %w", err)
		}
		hash = string(ref.Sum())
	}
	if row, err := e.one("SELECT 1 FROM objects WHERE hash = ?", hash); err != nil || row != nil {
		return err
	}
	var id, size, epoch any
	if r.RowID != 0 && !e.trust { // in a new database the rows have other ids
		id = r.RowID
	}
	if r.Size != nil {
		size = *r.Size
	}
	if r.Epoch != nil {
		epoch = *r.Epoch
	} else {
		epoch = int64(0)
	}
	if !e.hasEpoch {
		return e.db.Exec("INSERT INTO objects(rowid, hash, size, object) VALUES(?, ?, ?, ?)", id, hash, size, []byte(r.Object))
	}
	return e.db.Exec("INSERT INTO objects(rowid, hash, size, object, epoch) VALUES(?, ?, ?, ?, ?)", id, hash, size, []byte(r.Object), epoch)
}
