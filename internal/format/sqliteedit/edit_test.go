package sqliteedit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

func TestEditStore(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, wal := range []bool{false, true} {
			t.Run(fmt.Sprintf("page%d/wal=%v", pageSize, wal), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "store")
				makeStore(t, path, pageSize, 300, wal)
				old, r := editStore(t, path, pageSize)
				if want := byte(1); wal == (old[18] == want) {
					t.Errorf("store header byte 18 = %d with WAL=%v", old[18], wal)
				}
				if len(r.Pages) == 0 || len(r.Pages) > 60 || r.NewPageCount < r.OldPageCount {
					t.Errorf("%d pages, count %d -> %d", len(r.Pages), r.OldPageCount, r.NewPageCount)
				}
				if !slices.IsSortedFunc(r.Pages, func(a, b Page) int { return int(a.Number) - int(b.Number) }) {
					t.Error("pages are not sorted")
				}
				for _, p := range r.Pages {
					if (p.Before == nil) != (p.Number > r.OldPageCount) || len(p.After) != pageSize || bytes.Equal(p.Before, p.After) {
						t.Errorf("page %d: before %d bytes, after %d bytes", p.Number, len(p.Before), len(p.After))
					}
				}
			})
		}
	}
}

func smallImage(t testing.TB, n int) *image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	makeStore(t, path, 4096, n, true)
	data, err := os.ReadFile(path)
	must(t, err)
	return &image{data: data, size: 4096}
}

func TestNoChange(t *testing.T) {
	src := smallImage(t, 50)
	e := begin(t, src)
	rows(t, e.DB, "SELECT count(*) FROM objects")
	r, err := e.Pages()
	must(t, err)
	if len(r.Pages) != 0 || r.NewPageCount != r.OldPageCount {
		t.Errorf("a query changed pages: %+v", r)
	}
}

func TestValuesRoundTrip(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	values := []any{string(all), all, "", []byte{}, nil, int64(-1 << 63), int64(0), 1.5, "\x00", "a\x00b", string(all[128:]), "\xed\xa0\x80"}
	e := begin(t, &image{size: 4096})
	must(t, e.Exec("CREATE TABLE t(i INTEGER PRIMARY KEY, v)"))
	for i, v := range values {
		must(t, e.Exec("INSERT INTO t VALUES(?,?)", i, v))
	}
	classes := []string{"text", "blob", "text", "blob", "null", "integer", "integer", "real", "text", "text", "text", "text"}
	for i, row := range rows(t, e.DB, "SELECT v, typeof(v), CAST(v AS BLOB) FROM t ORDER BY i") {
		if fmt.Sprintf("%T %x", row[0], row[0]) != fmt.Sprintf("%T %x", values[i], values[i]) || row[1] != classes[i] {
			t.Errorf("value %d: got %T %x (%v), want %T %x", i, row[0], row[0], row[1], values[i], values[i])
		}
		if s, ok := values[i].(string); ok && !bytes.Equal(row[2].([]byte), []byte(s)) {
			t.Errorf("value %d stored as %x, want %x", i, row[2], s)
		}
		if s, ok := values[i].(string); ok {
			if n := len(rows(t, e.DB, "SELECT 1 FROM t WHERE v=?", s)); n != 1 {
				t.Errorf("value %d found %d times", i, n)
			}
		}
	}
}

func TestNewDatabase(t *testing.T) {
	e := begin(t, &image{size: 1024})
	must(t, e.Exec(schema))
	must(t, e.Exec("INSERT INTO objects(hash) VALUES(?)", rawKey(7)))
	r, err := e.Pages()
	must(t, err)
	if r.OldPageCount != 0 || int(r.NewPageCount) != len(r.Pages) || r.Pages[0].Before != nil {
		t.Fatalf("count %d -> %d, %d pages", r.OldPageCount, r.NewPageCount, len(r.Pages))
	}
	path := filepath.Join(t.TempDir(), "new")
	must(t, os.WriteFile(path, patch(nil, r, true), 0o600))
	if got := checkWithSQLite(t, path, "SELECT count(*) FROM objects"); got != "1" {
		t.Errorf("%s rows", got)
	}
}

func TestFailedExecGivesNoResult(t *testing.T) {
	for name, run := range map[string]func(*Edit) error{
		"constraint": func(e *Edit) error { return e.Exec("INSERT INTO objects(hash) VALUES(?)", rawKey(1)) },
		"syntax":     func(e *Edit) error { return e.Exec("INSRT") },
		"no table":   func(e *Edit) error { return e.Exec("DELETE FROM nowhere") },
		"arguments":  func(e *Edit) error { return e.Exec("DELETE FROM objects WHERE hash=?") },
		"type":       func(e *Edit) error { return e.Exec("DELETE FROM objects WHERE hash=?", struct{}{}) },
		"attach":     func(e *Edit) error { return e.Exec("ATTACH 'other' AS o") },
		"vacuum":     func(e *Edit) error { return e.Exec("VACUUM") },
		"two":        func(e *Edit) error { return e.Exec("DELETE FROM objects WHERE hash=?; SELECT 1", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			e := begin(t, smallImage(t, 20))
			must(t, e.Exec("DELETE FROM objects WHERE hash=?", rawKey(3)))
			first := run(e)
			if first == nil {
				t.Fatal("no error")
			}
			if _, err := e.Pages(); !errors.Is(err, first) {
				t.Errorf("Pages after a failed Exec: %v", err)
			}
			if err := e.Exec("SELECT 1"); !errors.Is(err, first) {
				t.Errorf("Exec after a failed Exec: %v", err)
			}
		})
	}
}

func TestShrink(t *testing.T) {
	e := begin(t, &image{size: 512})
	must(t, e.Exec("PRAGMA auto_vacuum"))
	must(t, e.Close())
	path := filepath.Join(t.TempDir(), "av")
	c, err := sqlite3.Open(path)
	must(t, err)
	must(t, c.Exec(`PRAGMA page_size=512; PRAGMA auto_vacuum=FULL; CREATE TABLE t(a); CREATE TABLE u(a);
		INSERT INTO t VALUES(randomblob(60000)); INSERT INTO u VALUES(randomblob(30000));`))
	must(t, c.Close())
	old, err := os.ReadFile(path)
	must(t, err)
	e = begin(t, &image{data: old, size: 512})
	must(t, e.Exec("DELETE FROM t"))
	r, err := e.Pages()
	must(t, err)
	if r.NewPageCount >= r.OldPageCount {
		t.Fatalf("count %d -> %d", r.OldPageCount, r.NewPageCount)
	}
	next := patch(old, r, true)
	if back := patch(next, r, false); !bytes.Equal(back, old) {
		t.Error("before-images do not give the original")
	}
	// Growing again must not bring old pages back, and must compare with the source.
	must(t, e.Exec("INSERT INTO t VALUES(zeroblob(100000))"))
	r, err = e.Pages()
	must(t, err)
	next = patch(old, r, true)
	must(t, os.WriteFile(path, next, 0o600))
	if got := checkWithSQLite(t, path, "SELECT (SELECT length(a) FROM t), (SELECT length(a) FROM u)"); got != "100000,30000" {
		t.Errorf("got %s", got)
	}
	if back := patch(next, r, false); !bytes.Equal(back, old) {
		t.Error("before-images do not give the original after growing")
	}
}

func TestBeginRefuses(t *testing.T) {
	good := smallImage(t, 20).data
	change := func(f func(b []byte)) []byte { b := bytes.Clone(good); f(b); return b }
	for name, src := range map[string]*image{
		"page size 0":     {size: 0},
		"page size 1000":  {size: 1000},
		"garbage":         {size: 4096, data: bytes.Repeat([]byte("x"), 8192)},
		"zeros":           {size: 4096, data: make([]byte, 8192)},
		"other page size": {size: 512, data: good},
		"reserved bytes":  {size: 4096, data: change(func(b []byte) { b[20] = 8 })},
		"future format":   {size: 4096, data: change(func(b []byte) { b[19] = 9 })},
		"bad schema page": {size: 4096, data: change(func(b []byte) { b[100] = 77 })},
		"unreadable":      {size: 4096, data: good, fail: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "page size 0" {
				src.data = nil
			}
			e, err := Begin(context.Background(), &refusing{src})
			if err == nil {
				e.Close()
				t.Fatal("no error")
			}
			if e != nil {
				t.Error("an Edit was returned with the error")
			}
		})
	}
	overlays.mu.Lock()
	defer overlays.mu.Unlock()
	if len(overlays.open) != 0 {
		t.Errorf("%d overlays left", len(overlays.open))
	}
}

// refusing has a page count even for the page size 0.
type refusing struct{ *image }

func (r *refusing) PageCount() uint32 {
	if r.size == 0 {
		return 1
	}
	return r.image.PageCount()
}

func TestSourceErrorIsReported(t *testing.T) {
	src := smallImage(t, 300)
	e := begin(t, src)
	src.fail = src.PageCount() - 3
	err := e.Exec("UPDATE objects SET epoch=9")
	if !errors.Is(err, errUnreadable) {
		t.Fatalf("got %v", err)
	}
	if _, err := e.Pages(); err == nil {
		t.Error("a result after a read error")
	}
}

func TestContextEndsWork(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	e, err := Begin(ctx, smallImage(t, 10))
	must(t, err)
	defer e.Close()
	cancel()
	if err := e.Exec("DELETE FROM objects"); !errors.Is(err, sqlite3.INTERRUPT) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A change far beyond SQLite's page cache, with a sort, spills into the overlay
// and the journal files; neither may reach the file system.
func TestLargeChangeStaysInMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	err := Build(context.Background(), path, BuildOptions{PageSize: 4096, WAL: true}, func(db *DB) error {
		return db.Exec(schema + `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<30000)
			INSERT INTO objects SELECT CAST(randomblob(20) AS TEXT), i, randomblob(1000), 0 FROM c`)
	})
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	nowhere := filepath.Join(t.TempDir(), "missing")
	t.Setenv("TMPDIR", nowhere)
	t.Setenv("SQLITE_TMPDIR", nowhere)
	e := begin(t, &image{data: data, size: 4096})
	must(t, e.Exec("UPDATE objects SET epoch=epoch+1"))
	must(t, e.Exec("CREATE INDEX big ON objects(object)"))
	must(t, e.Exec("DELETE FROM objects WHERE size%3=0"))
	r, err := e.Pages()
	must(t, err)
	if n := len(r.Pages); n < 15000 {
		t.Errorf("only %d pages changed", n)
	}
	next := patch(data, r, true)
	if !bytes.Equal(patch(next, r, false), data) {
		t.Error("before-images do not give the original")
	}
	found, err := begin(t, &image{data: next, size: 4096}).IntegrityCheck()
	if err != nil || len(found) > 0 {
		t.Errorf("integrity check: %v %v", found, err)
	}
}

// Triggers and foreign keys of the image must not add changes of their own.
func TestSchemaCodeDoesNotRun(t *testing.T) {
	e := begin(t, &image{size: 4096})
	must(t, e.Exec(schema+`CREATE TABLE child(h REFERENCES objects(hash) ON DELETE CASCADE);
		CREATE TRIGGER tr AFTER DELETE ON objects BEGIN INSERT INTO checkpt_v2(value) VALUES('from the trigger'); END;
		INSERT INTO objects(hash) VALUES('a'); INSERT INTO child VALUES('a')`))
	must(t, e.Exec("DELETE FROM objects"))
	if got := fmt.Sprint(rows(t, e.DB, "SELECT (SELECT count(*) FROM child), (SELECT count(*) FROM checkpt_v2)")); got != "[[1 0]]" {
		t.Errorf("rows of child and checkpt_v2: %s", got)
	}
}

func TestClosed(t *testing.T) {
	e, err := Begin(context.Background(), smallImage(t, 10))
	must(t, err)
	must(t, e.Close())
	must(t, e.Close())
	if err := e.Exec("SELECT 1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Exec: %v", err)
	}
	if _, err := e.Pages(); !errors.Is(err, ErrClosed) {
		t.Errorf("Pages: %v", err)
	}
}

func TestQueryNested(t *testing.T) {
	e := begin(t, smallImage(t, 30))
	n := 0
	for row, err := range e.Query("SELECT hash FROM objects") {
		must(t, err)
		for _, err := range e.Query("SELECT hash FROM objects") {
			must(t, err)
			n++
			break // leaving early must free the statement
		}
		if len(row[0].(string)) != 20 {
			t.Fatalf("key of %d bytes", len(row[0].(string)))
		}
	}
	if n != 30 {
		t.Errorf("%d inner rows", n)
	}
	must(t, e.Exec("DELETE FROM objects"))
	if e.Changes() != 30 {
		t.Errorf("Changes = %d", e.Changes())
	}
}

func TestIntegrityCheckFindsDamage(t *testing.T) {
	src := smallImage(t, 300)
	e := begin(t, src)
	root := rows(t, e.DB, "SELECT rootpage FROM sqlite_schema WHERE name='sqlite_autoindex_objects_1'")[0][0].(int64)
	clear(src.data[int(root-1)*4096+8 : int(root)*4096])
	found, err := begin(t, src).IntegrityCheck()
	if err == nil && len(found) == 0 {
		t.Error("nothing found")
	}
}

func TestTwoEditsAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	srcs := []*image{smallImage(t, 100), smallImage(t, 200), smallImage(t, 300)}
	for _, src := range srcs {
		wg.Go(func() {
			e, err := Begin(context.Background(), src)
			if err != nil {
				t.Error(err)
				return
			}
			defer e.Close()
			want := int64(0)
			for row, err := range e.Query("SELECT count(*) FROM objects") {
				if err != nil {
					t.Error(err)
					return
				}
				want = row[0].(int64)
			}
			if err := e.Exec("DELETE FROM objects"); err != nil || e.Changes() != want {
				t.Errorf("%d of %d rows: %v", e.Changes(), want, err)
			}
			if r, err := e.Pages(); err != nil || len(r.Pages) == 0 {
				t.Errorf("%d pages: %v", len(r.Pages), err)
			}
		})
	}
	wg.Wait()
}
