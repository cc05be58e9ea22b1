// Package storefixture opens the fixture stores for tests: the blobs of a
// content.sqlite and the keys below its newest checkpoint. Nothing but tests
// may import it. It trusts the files; it is no checker.
package storefixture

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"

	"fettle/internal/format/treeobj"
)

// Store is a loaded fixture.
type Store struct {
	Blobs map[treeobj.Ref][]byte
	// Checkpoints are the values of checkpt_v2, newest first.
	Checkpoints []string
}

// File opens and decompresses flux/NAME.zst below FETTLE_FIXTURES and gives its
// content; it skips the test when the variable is unset.
func File(tb testing.TB, name string) []byte {
	tb.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		tb.Skip("FETTLE_FIXTURES is not set: real stores are not at hand")
	}
	f, err := os.Open(filepath.Join(root, "flux", name+".zst"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Open loads the base store NAME ("base-small", "base-medium", ...).
func Open(tb testing.TB, name string) *Store { return open(tb, name, false) }

// OpenWithWAL loads a base store together with its -wal file ("small-crash").
func OpenWithWAL(tb testing.TB, name string) *Store { return open(tb, name, true) }

func open(tb testing.TB, name string, wal bool) *Store {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "content.sqlite")
	if err := os.WriteFile(path, File(tb, "bases/"+name+".content.sqlite"), 0o600); err != nil {
		tb.Fatal(err)
	}
	uri := "file:" + path + "?mode=ro&immutable=1"
	if wal {
		if err := os.WriteFile(path+"-wal", File(tb, "bases/"+name+".content.sqlite-wal"), 0o600); err != nil {
			tb.Fatal(err)
		}
		uri = "file:" + path
	}
	db, err := sqlite3.Open(uri)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	s := &Store{Blobs: map[treeobj.Ref][]byte{}}
	query(tb, db, "SELECT CAST(hash AS BLOB), size, object FROM objects", func(st *sqlite3.Stmt) {
		ref, err := treeobj.RefFromHash(st.ColumnRawBlob(0))
		if err != nil {
			tb.Fatal(err)
		}
		content := bytes.Clone(st.ColumnRawBlob(2))
		if size := st.ColumnInt(1); size >= 0 {
			dst := make([]byte, size)
			if _, err := lz4.UncompressBlock(content, dst); err != nil {
				tb.Fatal(err)
			}
			content = dst
		}
		s.Blobs[ref] = content
	})
	query(tb, db, "SELECT value FROM checkpt_v2 ORDER BY id DESC", func(st *sqlite3.Stmt) {
		s.Checkpoints = append(s.Checkpoints, st.ColumnText(0))
	})
	return s
}

func query(tb testing.TB, db *sqlite3.Conn, sql string, row func(*sqlite3.Stmt)) {
	st, _, err := db.Prepare(sql)
	if err != nil {
		tb.Fatal(err)
	}
	defer st.Close()
	for st.Step() {
		row(st)
	}
	if err := st.Err(); err != nil {
		tb.Fatal(err)
	}
}

// Root is the directory the newest checkpoint names.
func (s *Store) Root(tb testing.TB) treeobj.Ref {
	var v struct {
		Rootref string `json:"rootref"`
	}
	if err := json.Unmarshal([]byte(s.Checkpoints[0]), &v); err != nil {
		tb.Fatal(err)
	}
	r, err := treeobj.ParseRef(v.Rootref)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// Key is one key that is not a directory.
type Key struct {
	Path   []string
	Value  []byte // val, valref
	Target string // symlink
	NS     string // symlink
	HasNS  bool
	Type   treeobj.Type
}

// Keys lists all keys below the newest checkpoint.
func (s *Store) Keys(tb testing.TB) []Key {
	tb.Helper()
	var out []Key
	s.walk(tb, s.Root(tb), nil, &out)
	return out
}

func (s *Store) walk(tb testing.TB, dir treeobj.Ref, path []string, out *[]Key) {
	var sc treeobj.Scanner
	t := sc.ParseDir(s.Blobs[dir])
	if !t.Decodable() {
		tb.Fatalf("%q: directory %s does not decode", path, dir)
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		k := Key{Path: append(path[:len(path):len(path)], string(e.Name)), Type: e.Type}
		switch e.Type {
		case treeobj.TypeDirref:
			s.walk(tb, e.Ref, k.Path, out)
			continue
		case treeobj.TypeVal:
			v, err := e.Value()
			if err != nil {
				tb.Fatal(err)
			}
			k.Value = v
		case treeobj.TypeValref:
			e.EachRef(func(_ int, r treeobj.Ref) bool {
				k.Value = append(k.Value, s.Blobs[r]...)
				return true
			})
		case treeobj.TypeSymlink:
			k.Target, k.NS, k.HasNS, _ = e.Symlink()
		}
		*out = append(*out, k)
	}
}
