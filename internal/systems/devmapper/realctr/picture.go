package realctr

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"go.etcd.io/bbolt"

	"fettle/internal/systems/devmapper/fakedm"
)

// Picture is what the four files say, read plainly. Names of devices and files stand without the pool's name: "snap-6".
type Picture struct {
	Keys       map[string]Key                   `json:"keys"`       // meta.db: by the user's key, of namespace k8s.io
	Containers map[string]string                `json:"containers"` // meta.db: id -> key
	Snapshots  map[string]Snap                  `json:"snapshots"`  // metadata.db: by backend name
	Links      []string                         `json:"links"`      // metadata.db, parents: "3/4 name"
	SnapSeq    uint64                           `json:"snap_seq"`
	Devices    map[string]*devmapper.DeviceInfo `json:"devices"`
	IDs        map[uint32]byte                  `json:"ids"`
	IDSeq      uint64                           `json:"id_seq"`
	Thins      map[uint32]fakedm.Thin           `json:"thins"` // without mappings
	Time       uint32                           `json:"time"`
}

// Key is a snapshot of meta.db.
type Key struct {
	Name     string
	Parent   string
	Children []string
}

// Snap is a snapshot of metadata.db.
type Snap struct {
	ID     uint64
	Kind   byte
	Parent string
}

// Look reads the four files in dir. They must be whole.
func Look(dir, pool string) (*Picture, error) {
	p := &Picture{Keys: map[string]Key{}, Containers: map[string]string{}, Snapshots: map[string]Snap{}, Devices: map[string]*devmapper.DeviceInfo{},
		IDs: map[uint32]byte{}, Thins: map[uint32]fakedm.Thin{}}
	thin, err := fakedm.LoadThinMeta(filepath.Join(dir, "thin.meta"), pool)
	if err != nil {
		return nil, err
	}
	p.Time = thin.Time
	for _, t := range thin.Thins {
		d := *t
		d.Runs = nil
		p.Thins[t.ID] = d
	}
	return p, errors.Join(view(filepath.Join(dir, "meta.db"), p.meta), view(filepath.Join(dir, "metadata.db"), p.store),
		view(filepath.Join(dir, pool+".db"), func(tx *bbolt.Tx) error { return p.pool(tx, pool) }))
}

// first is the value of a field of one byte, 0 when it is not there.
func first(v []byte) byte {
	if len(v) == 0 {
		return 0
	}
	return v[0]
}

// view reads a database. bolt panics at damaged pages, and dies at pages that a file does not have; both become errors here.
func view(path string, look func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("look at %s: bolt says: %v", filepath.Base(path), v)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		return fmt.Errorf("look at %s: %w", filepath.Base(path), err)
	}
	defer db.Close()
	if err := db.View(look); err != nil {
		return fmt.Errorf("look at %s: %w", filepath.Base(path), err)
	}
	return nil
}

// bucket goes down a path of buckets; nil when there is no such path.
func bucket(tx *bbolt.Tx, path ...string) *bbolt.Bucket {
	b := tx.Bucket([]byte(path[0]))
	for _, p := range path[1:] {
		if b == nil {
			return nil
		}
		b = b.Bucket([]byte(p))
	}
	return b
}

// each calls fn for every bucket in b.
func each(b *bbolt.Bucket, fn func(key string, sub *bbolt.Bucket)) error {
	if b == nil {
		return nil
	}
	return b.ForEachBucket(func(k []byte) error { fn(string(k), b.Bucket(k)); return nil })
}

// entries goes through the keys and values of a bucket.
func entries(b *bbolt.Bucket) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		c := b.Cursor()
		for k, v := c.First(); k != nil && yield(string(k), string(v)); k, v = c.Next() {
		}
	}
}

func (p *Picture) meta(tx *bbolt.Tx) error {
	err := each(bucket(tx, "v1", "k8s.io", "snapshots", snapshotter), func(key string, b *bbolt.Bucket) {
		k := Key{Name: string(b.Get([]byte("name"))), Parent: string(b.Get([]byte("parent")))}
		if c := b.Bucket([]byte("children")); c != nil {
			for child, _ := range entries(c) {
				k.Children = append(k.Children, child)
			}
		}
		p.Keys[key] = k
	})
	return errors.Join(err, each(bucket(tx, "v1", "k8s.io", "containers"), func(id string, b *bbolt.Bucket) {
		p.Containers[id] = string(b.Get([]byte("snapshotKey")))
	}))
}

func (p *Picture) store(tx *bbolt.Tx) error {
	b := bucket(tx, "v1", "snapshots")
	if b == nil {
		return nil
	}
	p.SnapSeq = b.Sequence()
	err := each(b, func(name string, s *bbolt.Bucket) {
		id, _ := binary.Uvarint(s.Get([]byte("id")))
		p.Snapshots[name] = Snap{ID: id, Kind: first(s.Get([]byte("kind"))), Parent: string(s.Get([]byte("parent")))}
	})
	if err != nil {
		return err
	}
	links := bucket(tx, "v1", "parents")
	if links == nil {
		return nil
	}
	return links.ForEach(func(k, v []byte) error {
		parent, n := binary.Uvarint(k)
		child, _ := binary.Uvarint(k[min(len(k), max(n, 0)+1):])
		p.Links = append(p.Links, fmt.Sprintf("%d/%d %s", parent, child, v))
		slices.Sort(p.Links)
		return nil
	})
}

func (p *Picture) pool(tx *bbolt.Tx, pool string) error {
	devices, ids := bucket(tx, "devices"), bucket(tx, "device_ids")
	if devices == nil || ids == nil {
		return errors.New("its buckets are missing")
	}
	err := devices.ForEach(func(k, v []byte) error {
		var d devmapper.DeviceInfo
		if err := json.Unmarshal(v, &d); err != nil {
			return err
		}
		short := func(name string) string {
			if len(name) > len(pool) && name[:len(pool)+1] == pool+"-" {
				return name[len(pool)+1:]
			}
			return name
		}
		d.Name, d.ParentName = short(d.Name), short(d.ParentName)
		p.Devices[short(string(k))] = &d
		return nil
	})
	if err != nil {
		return err
	}
	p.IDSeq = ids.Sequence()
	return ids.ForEach(func(k, v []byte) error {
		id, err := strconv.ParseUint(string(k), 10, 32)
		p.IDs[uint32(id)] = first(v)
		return err
	})
}
