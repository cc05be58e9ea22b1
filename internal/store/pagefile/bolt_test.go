package pagefile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltedit"
	"fettle/internal/store"
)

// boltChanges is what a system's Lower makes of a transaction.
func boltChanges(t *testing.T, path string, fn func(*bbolt.Tx) error) []store.Change {
	t.Helper()
	r, err := boltedit.Edit(t.Context(), path, t.TempDir(), fn)
	must(t, err)
	var out []store.Change
	for _, p := range r.Pages {
		out = append(out, Page{p.Number, r.PageSize}.Change("db", p.Before, p.After))
	}
	return out
}

func fill(n, size int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		for i := 0; i < n && err == nil; i++ {
			err = b.Put(fmt.Append(nil, "key", i), make([]byte, size))
		}
		return err
	}
}

// A transaction of bbolt goes into its file and out again, page by page, and every meta page reaches the disk alone.
func TestBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	must(t, boltedit.Build(t.Context(), path, boltedit.BuildOptions{}, fill(50, 100)))
	original, err := os.ReadFile(path)
	must(t, err)
	var events []string
	f := &File{Path: path, Barrier: boltedit.IsMeta, toDisk: func(*os.File) error { events = append(events, "sync"); return nil }}
	write := func(c store.Change) {
		t.Helper()
		kind := "data"
		if p, _, err := f.parse(c.Addr); err != nil {
			t.Fatal(err)
		} else if boltedit.IsMeta(p.Number) {
			kind = "meta"
		}
		before, err := f.Read(c.Addr)
		must(t, err)
		if !bytes.Equal(before, c.Before) {
			t.Errorf("%s is not as the change says", c.Addr)
		}
		n := len(events)
		must(t, f.Write(c))
		if got := len(events) - n; (kind == "meta") != (got == 2) || (kind == "data") != (got == 0) {
			t.Errorf("%s page: %d syncs", kind, got)
		}
		events = append(events, kind)
	}
	var all []store.Change
	for round := range 3 {
		changes := boltChanges(t, path, fill(20+20*round, 500))
		for _, c := range changes {
			write(c)
		}
		all = append(all, changes...)
	}
	must(t, f.Sync())
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	must(t, err)
	must(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		if v := tx.Bucket([]byte("b")).Get([]byte("key59")); len(v) != 500 {
			t.Errorf("a value of %d bytes", len(v))
		}
		return nil
	}))
	must(t, db.Close())
	for _, c := range slices.Backward(all) {
		write(c.Inverse())
	}
	must(t, f.Sync())
	if now, _ := os.ReadFile(path); !bytes.Equal(now, original) {
		t.Errorf("taken back: %d bytes, before %d", len(now), len(original))
	}
	if !strings.HasSuffix(strings.Join(events, " "), "sync") {
		t.Error("the last sync is missing")
	}
}
