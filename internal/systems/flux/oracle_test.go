package flux

import (
	"encoding/json"
	"errors"
	"fettle/internal/format/treeobj"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"
)

// oracle reads a store as Flux does, through SQLite and with encoding/json, and says why Flux would not accept it. It is
// slow and simple, and shares nothing with the code under test but the format of a blobref.
type oracle struct {
	t     testing.TB
	blobs map[treeobj.Ref][]byte
	root  treeobj.Ref
	rows  []string // checkpoint values, newest first
	wrong []string
	seen  map[treeobj.Ref]bool
}

// accept copies the store and looks at the copy, so that SQLite leaves nothing beside the original.
func accept(t testing.TB, path string) *oracle {
	t.Helper()
	dir := t.TempDir()
	to := filepath.Join(dir, FileName)
	for _, s := range []string{"", "-wal", "-journal"} {
		b, err := os.ReadFile(path + s)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+s, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o := &oracle{t: t, blobs: map[treeobj.Ref][]byte{}, seen: map[treeobj.Ref]bool{}}
	db, err := sqlite3.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	o.query(db, "PRAGMA integrity_check", func(st *sqlite3.Stmt) {
		if s := st.ColumnText(0); s != "ok" {
			o.say("integrity_check: %s", s)
		}
	})
	o.query(db, "SELECT hash, size, object, typeof(hash), typeof(object) FROM objects", func(st *sqlite3.Stmt) {
		hash, object := string(st.ColumnRawText(0)), slices.Clone(st.ColumnRawBlob(2))
		ref, err := treeobj.RefFromHash([]byte(hash))
		if err != nil {
			o.say("row: %v", err)
			return
		}
		if st.ColumnText(3) != "text" {
			o.say("%s: the key is %s", ref, st.ColumnText(3))
			return
		}
		if size := st.ColumnInt64(1); size >= 0 && size < 1<<26 {
			b := make([]byte, size)
			n, err := lz4.UncompressBlock(object, b)
			if err != nil || int64(n) != size {
				o.say("%s: does not decode", ref)
				return
			}
			object = b
		}
		if treeobj.Hash(ref.Alg(), object) != ref {
			o.say("%s: content is wrong", ref)
			return
		}
		o.blobs[ref] = object
	})
	o.checkpoints(db)
	if len(o.rows) > 0 {
		o.walk(o.root, "")
	}
	return o
}

func (o *oracle) say(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

func (o *oracle) query(db *sqlite3.Conn, sql string, row func(*sqlite3.Stmt)) {
	st, _, err := db.Prepare(sql)
	if err != nil {
		o.say("%s: %v", sql, err)
		return
	}
	defer st.Close()
	for st.Step() {
		row(st)
	}
	if err := st.Err(); err != nil {
		o.say("%s: %v", sql, err)
	}
}

func (o *oracle) checkpoints(db *sqlite3.Conn) {
	sql, legacy := "SELECT value, typeof(value) FROM checkpt_v2 ORDER BY id DESC", false
	o.query(db, "SELECT 1 FROM sqlite_schema WHERE name='checkpt'", func(*sqlite3.Stmt) { legacy = true })
	if legacy {
		sql = "SELECT value, typeof(value) FROM checkpt"
	}
	o.query(db, sql, func(st *sqlite3.Stmt) {
		var v struct {
			Version *int   `json:"version"`
			Rootref string `json:"rootref"`
		}
		text := st.ColumnText(0)
		err := json.Unmarshal([]byte(text), &v)
		ref, rerr := treeobj.ParseRef(v.Rootref)
		if err != nil || rerr != nil || v.Version == nil || *v.Version > 1 || st.ColumnText(1) != "text" {
			o.say("checkpoint row %q", text)
			return
		}
		if len(o.rows) == 0 {
			o.root = ref
		}
		o.rows = append(o.rows, text)
	})
	if len(o.rows) == 0 {
		o.say("no checkpoint")
	}
}

type plainObject struct {
	Ver  int             `json:"ver"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func (o *oracle) walk(ref treeobj.Ref, path string) {
	if o.seen[ref] {
		return
	}
	o.seen[ref] = true
	content, ok := o.blobs[ref]
	var obj plainObject
	if !ok {
		o.say("%q: directory is lost", path)
	} else if err := json.Unmarshal(content, &obj); err != nil || obj.Type != "dir" || obj.Ver != 1 {
		o.say("%q: no directory: %.60s", path, content)
	} else {
		o.dir(obj.Data, path)
	}
}

func (o *oracle) dir(data json.RawMessage, path string) {
	var entries map[string]plainObject
	if err := json.Unmarshal(data, &entries); err != nil {
		o.say("%q: %v", path, err)
	}
	for name, e := range entries {
		key := joinKey(path, name)
		var refs []treeobj.Ref
		switch e.Type {
		case "val":
			var b []byte
			if json.Unmarshal(e.Data, &b) != nil {
				o.say("%q: bad base64", key)
			}
		case "dir":
			o.dir(e.Data, key)
		case "valref", "dirref":
			var texts []string
			if json.Unmarshal(e.Data, &texts) != nil || len(texts) == 0 {
				o.say("%q: bad references", key)
			}
			for _, s := range texts {
				r, err := treeobj.ParseRef(s)
				if err != nil {
					o.say("%q: %v", key, err)
				}
				refs = append(refs, r)
			}
		case "symlink":
		default:
			o.say("%q: type %q", key, e.Type)
		}
		if e.Type == "dirref" && len(refs) == 1 {
			o.walk(refs[0], key)
			continue
		}
		for i, r := range refs {
			if _, ok := o.blobs[r]; !ok {
				o.say("%q: blob %d is lost", key, i)
			}
		}
	}
}

// value reads a key of the tree that Flux would start from; ok is false when it is not there or no value.
func (o *oracle) value(key string) (content []byte, ok bool) {
	obj, ok := o.object(key)
	if !ok {
		return nil, false
	}
	switch obj.Type {
	case "val":
		err := json.Unmarshal(obj.Data, &content)
		return content, err == nil
	case "valref":
		var texts []string
		if json.Unmarshal(obj.Data, &texts) != nil {
			return nil, false
		}
		for _, s := range texts {
			r, err := treeobj.ParseRef(s)
			part, ok := o.blobs[r]
			if err != nil || !ok {
				return nil, false
			}
			content = append(content, part...)
		}
		return content, true
	}
	return nil, false
}

func (o *oracle) object(key string) (plainObject, bool) {
	at := plainObject{Type: "dirref", Data: json.RawMessage(fmt.Sprintf("[%q]", o.root))}
	if key == "" {
		return at, true
	}
	for _, name := range strings.Split(key, ".") {
		entries, ok := o.entries(at)
		if !ok {
			return at, false
		}
		if at, ok = entries[name]; !ok {
			return at, false
		}
	}
	return at, true
}

func (o *oracle) entries(obj plainObject) (entries map[string]plainObject, ok bool) {
	if obj.Type == "dirref" {
		var texts []string
		if json.Unmarshal(obj.Data, &texts) != nil || len(texts) != 1 {
			return nil, false
		}
		ref, err := treeobj.ParseRef(texts[0])
		content, have := o.blobs[ref]
		if err != nil || !have || json.Unmarshal(content, &obj) != nil {
			return nil, false
		}
	}
	return entries, obj.Type == "dir" && json.Unmarshal(obj.Data, &entries) == nil
}

func (o *oracle) has(key string) bool {
	_, ok := o.object(key)
	return ok
}

// accepted fails the test when Flux would not take the store.
func (o *oracle) accepted(when string) {
	o.t.Helper()
	if len(o.wrong) > 0 {
		o.t.Errorf("%s: %d things are wrong: %q", when, len(o.wrong), o.wrong[:min(8, len(o.wrong))])
	}
}
