package devmapper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"fettle/internal/fieldmatrix"
	"fettle/internal/systems/devmapper/dmlab"
)

// TestHostileRecords puts into the databases what no containerd writes: each set is checked, planned by default actions, repaired and
// undone without a panic, a hang or much memory.
func TestHostileRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	if _, err := dmlab.Make(t.Context(), dir, dmlab.Options{Seed: 2, Images: 2, Layers: 3, Containers: 3, BaseBlocks: 40}); err != nil {
		t.Fatal(err)
	}
	const pool = "containerd-pool.db"
	m := newMatrix(t, dir)
	m.every = 1
	put := func(path ...string) func(tx *bbolt.Tx, key, value string) {
		return func(tx *bbolt.Tx, key, value string) {
			if err := (place{path, key}).bucket(tx).Put([]byte(key), []byte(value)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, h := range []struct {
		name, file string
		hurt       func(tx *bbolt.Tx)
	}{
		{"names that move the cursor", pool, func(tx *bbolt.Tx) {
			put("devices")(tx, "containerd-pool-snap-\x1b[2J\n\x00", `{"device_id":3,"name":"\u001b]0;x\u0007"}`)
			put("devices")(tx, "containerd-pool-snap-77\n%2F/../..", `{"device_id":70}`)
		}},
		{"keys that look escaped", pool, func(tx *bbolt.Tx) {
			for _, k := range []string{"%", "%2F", "/", "//", "#sequence", "a/#sequence", "%00", "\x00", ".", ".."} {
				put("device_ids")(tx, k, "\x01")
				put("devices")(tx, k, `{"device_id":9999,"size":512,"state":1}`)
			}
		}},
		{"deep JSON", pool, func(tx *bbolt.Tx) {
			put("devices")(tx, "containerd-pool-snap-90", strings.Repeat(`{"device_id":`, 200_000))
			put("devices")(tx, "containerd-pool-snap-91", `{"error":`+strings.Repeat("[", 200_000)+strings.Repeat("]", 200_000)+`}`)
		}},
		{"numbers too large", pool, func(tx *bbolt.Tx) {
			for i, n := range []string{"1e400", "99999999999999999999", "-1", "1.5", "4294967296"} {
				put("devices")(tx, fmt.Sprint("containerd-pool-snap-", 200+i), `{"device_id":`+n+`,"size":`+n+`,"state":`+n+`}`)
			}
			put("devices")(tx, "containerd-pool-snap-18446744073709551615", `{"device_id":16777215,"size":18446744073709551104,"state":4}`)
			put("device_ids")(tx, "4294967295", "\x00")
		}},
		{"long varints", storeName, func(tx *bbolt.Tx) {
			long := strings.Repeat("\xff", 300)
			put("v1", "parents")(tx, long, "x")
			put("v1", "parents")(tx, long+"\x00"+long, "x")
			put("v1", "parents")(tx, "\x80\x00\x00\x01", "x")
			eachBucket(tx, []string{"v1", "snapshots"}, func(b *bbolt.Bucket) error { return b.Put([]byte("id"), []byte(long)) })
		}},
		{"parents in a circle", storeName, func(tx *bbolt.Tx) {
			var keys []string
			b := place{path: []string{"v1", "snapshots"}}.bucket(tx)
			b.ForEachBucket(func(k []byte) error { keys = append(keys, string(k)); return nil })
			for i, k := range keys {
				if err := b.Bucket([]byte(k)).Put([]byte("parent"), []byte(keys[(i+1)%len(keys)])); err != nil {
					t.Error(err)
				}
			}
		}},
		{"own parent", metaName, func(tx *bbolt.Tx) {
			b := place{path: []string{"v1", "k8s.io", "snapshots", "devmapper"}}.bucket(tx)
			b.ForEachBucket(func(k []byte) error { return b.Bucket(k).Put([]byte("parent"), bytes.Clone(k)) })
		}},
		{"links without end", storeName, func(tx *bbolt.Tx) {
			for i := range uint64(10_000) {
				put("v1", "parents")(tx, string(binary.AppendUvarint([]byte{1, 0}, i+1000)), "nobody")
			}
		}},
		{"children without end", metaName, func(tx *bbolt.Tx) {
			first := true
			eachBucket(tx, []string{"v1", "k8s.io", "snapshots", "devmapper"}, func(b *bbolt.Bucket) error {
				if !first {
					return nil
				}
				first = false
				c, err := b.CreateBucketIfNotExists([]byte("children"))
				for i := 0; i < 30_000 && err == nil; i++ {
					err = c.Put(fmt.Appendf(nil, "child-%d", i), nil)
				}
				return err
			})
		}},
	} {
		t.Run(h.name, func(t *testing.T) {
			m.lay(t)
			if err := boltCase(func(tx *bbolt.Tx) error { h.hurt(tx); return nil })(filepath.Join(m.dir, h.file)); err != nil {
				t.Fatal(err)
			}
			c := &cell{kind: "hostile", field: h.name}
			o := fieldmatrix.Guard(h.name, func() fieldmatrix.Outcome { return m.try(t, c) })
			if o.Err != nil || len(o.Found) == 0 {
				t.Errorf("%d findings, %v", len(o.Found), o.Err)
			}
		})
	}
}

// eachBucket visits the buckets of a bucket.
func eachBucket(tx *bbolt.Tx, path []string, fn func(*bbolt.Bucket) error) {
	b := place{path: path}.bucket(tx)
	err := b.ForEachBucket(func(k []byte) error { return fn(b.Bucket(k)) })
	if err != nil {
		panic(err)
	}
}

// FuzzBoltAddr: what boltAddr writes, parseBoltAddr reads; no two paths have one address; any text is refused or understood.
func FuzzBoltAddr(f *testing.F) {
	f.Add("devices", "pool-snap-1", "devices/pool-snap-1")
	f.Add("v1", "k8s.io/1/a b", "v1/snapshots/#sequence")
	f.Add("%", "#sequence", "a//b")
	f.Add("\x00", "\xff/..", "%2")
	f.Fuzz(func(t *testing.T, bucket, key, text string) {
		if bucket != "" && key != "" {
			p, err := parseBoltAddr(boltAddr(bucket, key))
			if err != nil || len(p.buckets) != 1 || string(p.buckets[0]) != bucket || string(p.key) != key || p.sequence {
				t.Fatalf("%q %q: %+v, %v", bucket, key, p, err)
			}
			p, err = parseBoltAddr(bucketAddr(bucket, key))
			if err != nil || len(p.buckets) != 2 || string(p.buckets[1]) != key || p.key != nil || p.sequence {
				t.Fatalf("bucket %q %q: %+v, %v", bucket, key, p, err)
			}
		}
		if p, err := parseBoltAddr(text); err == nil && len(p.buckets) == 0 {
			t.Fatalf("%q names no bucket: %+v", text, p)
		}
	})
}
