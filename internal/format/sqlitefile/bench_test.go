package sqlitefile

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
	start := cpuSeconds(b)
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
	// On a machine that does other work too, CPU time says more than wall time.
	done := float64(tree.Leaves.Count()+chains.Count()) * float64(f.PageSize()) * float64(b.N)
	b.ReportMetric(done/1e6/(cpuSeconds(b)-start), "MB/cpu-s")
	b.ReportMetric(float64(rows), "rows")
}

// cpuSeconds is the CPU time this process has used, user and system.
func cpuSeconds(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
