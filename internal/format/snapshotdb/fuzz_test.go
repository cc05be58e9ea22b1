package snapshotdb

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltfile"
)

// FuzzDevice: a record is decoded or has an error, and what was decoded is encoded to what decodes the same.
func FuzzDevice(f *testing.F) {
	f.Add([]byte("pool-snap-1"), []byte(`{"device_id":1,"size":512,"name":"pool-snap-1","parent_name":"","state":4,"error":""}`))
	f.Add([]byte("pool-snap-1"), []byte(`{"device_id":-1}`))
	f.Add([]byte("-snap-"), []byte(`[[[[`))
	f.Add([]byte{0xff}, []byte(`null`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		d := DecodeDevice(key, value, false)
		if d.Err != nil {
			return
		}
		if again := DecodeDevice(key, EncodeDevice(&d), false); again != d {
			t.Fatalf("%+v became %+v", d, again)
		}
		if pool, id, ok := SplitName(d.Key); ok && DeviceName(pool, id) != d.Key {
			t.Fatalf("name %q is pool %q and snapshot %d", d.Key, pool, id)
		}
	})
}

// FuzzSnapshotBucket reads all three kinds of records out of a damaged database: at and with say what to overwrite.
func FuzzSnapshotBucket(f *testing.F) {
	seed := seedFile(f)
	f.Add(uint32(2*1024+8), []byte{0xff, 0xff})
	f.Add(uint32(3*1024+20), []byte{1})
	for page := range len(seed) / 1024 {
		f.Add(uint32(page*1024+16), []byte{1, 0, 0, 0, 16, 0, 0, 0, 2, 0})
	}
	f.Fuzz(func(t *testing.T, at uint32, with []byte) {
		data := append([]byte(nil), seed...)
		if int(at) < len(data) {
			copy(data[at:], with)
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := boltfile.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		if _, ok := file.Current(); !ok {
			return
		}
		store, meta, pool := ReadMetastore(file), ReadMeta(file, Snapshotter), ReadPool(file)
		// Every record takes 16 bytes of a page at least.
		if n := len(store.Snapshots) + len(store.Links) + len(meta.Entries) + len(meta.Containers) + len(pool.Devices) + len(pool.IDs); n > len(data) {
			t.Fatalf("%d records out of %d bytes", n, len(data))
		}
	})
}

// seedFile is a small database with records of all three files.
func seedFile(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "seed")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	put := func(tx *bbolt.Tx, value string, path ...string) {
		b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
		for _, name := range path[1 : len(path)-1] {
			if err == nil {
				b, err = b.CreateBucketIfNotExists([]byte(name))
			}
		}
		if err == nil {
			err = b.Put([]byte(path[len(path)-1]), []byte(value))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		put(tx, `{"device_id":1,"size":512,"name":"p-snap-1","state":4}`, BucketDevices, "p-snap-1")
		put(tx, "\x01", BucketDeviceIDs, "1")
		for _, key := range []string{"k8s.io/1/a", "k8s.io/2/b"} {
			put(tx, "\x01", "v1", "snapshots", key, "id")
			put(tx, "\x03", "v1", "snapshots", key, "kind")
			put(tx, "ext4", "v1", "snapshots", key, "labels", LabelFSType)
		}
		put(tx, "k8s.io/2/b", "v1", "parents", "\x01\x00\x02")
		put(tx, "k8s.io/1/a", "v1", "k8s.io", "snapshots", Snapshotter, "a", "name")
		put(tx, "", "v1", "k8s.io", "snapshots", Snapshotter, "a", "children", "b")
		put(tx, Snapshotter, "v1", "k8s.io", "containers", "c", "snapshotter")
		put(tx, "a", "v1", "k8s.io", "containers", "c", "snapshotKey")
		put(tx, "", "v1", "k8s.io", "leases", "l", "snapshots", Snapshotter, "a")
		put(tx, "sha256:1", "v1", "k8s.io", "images", "i", "target", "digest")
		put(tx, "a", "v1", "k8s.io", "content", "blob", "sha256:1", "labels", labelSnapshotRef+Snapshotter)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
