package sqlitefile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// build makes a database with the real SQLite and leaves the connection open until the test ends.
func build(t testing.TB, sql ...string) (path string, db *sqlite3.Conn) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "test.sqlite")
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	run(t, db, sql...)
	return path, db
}

func run(t testing.TB, db *sqlite3.Conn, sql ...string) {
	t.Helper()
	for _, s := range sql {
		if err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// fill inserts n rows of all storage classes and of sizes from nothing to many overflow pages into table t.
func fill(t testing.TB, db *sqlite3.Conn, n int, longest int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	stmt, _, err := db.Prepare(`INSERT INTO t(a,b,c,d,e) VALUES (?,?,?,?,?)`)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	run(t, db, `BEGIN`)
	for i := range n {
		size := rnd.IntN(60)
		if i%17 == 0 {
			size = rnd.IntN(longest)
		}
		blob := make([]byte, size)
		for j := range blob {
			blob[j] = byte(rnd.Uint32())
		}
		stmt.BindInt64(1, int64(i)*3-int64(n))
		stmt.BindText(2, fmt.Sprintf("text %d é %s", i, strings.Repeat("x", rnd.IntN(100))))
		stmt.BindBlob(3, blob)
		stmt.BindFloat(4, rnd.NormFloat64())
		switch i % 4 {
		case 0:
			stmt.BindInt64(5, int64(rnd.Uint64()>>rnd.IntN(64))-5)
		case 1:
			stmt.BindNull(5)
		case 2:
			stmt.BindInt64(5, int64(rnd.IntN(2)))
		case 3:
			stmt.BindText(5, "")
		}
		if err := stmt.Exec(); err != nil {
			t.Fatal(err)
		}
		if err := stmt.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db, `COMMIT`)
}

// dump renders all rows of a query, one string each, sorted.
func dump(t testing.TB, db *sqlite3.Conn, query string) (rows []string) {
	t.Helper()
	stmt, _, err := db.Prepare(query)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	for stmt.Step() {
		var b strings.Builder
		for i := range stmt.ColumnCount() {
			switch stmt.ColumnType(i) {
			case sqlite3.NULL:
				b.WriteString("null|")
			case sqlite3.INTEGER:
				fmt.Fprintf(&b, "%d|", stmt.ColumnInt64(i))
			case sqlite3.FLOAT:
				fmt.Fprintf(&b, "%x|", stmt.ColumnFloat(i))
			case sqlite3.TEXT:
				fmt.Fprintf(&b, "t%q|", stmt.ColumnText(i))
			case sqlite3.BLOB:
				fmt.Fprintf(&b, "b%x|", stmt.ColumnBlob(i, nil))
			}
		}
		rows = append(rows, b.String())
	}
	if err := stmt.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	return rows
}

// render does the same with a Row; rowid stands in for the column number alias (-1: none).
func render(f *File, row *Row, alias int) string {
	var b strings.Builder
	for i, v := range row.Cols {
		switch {
		case i == alias:
			fmt.Fprintf(&b, "%d|", row.RowID)
		case v.Kind == Null:
			b.WriteString("null|")
		case v.Kind == Int:
			fmt.Fprintf(&b, "%d|", v.I)
		case v.Kind == Float:
			fmt.Fprintf(&b, "%x|", v.F)
		case v.Kind == Text:
			fmt.Fprintf(&b, "t%q|", f.text(v.B))
		case v.Kind == Blob:
			fmt.Fprintf(&b, "b%x|", v.B)
		}
	}
	return b.String()
}

// readAll renders all rows or entries of one object, sorted, and fails on any damage.
func readAll(t testing.TB, f *File, name string, alias int) (rows []string) {
	t.Helper()
	objects, problems := f.Schema()
	i := slices.IndexFunc(objects, func(o Object) bool { return o.Name == name })
	if i < 0 || len(problems) > 0 {
		t.Fatalf("no %s in %v (%v)", name, objects, problems)
	}
	kind := Table
	if objects[i].Type == "index" || strings.Contains(objects[i].SQL, "WITHOUT ROWID") {
		kind = Index
	}
	tree := f.Tree(objects[i].Root, kind)
	if len(tree.Problems) > 0 {
		t.Fatalf("%s: %v", name, tree.Problems)
	}
	r := f.NewReader(0)
	collect := func(row *Row, err error) bool {
		if err != nil || row.Truncated {
			t.Fatalf("%s: %v", name, err)
		}
		rows = append(rows, render(f, row, alias))
		return true
	}
	if kind == Table {
		tree.EachRow(r, 0, 0, collect)
	} else {
		tree.EachEntry(r, 0, 0, collect)
	}
	slices.Sort(rows)
	return rows
}

const testTables = `CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB, d REAL, e);
	CREATE INDEX tbc ON t(b, c);
	CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID`

const fillW = `INSERT INTO w SELECT b, e FROM t`

// compare checks every row that the package reads against what SQLite reads.
func compare(t *testing.T, f *File, db *sqlite3.Conn) {
	t.Helper()
	for _, c := range []struct {
		object, query string
		alias         int
	}{
		{"t", `SELECT a,b,c,d,e FROM t`, 0},
		{"tbc", `SELECT b,c,a FROM t`, -1},
		{"w", `SELECT k,v FROM w`, -1},
	} {
		want, got := dump(t, db, c.query), readAll(t, f, c.object, c.alias)
		if !slices.Equal(want, got) {
			t.Fatalf("%s: %d rows read, SQLite reads %d, or they differ", c.object, len(got), len(want))
		}
	}
	one := func(pragma string) string { return strings.TrimSuffix(dump(t, db, "PRAGMA "+pragma)[0], "|") }
	free, problems := f.Freelist()
	if len(problems) > 0 || fmt.Sprint(free.Count()) != one("freelist_count") {
		t.Errorf("freelist %d, SQLite says %s; %v", free.Count(), one("freelist_count"), problems)
	}
	if fmt.Sprint(f.PageCount()) != one("page_count") || fmt.Sprint(f.ClaimedPages()) != one("page_count") {
		t.Errorf("pages %d, claimed %d, SQLite says %s", f.PageCount(), f.ClaimedPages(), one("page_count"))
	}
	if fmt.Sprint(f.Header().SchemaCookie) != one("schema_version") {
		t.Errorf("schema cookie %d, SQLite says %s", f.Header().SchemaCookie, one("schema_version"))
	}
}

func TestSameRowsAsSQLite(t *testing.T) {
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		for _, extra := range []string{"encoding='UTF-8'", "encoding='UTF-16le'", "encoding='UTF-16be'", "auto_vacuum=INCREMENTAL"} {
			t.Run(fmt.Sprintf("%d %s", pageSize, extra), func(t *testing.T) {
				path, db := build(t, fmt.Sprintf("PRAGMA page_size=%d", pageSize), "PRAGMA "+extra, testTables)
				fill(t, db, 600, 5*pageSize)
				run(t, db, fillW, `DELETE FROM t WHERE a % 5 = 0`)
				f := mustOpen(t, path, Options{})
				if f.PageSize() != pageSize || len(f.Problems()) > 0 {
					t.Fatalf("page size %d, problems %v", f.PageSize(), f.Problems())
				}
				compare(t, f, db)
				checkAllPagesUsed(t, f)
			})
		}
	}
}

// checkAllPagesUsed checks that trees, overflow chains, freelist and special pages together are the whole file.
func checkAllPagesUsed(t *testing.T, f *File) {
	t.Helper()
	used, _ := f.Freelist()
	r := f.NewReader(0)
	r.TrackOverflow(used)
	objects, _ := f.Schema()
	objects = append(objects, Object{Type: "table", Root: 1})
	for _, o := range objects {
		kind, each := Table, (*Tree).EachRow
		if o.Type == "index" || strings.Contains(o.SQL, "WITHOUT") {
			kind, each = Index, (*Tree).EachEntry
		}
		tree := f.Tree(o.Root, kind)
		each(tree, r, 0, 0, func(*Row, error) bool { return true })
		used.Union(tree.Leaves)
		used.Union(tree.Interior)
	}
	for n := uint32(1); n <= f.PageCount(); n++ {
		if used.Has(n) == f.IsPointerMap(n) {
			t.Errorf("page %d: in a structure %t, pointer map %t", n, used.Has(n), f.IsPointerMap(n))
		}
	}
}

// Every page size is found again when the header is lost, and all rows with it.
func TestHeaderLost(t *testing.T) {
	for pageSize := 512; pageSize <= 65536; pageSize *= 2 {
		path, db := build(t, fmt.Sprintf("PRAGMA page_size=%d", pageSize), testTables)
		fill(t, db, 300, pageSize)
		run(t, db, fillW)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(raw[:100])
		f, err := newFile(bytes.NewReader(raw), int64(len(raw)), nil, 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if f.PageSize() != pageSize {
			t.Errorf("page size %d inferred instead of %d", f.PageSize(), pageSize)
			continue
		}
		if got := readAll(t, f, "t", 0); len(got) != 300 {
			t.Errorf("page size %d: %d rows", pageSize, len(got))
		}
		// A header that is whole but names the wrong page size is overruled by the pages.
		copy(raw, []byte(magic))
		copy(raw[16:], []byte{0x08, 0x00, 1, 1, 0, 64, 32, 32})
		if f, err = newFile(bytes.NewReader(raw), int64(len(raw)), nil, 0, Options{}); err != nil || f.PageSize() != pageSize {
			t.Errorf("page size %d instead of %d (%v)", f.PageSize(), pageSize, err)
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot copies a database and its -wal under a running connection that is not writing.
func snapshot(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.sqlite")
	copyFile(t, path, to)
	copyFile(t, path+"-wal", to+"-wal")
	return to
}

const walMode = `PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0`

func TestWAL(t *testing.T) {
	path, db := build(t, "PRAGMA page_size=1024", walMode, testTables)
	fill(t, db, 400, 3000)
	run(t, db, fillW)
	f := mustOpen(t, snapshot(t, path), Options{})
	if w := f.WAL(); w.End != WALEndClean || w.LastCommit != w.TotalFrames || len(f.Problems()) > 0 || !w.Applied {
		t.Fatalf("%+v %v", w, f.Problems())
	}
	compare(t, f, db)
	checkAllPagesUsed(t, f)

	// A second generation that overwrites only the start of the log.
	run(t, db, `PRAGMA wal_checkpoint(RESTART)`, `UPDATE t SET b='new' WHERE a < -300`, `DELETE FROM w WHERE k > 'text 5'`)
	second := snapshot(t, path)
	f = mustOpen(t, second, Options{})
	w := f.WAL()
	if w.End != WALEndOldGeneration || w.LastCommit == 0 || w.LastCommit >= w.TotalFrames || w.Commits != 2 || len(f.Problems()) > 0 {
		t.Fatalf("%+v %v", w, f.Problems())
	}
	compare(t, f, db)

	main := mustOpen(t, second, Options{IgnoreWAL: true})
	if main.WAL().Exists || slices.Equal(readAll(t, main, "t", 0), readAll(t, f, "t", 0)) {
		t.Error("IgnoreWAL shows the log's rows")
	}
	if main.Fingerprint() == f.Fingerprint() {
		t.Error("fingerprint does not know the log")
	}
	damageWAL(t, second, w)
}

// damageWAL damages the log of a database with two transactions in its second generation in several ways.
func damageWAL(t *testing.T, path string, w WAL) {
	raw, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	frame := func(n uint32) int { return int(w.frameOffset(n)) }
	for _, c := range []struct {
		name    string
		damage  func(b []byte) []byte
		kind    ProblemKind // "" = none
		end     WALEnd
		applied bool
	}{
		{"flip in frame 1", func(b []byte) []byte { b[frame(1)+99] ^= 1; return b }, ProblemWALCorrupt, WALEndBadChecksum, false},
		{"flip in last frame", func(b []byte) []byte { b[frame(w.LastCommit)+99] ^= 1; return b }, ProblemWALCorrupt, WALEndBadChecksum, true},
		{"salt of frame 1", func(b []byte) []byte { b[frame(1)+9] ^= 1; return b }, ProblemWALCorrupt, WALEndBadChecksum, false},
		{"cut in last frame", func(b []byte) []byte { return b[:frame(w.LastCommit)+500] }, ProblemWALTruncated, WALEndPartialFrame, true},
		{"cut in a frame header", func(b []byte) []byte { return b[:frame(w.LastCommit)+7] }, ProblemWALTruncated, WALEndPartialFrame, true},
		{"cut in old generation", func(b []byte) []byte { return b[:len(b)-500] }, "", WALEndOldGeneration, true},
		{"header", func(b []byte) []byte { b[25] ^= 1; return b }, ProblemWALHeader, WALEndClean, false},
		{"short header", func(b []byte) []byte { return b[:20] }, ProblemWALHeader, WALEndClean, false},
		{"empty", func(b []byte) []byte { return nil }, "", WALEndClean, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path+"-wal", c.damage(slices.Clone(raw)), 0o600); err != nil {
				t.Fatal(err)
			}
			f := mustOpen(t, path, Options{})
			kinds := []ProblemKind{""}
			for _, p := range f.Problems() {
				kinds = append(kinds, p.Kind)
			}
			if got := f.WAL(); got.End != c.end || got.Applied != c.applied || !slices.Contains(kinds, c.kind) || (c.kind == "") != (len(kinds) == 1) {
				t.Errorf("%+v %v", got, f.Problems())
			}
			// SQLite must agree about what is left.
			mine := readAll(t, f, "t", 0)
			other := filepath.Join(t.TempDir(), "sqlite.sqlite")
			copyFile(t, path, other)
			copyFile(t, path+"-wal", other+"-wal")
			db, err := sqlite3.Open(other)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if want := dump(t, db, `SELECT a,b,c,d,e FROM t`); !slices.Equal(mine, want) {
				t.Errorf("%d rows read, SQLite reads %d, or they differ", len(mine), len(want))
			}
		})
	}
}

// A log beside an empty main file is read, and what SQLite would do with it is said.
func TestWALWithoutMain(t *testing.T) {
	path, db := build(t, walMode, testTables)
	fill(t, db, 100, 3000)
	copied := snapshot(t, path)
	if err := os.Truncate(copied, 0); err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, copied, Options{})
	if !slices.ContainsFunc(f.Problems(), func(p Problem) bool { return p.Kind == ProblemWALOrphan }) {
		t.Errorf("problems %v", f.Problems())
	}
	if got := len(readAll(t, f, "t", 0)); got != 100 {
		t.Errorf("%d rows", got)
	}
}
