package sqlitefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

func TestInUse(t *testing.T) {
	path, db := build(t, `CREATE TABLE t(a)`)
	for _, c := range []struct {
		sql  string
		kind LockKind
	}{
		{`BEGIN; SELECT * FROM t`, SharedLock},
		{`COMMIT; BEGIN IMMEDIATE`, ReservedLock},
		{`COMMIT; BEGIN EXCLUSIVE`, ExclusiveLock},
		{`COMMIT`, NoLock},
	} {
		run(t, db, c.sql)
		l, err := InUse(path)
		if err != nil || l.Kind != c.kind {
			t.Errorf("after %q: %v (%v), want %s", c.sql, l, err, c.kind)
		}
		unlock, err := LockExclusive(path)
		if (err == nil) != (c.kind == NoLock) || (err != nil && !errors.Is(err, ErrLocked)) {
			t.Errorf("after %q: LockExclusive: %v", c.sql, err)
		}
		if err == nil {
			if err := unlock(); err != nil {
				t.Error(err)
			}
		}
	}
}

// SQLite cannot write while LockExclusive holds, and can afterwards.
func TestLockExclusiveStopsSQLite(t *testing.T) {
	path, db := build(t, `CREATE TABLE t(a)`, `PRAGMA busy_timeout=0`)
	unlock, err := LockExclusive(path)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := InUse(path); err != nil || l.Kind != ExclusiveLock {
		t.Errorf("%v %v", l, err)
	}
	if err := db.Exec(`INSERT INTO t VALUES (1)`); !errors.Is(err, sqlite3.BUSY) {
		t.Errorf("insert under the lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	run(t, db, `INSERT INTO t VALUES (1)`)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null"} {
		if f, err := Open(path, Options{}); err == nil {
			t.Errorf("%s was opened: %v", path, f)
		}
	}
	if _, err := Open(filepath.Join(dir, "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// Reading leaves no trace: no new file, nothing changed.
func TestOpenTouchesNothing(t *testing.T) {
	path, db := build(t, walMode, testTables)
	fill(t, db, 50, 3000)
	path = snapshot(t, path)
	dir := filepath.Dir(path)
	before := listing(t, dir)
	f := mustOpen(t, path, Options{})
	readAll(t, f, "t", 0)
	now, err := FingerprintOf(path, Options{})
	if err != nil || now != f.Fingerprint() {
		t.Errorf("fingerprint %v, then %v (%v)", f.Fingerprint(), now, err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("before %q, after %q", before, after)
	}
	if err := os.WriteFile(path+"-wal", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if now, err = FingerprintOf(path, Options{}); err != nil || now == f.Fingerprint() || now.String() == f.Fingerprint().String() {
		t.Errorf("fingerprint did not change with the log: %v (%v)", now, err)
	}
}

func listing(t *testing.T, dir string) (s string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		s += fmt.Sprintln(e.Name(), info.Mode(), info.Size(), st.Mtim, st.Ctim, st.Atim)
	}
	return s
}

func TestHotJournal(t *testing.T) {
	path, db := build(t, `CREATE TABLE t(a)`, `PRAGMA cache_size=1`, `PRAGMA cache_spill=1`)
	run(t, db, `INSERT INTO t VALUES (1)`, `BEGIN`, `UPDATE t SET a = 2`)
	to := filepath.Join(t.TempDir(), "copy.sqlite")
	copyFile(t, path, to)
	copyFile(t, path+"-journal", to+"-journal")
	for _, zeroed := range []bool{false, true} {
		raw, err := os.ReadFile(to + "-journal")
		if err != nil {
			t.Fatal(err)
		}
		if zeroed { // journal_mode=PERSIST ends a transaction by zeroing the header
			clear(raw[:28])
		} else {
			// SQLite writes the header's magic when it syncs; this transaction has not come that far.
			copy(raw, []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7})
		}
		if err := os.WriteFile(to+"-journal", raw, 0o600); err != nil {
			t.Fatal(err)
		}
		f := mustOpen(t, to, Options{})
		if j := f.Journal(); !j.Exists || j.Hot == zeroed || j.Size != int64(len(raw)) || (len(f.Problems()) == 0) != zeroed {
			t.Errorf("zeroed %t: %+v %v", zeroed, j, f.Problems())
		}
	}
}
