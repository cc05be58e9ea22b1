package wholefile

import (
	"errors"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltedit"
	"fettle/internal/store"
)

// A Writer that locks the kept file before it is put in place lets nobody in between, on the way there and back.
func TestLockedThroughout(t *testing.T) {
	b := newBench(t, true)
	must(t, os.Remove(b.file))
	bucket := func(name string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte(name))
			return err
		}
	}
	must(t, boltedit.Build(t.Context(), b.file, boltedit.BuildOptions{}, bucket("old")))
	tmp := b.file + ".build"
	must(t, boltedit.Build(t.Context(), tmp, boltedit.BuildOptions{}, bucket("new")))
	before, err := Read(b.file)
	must(t, err)
	r, err := b.shelf.AdoptBuilt(tmp, b.file)
	must(t, err)
	c := store.Change{Before: before, After: r.Bytes()}

	first, err := boltedit.Lock(b.file)
	must(t, err)
	second, err := boltedit.Lock(b.shelf.Path(r, b.file))
	must(t, err)
	for _, c := range []store.Change{c, c.Inverse()} {
		must(t, b.shelf.Place(b.file, c))
		if _, err := boltedit.Lock(b.file); !errors.Is(err, boltedit.ErrLocked) {
			t.Errorf("%s in place: %v", c.After, err)
		}
	}
	must(t, errors.Join(first(), second()))
	unlock, err := boltedit.Lock(b.file)
	must(t, err)
	must(t, unlock())
	b.is(read(t, b.file), 0)
}

func read(t *testing.T, path string) string {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	return string(got)
}
