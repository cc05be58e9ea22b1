package boltedit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func TestLock(t *testing.T) {
	path := sample(t, bbolt.Options{})
	if who, err := InUse(path); who != "" || err != nil {
		t.Errorf("nobody holds it, but %q, %v", who, err)
	}
	me := fmt.Sprintf("process %d (", os.Getpid())
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	if who, err := InUse(path); !strings.HasPrefix(who, me) || err != nil {
		t.Errorf("bbolt holds it: %q, %v", who, err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), me) {
		t.Errorf("bbolt holds it: %v", err)
	}
	must(t, db.Close())

	was := read(t, path)
	unlock, err := Lock(path)
	must(t, err)
	if _, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Millisecond}); !errors.Is(err, bbolt.ErrTimeout) {
		t.Errorf("bbolt opens a locked database: %v", err)
	}
	must(t, unlock())
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	must(t, err)
	if _, err := Lock(path); !errors.Is(err, ErrLocked) { // a reader's lock counts as well
		t.Errorf("a reader holds it: %v", err)
	}
	must(t, db.Close())
	if string(read(t, path)) != string(was) {
		t.Error("locking wrote to the file")
	}
	if _, err := Lock(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Lock(t.TempDir()); err == nil {
		t.Error("a directory was locked")
	}
}

func TestFlockHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, nil, 0o600))
	fi, err := os.Stat(path)
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	place := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino)
	for line, want := range map[string]int{
		"1: FLOCK  ADVISORY  WRITE 812 " + place + " 0 EOF":                                   1,
		"1: FLOCK  ADVISORY  READ 812 " + place + " 0 EOF\n2: FLOCK ADVISORY READ 9 " + place: 2,
		"1: -> FLOCK  ADVISORY  WRITE 812 " + place + " 0 EOF":                                0,
		"1: POSIX  ADVISORY  WRITE 812 " + place + " 0 EOF":                                   0,
		"1: FLOCK  ADVISORY  WRITE 812 " + place + "1 0 EOF":                                  0,
		"1: FLOCK  ADVISORY  WRITE 812 zz:zz:zz 0 EOF":                                        0,
		"1: FLOCK  ADVISORY  WRITE":                                                           0,
		"":                                                                                    0,
		strings.Repeat("1: FLOCK  ADVISORY  READ 812 "+place+" 0 EOF\n", 1000):                maxHolders,
		fmt.Sprintf("1: FLOCK ADVISORY WRITE %d ff:ff:%d 0 EOF", os.Getpid(), st.Ino):         0, // not open here
	} {
		got, err := flockHolders(strings.NewReader(line), fi)
		if err != nil || len(got) != want {
			t.Errorf("%.80q: %v, %v, want %d", line, got, err, want)
		}
	}
	// A device number that stat does not give, but the process has the file open.
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	line := fmt.Sprintf("1: FLOCK ADVISORY WRITE %d ff:ff:%d 0 EOF", os.Getpid(), st.Ino)
	if got, err := flockHolders(strings.NewReader(line), fi); len(got) != 1 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCopyLive(t *testing.T) {
	path := sample(t, bbolt.Options{})
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	defer db.Close()
	var txid int
	must(t, db.View(func(tx *bbolt.Tx) error { txid = tx.ID(); return nil }))
	to := filepath.Join(t.TempDir(), "copy.db")
	c, err := CopyLive(t.Context(), path, to, 3)
	must(t, err)
	if b := read(t, to); c.Txid != uint64(txid) || c.Bytes != int64(len(b)) || string(b) != string(read(t, path)) {
		t.Errorf("%+v of %d bytes, transaction %d", c, len(b), txid)
	}
	if _, err := CopyLive(t.Context(), path, to, 3); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing file was written: %v", err)
	}
}

// Copies of a database that is written to all the time: those that succeed are whole.
func TestCopyLiveBusy(t *testing.T) {
	path := sample(t, bbolt.Options{})
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	must(t, err)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("busy"))
				if err != nil {
					return err
				}
				return errors.Join(b.Put(fmt.Append(nil, i%500), make([]byte, 100)), b.Put([]byte("last"), fmt.Append(nil, i)))
			})
			if err != nil {
				done <- err
				return
			}
			if i%50 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}()
	whole, unsettled := 0, 0
	for i := range 40 {
		to := filepath.Join(t.TempDir(), fmt.Sprint(i))
		c, err := CopyLive(t.Context(), path, to, 2)
		switch {
		case errors.Is(err, ErrUnsettled):
			unsettled++
			if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a copy that failed is left: %v", err)
			}
		case err != nil:
			t.Error(err)
		default:
			whole++
			content(t, read(t, to), false)
			if c.Txid == 0 {
				t.Error("no transaction number")
			}
		}
	}
	close(stop)
	must(t, <-done)
	must(t, db.Close())
	t.Logf("%d whole, %d unsettled", whole, unsettled)
}

func TestCopyLiveFails(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.db")
	must(t, os.WriteFile(bad, []byte(strings.Repeat("garbage ", 2000)), 0o600))
	for _, path := range []string{bad, dir, filepath.Join(dir, "none")} {
		if _, err := CopyLive(t.Context(), path, filepath.Join(dir, "to"), 3); err == nil || errors.Is(err, ErrUnsettled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "to")); err == nil {
		t.Error("a failed copy is left")
	}
}
