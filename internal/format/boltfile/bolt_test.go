package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// flatten writes everything below a bucket as lines: path, sequence, key, value.
func flatten(t testing.TB, b *Bucket) (lines []string, damage error) {
	t.Helper()
	lines = append(lines, fmt.Sprintf("%q seq %d", b.Path(), b.Sequence()))
	var subErr error
	err := b.Each(func(k, v []byte, sub *Bucket) error {
		if sub == nil {
			lines = append(lines, fmt.Sprintf("%q %q=%q", b.Path(), k, v))
			return nil
		}
		more, err := flatten(t, sub)
		lines = append(lines, more...)
		subErr = errors.Join(subErr, err)
		return nil
	})
	return lines, errors.Join(err, subErr)
}

// flattenBolt is flatten with bbolt.
func flattenBolt(t testing.TB, path string) (lines []string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var walk func(path [][]byte, b *bolt.Bucket)
	walk = func(path [][]byte, b *bolt.Bucket) {
		lines = append(lines, fmt.Sprintf("%q seq %d", path, b.Sequence()))
		if err := b.ForEach(func(k, v []byte) error {
			if sub := b.Bucket(k); sub != nil {
				walk(append(path[:len(path):len(path)], bytes.Clone(k)), sub)
			} else {
				lines = append(lines, fmt.Sprintf("%q %q=%q", path, k, v))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.View(func(tx *bolt.Tx) error {
		walk([][]byte{}, tx.Cursor().Bucket())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// makeDB makes a database with bbolt in a temporary directory and gives its path.
func makeDB(t testing.TB, opt *bolt.Options, txs ...func(tx *bolt.Tx) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := bolt.Open(path, 0o600, opt)
	if err != nil {
		t.Fatal(err)
	}
	db.NoSync = true
	for _, tx := range txs {
		if err := db.Update(tx); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// fill puts n keys with values of up to size bytes into the bucket name, and into nested buckets of it.
func fill(name string, n, size int) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		for i := range n {
			if err := b.Put(fmt.Appendf(nil, "key%06d", i), bytes.Repeat([]byte{byte('a' + i%26)}, (i*7919)%size)); err != nil {
				return err
			}
			if i%17 != 0 {
				continue
			}
			sub, err := b.CreateBucketIfNotExists(fmt.Appendf(nil, "sub%d", i))
			if err != nil {
				return err
			}
			for j := range i % 100 {
				if err := sub.Put(fmt.Appendf(nil, "%d", j), []byte("value")); err != nil {
					return err
				}
			}
			if err := sub.SetSequence(uint64(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func drop(name string, every int) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(name))
		for i := 0; i < 100000; i += every {
			if err := b.Delete(fmt.Appendf(nil, "key%06d", i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// sound makes one database of each sort.
var sound = []struct {
	name string
	opt  bolt.Options
	txs  []func(tx *bolt.Tx) error
}{
	{"fresh", bolt.Options{}, nil},
	{"small", bolt.Options{}, []func(*bolt.Tx) error{fill("a", 20, 30)}},
	{"many", bolt.Options{}, []func(*bolt.Tx) error{fill("a", 3000, 100), fill("b", 100, 10), drop("a", 3)}},
	{"overflow", bolt.Options{}, []func(*bolt.Tx) error{fill("a", 60, 30000), drop("a", 5), fill("b", 40, 700000)}},
	{"pages of 1K", bolt.Options{PageSize: 1024}, []func(*bolt.Tx) error{fill("a", 1000, 100), drop("a", 2)}},
	{"pages of 64K", bolt.Options{PageSize: 65536}, []func(*bolt.Tx) error{fill("a", 1000, 1000), drop("a", 2)}},
	{"no freelist", bolt.Options{NoFreelistSync: true}, []func(*bolt.Tx) error{fill("a", 1000, 100), drop("a", 2)}},
	{"map freelist", bolt.Options{FreelistType: bolt.FreelistMapType}, []func(*bolt.Tx) error{fill("a", 1000, 100), drop("a", 2), drop("a", 3)}},
}

func TestSameAsBolt(t *testing.T) {
	for _, c := range sound {
		t.Run(c.name, func(t *testing.T) {
			path := makeDB(t, &c.opt, c.txs...)
			want := flattenBolt(t, path)
			f := mustOpen(t, path)
			if len(f.Problems()) > 0 {
				t.Error(f.Problems())
			}
			got, err := flatten(t, f.Root())
			if err != nil {
				t.Error(err)
			}
			compareLines(t, got, want)
			compareGets(t, f.Root())
			mustCheckClean(t, f, want)
		})
	}
}

func compareLines(t testing.TB, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%d lines, want %d; line %d differs", len(got), len(want), i)
			return
		}
	}
}

// compareGets looks every element up by its key.
func compareGets(t testing.TB, b *Bucket) {
	t.Helper()
	if err := b.Each(func(k, v []byte, sub *Bucket) error {
		got, ok, err := b.Get(k)
		if err != nil || ok != (sub == nil) || !bytes.Equal(got, v) {
			t.Errorf("Get %q: %q %v %v, want %q", k, got, ok, err, v)
		}
		found, ok, err := b.Bucket(k)
		if err != nil || ok != (sub != nil) {
			t.Errorf("Bucket %q: %v %v", k, ok, err)
		}
		if sub != nil {
			if found.Inline() != sub.Inline() || found.Sequence() != sub.Sequence() || found.id != sub.id {
				t.Errorf("bucket %q: %+v, want %+v", k, found, sub)
			}
			compareGets(t, found)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, ok, err := b.Get([]byte("no such key")); ok || err != nil {
		t.Error(ok, err)
	}
}

// mustCheckClean runs Check on a file in which nothing at all may be wrong and compares its counts.
func mustCheckClean(t testing.TB, f *File, lines []string) {
	t.Helper()
	var last int64
	r, err := f.Check(t.Context(), func(n int64) error {
		if n < last || n > f.Size() {
			t.Errorf("progress %d after %d of %d", n, last, f.Size())
		}
		last = n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Sound() || len(r.Problems) > 0 {
		t.Errorf("%d problems: %v", len(r.Problems)+r.More, r.Problems)
	}
	m, _ := f.Current()
	if last != f.Size() || r.Leaked != 0 || r.Pages != m.HighWater || !m.NoFreelist() && r.Reachable+r.Free != r.Pages {
		t.Errorf("%+v, progress %d", r, last)
	}
	if int(r.Keys) != len(lines)-1 { // each element is a line, and the root too
		t.Errorf("%d keys, want %d", r.Keys, len(lines)-1)
	}
}
