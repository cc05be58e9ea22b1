package sqliteedit

// Sources, a small store and the checks that the tests share.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// image is a Source over bytes in memory that counts its use.
type image struct {
	data []byte
	size int
	fail uint32 // page that cannot be read; 0 = none
}

var errUnreadable = errors.New("medium error")

func (s *image) PageSize() int     { return s.size }
func (s *image) PageCount() uint32 { return uint32(len(s.data) / s.size) }
func (s *image) ReadPage(n uint32, buf []byte) error {
	if n == s.fail {
		return errUnreadable
	}
	if n == 0 || n > s.PageCount() || len(buf) != s.size {
		return fmt.Errorf("bad request: page %d, %d bytes", n, len(buf))
	}
	copy(buf, s.data[int(n-1)*s.size:])
	return nil
}

// fileImage is a Source that reads a file.
type fileImage struct {
	f     *os.File
	size  int
	count uint32
}

func openImage(t *testing.T, path string, size int) *fileImage {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return &fileImage{f, size, uint32(st.Size() / int64(size))}
}

func (s *fileImage) PageSize() int     { return s.size }
func (s *fileImage) PageCount() uint32 { return s.count }
func (s *fileImage) ReadPage(n uint32, buf []byte) error {
	_, err := s.f.ReadAt(buf, int64(n-1)*int64(s.size))
	return err
}

const schema = `CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0);
CREATE TABLE checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, value TEXT);`

// rawKey is a 20 byte key with NUL and bytes that are not UTF-8.
func rawKey(i int) string {
	k := []byte("\x00\xff\xfe\xc0\x80 0123456789ab\x00\x80")
	k[6], k[7], k[8] = byte(i), byte(i>>8), byte(i>>16)
	return string(k)
}

// makeStore builds a database of n objects with the package's own Build.
func makeStore(t testing.TB, path string, pageSize, n int, wal bool) {
	t.Helper()
	err := Build(context.Background(), path, BuildOptions{PageSize: pageSize, WAL: wal, Check: true}, func(db *DB) error {
		if err := db.Exec(schema); err != nil {
			return err
		}
		for i := range n {
			if err := db.Exec("INSERT INTO objects VALUES(?,?,?,?)", rawKey(i), -1, bytes.Repeat([]byte{byte(i)}, 300), 1); err != nil {
				return err
			}
		}
		for i := range 5 {
			if err := db.Exec("INSERT INTO checkpt_v2(value) VALUES(?)", fmt.Sprintf(`{"version":1,"n":%d}`, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, src Source) *Edit {
	t.Helper()
	e, err := Begin(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rows reads all rows of a query.
func rows(t testing.TB, db *DB, sql string, args ...any) [][]any {
	t.Helper()
	var all [][]any
	for row, err := range db.Query(sql, args...) {
		must(t, err)
		all = append(all, row)
	}
	return all
}

// patch returns a copy of data with one side of the result written into it.
func patch(data []byte, r Result, after bool) []byte {
	count := r.OldPageCount
	if after {
		count = r.NewPageCount
	}
	out := make([]byte, int(count)*r.PageSize)
	copy(out, data)
	for _, p := range r.Pages {
		b := p.Before
		if after {
			b = p.After
		}
		if b != nil {
			copy(out[int(p.Number-1)*r.PageSize:], b)
		}
	}
	return out
}

// checkWithSQLite opens a file with SQLite's own file access and runs the
// integrity check and a query, whose rows are returned as text.
func checkWithSQLite(t *testing.T, path, sql string) string {
	t.Helper()
	c, err := sqlite3.Open(path)
	must(t, err)
	defer c.Close()
	read := func(sql string) string {
		st, _, err := c.Prepare(sql)
		must(t, err)
		defer st.Close()
		var out []string
		for st.Step() {
			for i := range st.ColumnCount() {
				out = append(out, st.ColumnText(i))
			}
		}
		must(t, st.Err())
		return strings.Join(out, ",")
	}
	if got := read("PRAGMA integrity_check"); got != "ok" {
		t.Fatalf("integrity_check of %s: %s", path, got)
	}
	return read(sql)
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// editStore runs the usual repair on a store file and checks everything that an
// Edit promises about it. It returns the old bytes and the result.
func editStore(t *testing.T, path string, pageSize int) ([]byte, Result) {
	t.Helper()
	t.Chdir(t.TempDir()) // where a careless implementation would drop files
	old, err := os.ReadFile(path)
	must(t, err)
	stat, err := os.Stat(path)
	must(t, err)
	names := listDir(t, filepath.Dir(path))
	e := begin(t, openImage(t, path, pageSize))
	id := rows(t, e.DB, "SELECT max(id) FROM checkpt_v2")[0][0].(int64)
	key := "\x00\xff\xfe\xc0\x80 a new key \x00\x01\x02"
	must(t, e.Exec("INSERT INTO objects(hash,size,object,epoch) VALUES(?,?,?,?)", key, -1, bytes.Repeat([]byte("new"), 5000), id))
	must(t, e.Exec("DELETE FROM checkpt_v2 WHERE id=?", id))
	must(t, e.Exec("INSERT INTO checkpt_v2(value) VALUES(?)", "the new root"))
	found, err := e.IntegrityCheck()
	must(t, err)
	if len(found) > 0 {
		t.Fatalf("integrity check: %v", found)
	}
	r, err := e.Pages()
	must(t, err)

	if st, err := os.Stat(path); err != nil || !st.ModTime().Equal(stat.ModTime()) || st.Size() != stat.Size() {
		t.Errorf("source changed: %v %v", st, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		t.Errorf("source bytes changed (%v)", err)
	}
	if now := listDir(t, filepath.Dir(path)); !slices.Equal(now, names) {
		t.Errorf("files beside the source: %v, before: %v", now, names)
	}
	if now := listDir(t, "."); len(now) > 0 {
		t.Errorf("files in the working directory: %v", now)
	}
	next := patch(old, r, true)
	if !bytes.Equal(next[18:20], old[18:20]) {
		t.Errorf("version bytes %v, before %v", next[18:20], old[18:20])
	}
	if back := patch(next, r, false); !bytes.Equal(back, old) {
		t.Error("writing the before-images back does not give the original")
	}
	copyPath := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(copyPath, next, 0o600))
	got := checkWithSQLite(t, copyPath, fmt.Sprintf(
		"SELECT typeof(hash), hex(hash), length(object), epoch, (SELECT value FROM checkpt_v2 ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM checkpt_v2 WHERE id=%d) FROM objects WHERE hash=CAST(x'%x' AS TEXT)", id, key))
	if want := fmt.Sprintf("text,%X,15000,%d,the new root,0", key, id); got != want {
		t.Errorf("rows after the edit: %s\nwant %s", got, want)
	}
	if now, _ := os.ReadFile(copyPath); !bytes.Equal(now, next) {
		t.Error("SQLite changed the patched file on opening it")
	}
	return old, r
}
