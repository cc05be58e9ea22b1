package sqlitefile

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRows decodes every row of every leaf with one goroutine. FETTLE_BENCH_DB names another database; its biggest
// table is read.
func BenchmarkRows(b *testing.B) {
	path := os.Getenv("FETTLE_BENCH_DB")
	if path == "" {
		var err error
		made, db := build(b, `PRAGMA journal_mode=OFF`, `CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB, d, e)`,
			`WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 200000)
			INSERT INTO t SELECT i, printf('%020d', i), randomblob(abs(random() % 700)), -1, 7 FROM n`)
		if err = db.Close(); err != nil {
			b.Fatal(err)
		}
		if path, err = filepath.Abs(made); err != nil {
			b.Fatal(err)
		}
	}
	f := mustOpen(b, path, Options{})
	objects, _ := f.Schema()
	var tree *Tree
	for _, o := range objects {
		if o.Type == "table" {
			if t := f.Tree(o.Root, Table); tree == nil || t.Leaves.Count() > tree.Leaves.Count() {
				tree = t
			}
		}
	}
	chains, warm := &PageSet{}, f.NewReader(0)
	warm.TrackOverflow(chains)
	tree.EachRow(warm, 0, 0, func(*Row, error) bool { return true })
	b.SetBytes(int64(tree.Leaves.Count()+chains.Count()) * int64(f.PageSize())) // pages decoded, not the whole file
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		r := f.NewReader(0)
		rows = 0
		tree.EachRow(r, 0, 0, func(row *Row, err error) bool {
			if err != nil {
				b.Fatal(err)
			}
			rows++
			return true
		})
	}
	b.ReportMetric(float64(rows), "rows")
}
