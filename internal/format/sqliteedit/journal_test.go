package sqliteedit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"pgregory.net/rapid"
)

// beforeImages yields what a rollback journal of r must hold.
func beforeImages(r Result) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for _, p := range r.Pages {
			if p.Before != nil && !yield(p.Number, p.Before) {
				return
			}
		}
	}
}

func journalOf(t testing.TB, r Result) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, HotJournal(&b, r.PageSize, r.OldPageCount, beforeImages(r)))
	return b.Bytes()
}

// applyPart does what an apply does that is cut off after n pages: it writes the
// first n after-images to the file, and a torn half of the next.
func applyPart(t testing.TB, path string, r Result, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for i, p := range r.Pages[:min(n+1, len(r.Pages))] {
		b := p.After
		if i == n {
			b = b[:len(b)/2]
		}
		if b == nil {
			continue
		}
		if _, err := f.WriteAt(b, int64(p.Number-1)*int64(r.PageSize)); err != nil {
			t.Fatal(err)
		}
	}
	if n >= len(r.Pages) {
		must(t, f.Truncate(int64(r.NewPageCount)*int64(r.PageSize)))
	}
}

// editFor makes a change that touches page 1, index and table pages and grows
// (or, for a database with auto_vacuum, shrinks) the file.
func editFor(t testing.TB, data []byte, pageSize int, sql ...string) Result {
	t.Helper()
	e := begin(t, &image{data: data, size: pageSize})
	for _, s := range sql {
		must(t, e.Exec(s))
	}
	r, err := e.Pages()
	must(t, err)
	return r
}

var growSQL = []string{
	"DELETE FROM objects WHERE rowid%7=0",
	"INSERT INTO objects(hash,object) VALUES('k',zeroblob(200000))",
	"CREATE TABLE extra(a)",
	"INSERT INTO checkpt_v2(value) VALUES('new')",
}

func TestHotJournalIsRolledBack(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, wal := range []bool{false, true} {
			dir := t.TempDir()
			path := filepath.Join(dir, "store")
			makeStore(t, path, pageSize, 400, wal)
			old, err := os.ReadFile(path)
			must(t, err)
			const count = "SELECT (SELECT count(*) FROM objects), (SELECT count(*) FROM checkpt_v2), (SELECT count(*) FROM sqlite_schema)"
			want := checkWithSQLite(t, path, count)
			r := editFor(t, old, pageSize, growSQL...)
			if r.Pages[0].Number != 1 || r.NewPageCount <= r.OldPageCount {
				t.Fatalf("the change is too small: %d pages, count %d -> %d", len(r.Pages), r.OldPageCount, r.NewPageCount)
			}
			journal := journalOf(t, r)
			for _, n := range []int{0, 1, len(r.Pages) / 2, len(r.Pages)} {
				t.Run(fmt.Sprintf("page%d/wal=%v/cut%d", pageSize, wal, n), func(t *testing.T) {
					must(t, os.WriteFile(path, old, 0o600))
					applyPart(t, path, r, n)
					if now, _ := os.ReadFile(path); bytes.Equal(now, old) {
						t.Fatal("the cut-off apply changed nothing")
					}
					must(t, os.WriteFile(path+"-journal", journal, 0o600))
					if got := checkWithSQLite(t, path, count); got != want {
						t.Errorf("content %s, want %s", got, want)
					}
					if now, _ := os.ReadFile(path); !bytes.Equal(now, old) {
						t.Errorf("file differs from the original: %d bytes, want %d", len(now), len(old))
					}
					if names := listDir(t, dir); len(names) != 1 {
						t.Errorf("files left: %v", names)
					}
				})
			}
		}
	}
}

func TestHotJournalRestoresAShrunkFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	c, err := sqlite3.Open(path)
	must(t, err)
	must(t, c.Exec(`PRAGMA auto_vacuum=FULL; CREATE TABLE t(a); CREATE TABLE u(a);
		INSERT INTO t VALUES(randomblob(300000)); INSERT INTO u VALUES(randomblob(100000));`))
	must(t, c.Close())
	old, err := os.ReadFile(path)
	must(t, err)
	r := editFor(t, old, 4096, "DELETE FROM t")
	if r.NewPageCount >= r.OldPageCount {
		t.Fatalf("count %d -> %d", r.OldPageCount, r.NewPageCount)
	}
	applyPart(t, path, r, len(r.Pages))
	must(t, os.WriteFile(path+"-journal", journalOf(t, r), 0o600))
	if got := checkWithSQLite(t, path, "SELECT length(a) FROM t"); got != "300000" {
		t.Errorf("got %s", got)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, old) {
		t.Error("file differs from the original")
	}
}

// A store after a crash: WAL mode, with committed frames in the -wal. The journal
// restores the main file, and SQLite then reads the WAL on top of it.
func TestHotJournalBesideWAL(t *testing.T) {
	live := filepath.Join(t.TempDir(), "live")
	makeStore(t, live, 4096, 400, true)
	c, err := sqlite3.Open(live)
	must(t, err)
	defer c.Close()
	must(t, c.Exec("PRAGMA wal_autocheckpoint=0; INSERT INTO checkpt_v2(value) VALUES('in the wal')"))
	main, err := os.ReadFile(live)
	must(t, err)
	wal, err := os.ReadFile(live + "-wal")
	must(t, err)
	if len(wal) == 0 {
		t.Fatal("the WAL is empty")
	}
	path := filepath.Join(t.TempDir(), "store")
	must(t, os.WriteFile(path, main, 0o600))
	must(t, os.WriteFile(path+"-wal", wal, 0o600))
	r := editFor(t, main, 4096, growSQL...)
	applyPart(t, path, r, len(r.Pages)/2)
	must(t, os.WriteFile(path+"-journal", journalOf(t, r), 0o600))

	c2, err := sqlite3.Open(path)
	must(t, err)
	defer c2.Close()
	st, _, err := c2.Prepare("SELECT value FROM checkpt_v2 ORDER BY id DESC LIMIT 1")
	must(t, err)
	defer st.Close()
	if !st.Step() || st.ColumnText(0) != "in the wal" {
		t.Errorf("newest row %q (%v)", st.ColumnText(0), st.Err())
	}
	// Before the connection is closed, which checkpoints the WAL.
	if now, _ := os.ReadFile(path); !bytes.Equal(now, main) {
		t.Error("main file differs from the original")
	}
}

// A journal that was itself cut off, before any page of the database was written,
// must do no harm.
func TestTornHotJournalDoesNoHarm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	makeStore(t, path, 4096, 400, true)
	old, err := os.ReadFile(path)
	must(t, err)
	journal := journalOf(t, editFor(t, old, 4096, growSQL...))
	for _, n := range []int{0, 1, 27, 28, 511, 512, 515, 600, 512 + 4104, 512 + 4104 + 2000, len(journal) - 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			must(t, os.WriteFile(path+"-journal", journal[:n], 0o600))
			checkWithSQLite(t, path, "SELECT 1")
			if now, _ := os.ReadFile(path); !bytes.Equal(now, old) {
				t.Error("file changed")
			}
		})
	}
}

func TestHotJournalRefuses(t *testing.T) {
	page := make([]byte, 4096)
	one := func(n uint32, b []byte) iter.Seq2[uint32, []byte] {
		return func(yield func(uint32, []byte) bool) { yield(n, b) }
	}
	for name, c := range map[string]struct {
		pageSize int
		count    uint32
		pages    iter.Seq2[uint32, []byte]
		want     string
	}{
		"page size":    {1000, 5, one(1, page), "power of two"},
		"page zero":    {4096, 5, one(0, page), "did not exist"},
		"beyond end":   {4096, 5, one(6, page), "did not exist"},
		"short page":   {4096, 5, one(5, page[:10]), "has 10 bytes"},
		"lock page":    {4096, 300000, one(262145, page), "lock page"},
		"lock page 64": {65536, 300000, one(16385, make([]byte, 65536)), "lock page"},
	} {
		err := HotJournal(&bytes.Buffer{}, c.pageSize, c.count, c.pages)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// brokenWriter accepts n bytes.
type brokenWriter struct{ n int }

var errFull = errors.New("disk full")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if len(b) > w.n {
		return w.n, errFull
	}
	w.n -= len(b)
	return len(b), nil
}

func TestHotJournalReportsWriteErrors(t *testing.T) {
	pages := func(yield func(uint32, []byte) bool) { yield(1, make([]byte, 512)) }
	for n := range 512 + 520 + journalTail {
		if err := HotJournal(&brokenWriter{n}, 512, 1, pages); !errors.Is(err, errFull) {
			t.Fatalf("%d bytes of room: %v", n, err)
		}
	}
}

// The layout, against the description in the file format document.
func TestHotJournalLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := 512 << rapid.IntRange(0, 3).Draw(t, "size")
		pages := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), size, size), 0, 4).Draw(t, "pages")
		var b bytes.Buffer
		err := HotJournal(&b, size, 9, func(yield func(uint32, []byte) bool) {
			for i, p := range pages {
				if !yield(uint32(i+2), p) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		j := b.Bytes()
		if want := 512 + len(pages)*(size+8) + journalTail; len(j) != want {
			t.Fatalf("%d bytes, want %d", len(j), want)
		}
		nonce := binary.BigEndian.Uint32(j[12:])
		for i, p := range pages {
			rec := j[512+i*(size+8):]
			sum := nonce
			for off := size % 200; off < size; off += 200 {
				sum += uint32(p[off]) // no page size is a multiple of 200, so off > 0
			}
			got := binary.BigEndian.Uint32(rec[4+size:])
			if binary.BigEndian.Uint32(rec) != uint32(i+2) || !bytes.Equal(rec[4:4+size], p) || got != sum {
				t.Fatalf("record %d: checksum %08x, want %08x", i, got, sum)
			}
		}
	})
}
