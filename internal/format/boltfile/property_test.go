package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// randomTx does random things to random buckets.
func randomTx(rt *rapid.T, tx *bolt.Tx) error {
	key := rapid.Map(rapid.IntRange(0, 40), func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%02d", i), 1+i%5*i) })
	top, err := tx.CreateBucketIfNotExists([]byte{byte(rapid.IntRange('a', 'c').Draw(rt, "top"))})
	if err != nil {
		return err
	}
	b := top
	for range rapid.IntRange(1, 60).Draw(rt, "operations") {
		k := key.Draw(rt, "key")
		switch rapid.IntRange(0, 9).Draw(rt, "operation") {
		case 0:
			if sub, err := b.CreateBucketIfNotExists(k); err == nil {
				b = sub
			}
		case 1:
			b = top
		case 2:
			if b.Bucket(k) == nil {
				err = b.Delete(k)
			} else if b == top {
				err = b.DeleteBucket(k)
			}
		case 3:
			_, err = b.NextSequence()
		case 4:
			if b.Bucket(k) == nil {
				err = b.Put(k, make([]byte, rapid.IntRange(1000, 9000).Draw(rt, "large")))
			}
		default:
			if b.Bucket(k) == nil {
				err = b.Put(k, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(rt, "value"))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Whatever bbolt writes is read as bbolt reads it, and nothing is wrong with it.
func TestPropertySameAsBolt(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(dir, "random.db")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			rt.Fatal(err)
		}
		opt := bolt.Options{
			PageSize:       rapid.SampledFrom([]int{1024, 4096}).Draw(rt, "page size"),
			NoFreelistSync: rapid.Bool().Draw(rt, "no freelist"),
			FreelistType:   rapid.SampledFrom([]bolt.FreelistType{bolt.FreelistArrayType, bolt.FreelistMapType}).Draw(rt, "freelist"),
			NoSync:         true,
		}
		db, err := bolt.Open(path, 0o600, &opt)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 6).Draw(rt, "transactions") {
			if err := db.Update(func(tx *bolt.Tx) error { return randomTx(rt, tx) }); err != nil {
				rt.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			rt.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		want := flattenBolt(t, path)
		got, err := flatten(t, f.Root())
		if err != nil {
			rt.Error(err)
		}
		compareLines(t, got, want)
		compareGets(t, f.Root())
		mustCheckClean(t, f, want)
		if t.Failed() {
			rt.Fatal("differs from bbolt")
		}
	})
}
