package dmlab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"go.etcd.io/bbolt"

	"fettle/internal/fault"
	"fettle/internal/systems/devmapper/fakedm"
)

// snap is one snapshot of a healthy set, in all layers.
type snap struct {
	id        uint64
	backend   string // key in metadata.db
	key       string // key in meta.db
	kind      byte
	parent    *snap
	children  []*snap
	dev       uint32
	device    string // name of its record
	container string // id of the container that runs on it
}

func (s *snap) layer() bool { return s.kind == kindCommitted }

const kindCommitted = 3

// set is a set of files that is being injured.
type set struct {
	dir, pool         string
	meta, store, pdb  *bbolt.DB
	snaps             []*snap // by id
	thin              *fakedm.Pool
	thinChanged       bool
	snapSeq, devSeq   uint64
	nextSnap, nextDev uint64 // ids that no layer has
	records           int    // in the pool's database
}

// poolOf finds the name of the pool of the set in dir.
func poolOf(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(n string) bool { b := filepath.Base(n); return b == metaFile || b == storeFile })
	if len(names) != 1 {
		return "", &fault.Error{Op: "injure", Where: dir, Err: fmt.Errorf("it holds %d pool databases, should be one", len(names)),
			Hint: "begin with what fettle lab make made", Kind: fault.Usage}
	}
	return strings.TrimSuffix(filepath.Base(names[0]), ".db"), nil
}

// openSet opens the set in dir, which must be healthy.
func openSet(dir string) (s *set, err error) {
	s = &set{dir: dir}
	if s.pool, err = poolOf(dir); err != nil {
		return nil, err
	}
	if s.thin, err = fakedm.LoadThinMeta(filepath.Join(dir, thinFile), s.pool); err != nil {
		return nil, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// bolt panics at damaged pages, and dies at pages that a file does not have.
		if v := recover(); v != nil {
			err = s.damaged("bolt says: %v", v)
		}
		if err != nil {
			err = errors.Join(err, s.closeDBs())
		}
	}()
	for name, db := range map[string]**bbolt.DB{metaFile: &s.meta, storeFile: &s.store, s.pool + ".db": &s.pdb} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err != nil || st.Size() == 0 {
			return s, &fault.Error{Op: "injure", Where: path, Err: errors.Join(errors.New("no database"), err), Kind: fault.Usage}
		}
		if *db, err = bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, Timeout: 5 * time.Second, NoFreelistSync: name == metaFile}); err != nil {
			return s, &fault.Error{Op: "injure", Where: path, Err: err}
		}
	}
	return s, s.read()
}

func (s *set) closeDBs() (err error) {
	for _, db := range []*bbolt.DB{s.meta, s.store, s.pdb} {
		if db != nil {
			err = errors.Join(err, db.Sync(), db.Close())
		}
	}
	s.meta, s.store, s.pdb = nil, nil, nil
	return err
}

// read fills snaps.
func (s *set) read() error {
	byKey := map[string]*snap{}
	parents := map[string]string{}
	err := s.store.View(func(tx *bbolt.Tx) error {
		b, err := bucket(tx, "v1", "snapshots")
		if err != nil {
			return err
		}
		s.snapSeq = b.Sequence()
		return b.ForEachBucket(func(k []byte) error {
			one := b.Bucket(k)
			id, _ := binary.Uvarint(one.Get([]byte("id")))
			kind := one.Get([]byte("kind"))
			if len(kind) != 1 {
				return s.damaged("snapshot %s has no kind", k)
			}
			n := &snap{id: id, backend: string(k), kind: kind[0]}
			byKey[n.backend], parents[n.backend] = n, string(one.Get([]byte("parent")))
			s.snaps = append(s.snaps, n)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("read metadata.db: %w", err)
	}
	slices.SortFunc(s.snaps, func(a, b *snap) int { return int(a.id) - int(b.id) })
	for _, n := range s.snaps {
		if p := byKey[parents[n.backend]]; p != nil {
			n.parent = p
			p.children = append(p.children, n)
		}
	}
	if err := s.meta.View(func(tx *bbolt.Tx) error { return s.readMeta(tx, byKey) }); err != nil {
		return fmt.Errorf("read meta.db: %w", err)
	}
	if err := s.pdb.View(s.readPool); err != nil {
		return fmt.Errorf("read the pool's database: %w", err)
	}
	s.nextSnap, s.nextDev = s.snapSeq+1, s.devSeq+1
	return s.healthy()
}

func (s *set) readMeta(tx *bbolt.Tx, byBackend map[string]*snap) error {
	byKey := map[string]*snap{}
	b, err := bucket(tx, "v1", namespace, "snapshots", plugin)
	if err != nil {
		return err
	}
	err = b.ForEachBucket(func(k []byte) error {
		if n := byBackend[string(b.Bucket(k).Get([]byte("name")))]; n != nil {
			n.key = string(k)
			byKey[n.key] = n
		}
		return nil
	})
	if err != nil {
		return err
	}
	if b, err = bucket(tx, "v1", namespace, "containers"); err != nil {
		return err
	}
	return b.ForEachBucket(func(k []byte) error {
		if n := byKey[string(b.Bucket(k).Get([]byte("snapshotKey")))]; n != nil {
			n.container = string(k)
		}
		return nil
	})
}

func (s *set) readPool(tx *bbolt.Tx) error {
	b, ids := tx.Bucket(bucketDevices), tx.Bucket(bucketIDs)
	if b == nil || ids == nil {
		return errors.New("its buckets are missing")
	}
	s.devSeq, s.records = ids.Sequence(), b.Stats().KeyN
	for _, n := range s.snaps {
		n.device = deviceName(s.pool, strconv.FormatUint(n.id, 10))
		var d devmapper.DeviceInfo
		if err := json.Unmarshal(b.Get([]byte(n.device)), &d); err != nil {
			return fmt.Errorf("record %s: %w", n.device, err)
		}
		n.dev = d.DeviceID
	}
	return nil
}

// damaged refuses a set that is not healthy.
func (s *set) damaged(format string, args ...any) error {
	return &fault.Error{Op: "injure", Where: s.dir, Err: fmt.Errorf("the set is damaged already: "+format, args...),
		Hint: "begin with what fettle lab make made", Kind: fault.Usage}
}

// healthy refuses a set that is damaged already, as far as the recipes rely on it.
func (s *set) healthy() error {
	ids, devs := map[uint64]bool{}, map[uint32]bool{}
	for _, n := range s.snaps {
		if n.key == "" || s.thin.Thin(n.dev) == nil || ids[n.id] || devs[n.dev] {
			return s.damaged("snapshot %d (%s)", n.id, n.backend)
		}
		ids[n.id], devs[n.dev] = true, true
	}
	if len(s.thin.Thins) != len(s.snaps) || s.records != len(s.snaps) || len(s.snaps) == 0 {
		return s.damaged("%d snapshots, %d records, %d thin devices", len(s.snaps), s.records, len(s.thin.Thins))
	}
	return nil
}

// Changes of single records. An error leaves the set half changed, and Damage fails.

// record changes a device record.
func (s *set) record(device string, change func(*devmapper.DeviceInfo)) error {
	return s.pdb.Update(func(tx *bbolt.Tx) error {
		var d devmapper.DeviceInfo
		if err := json.Unmarshal(tx.Bucket(bucketDevices).Get([]byte(device)), &d); err != nil {
			return err
		}
		change(&d)
		return putRecord(tx, device, &d)
	})
}

// id sets the state of a device id, and raises the sequence to it.
func (s *set) id(dev uint32, state byte) error {
	return s.pdb.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketIDs)
		if b.Sequence() < uint64(dev) {
			if err := b.SetSequence(uint64(dev)); err != nil {
				return err
			}
		}
		return b.Put([]byte(strconv.Itoa(int(dev))), []byte{state})
	})
}

// inStore works on buckets of metadata.db: all snapshots, and links from parents to children.
func (s *set) inStore(work func(snapshots, links *bbolt.Bucket) error) error {
	return s.store.Update(func(tx *bbolt.Tx) error {
		b, err := bucket(tx, "v1", "snapshots")
		if err != nil {
			return err
		}
		links, err := bucket(tx, "v1", "parents")
		if err != nil {
			return err
		}
		return work(b, links)
	})
}

// inMeta works on the snapshots of meta.db.
func (s *set) inMeta(work func(entries *bbolt.Bucket) error) error {
	return s.meta.Update(func(tx *bbolt.Tx) error {
		b, err := bucket(tx, "v1", namespace, "snapshots", plugin)
		if err != nil {
			return err
		}
		return work(b)
	})
}

// linkKey is the key of a link in v1/parents.
func linkKey(parent, child uint64) []byte {
	return binary.AppendUvarint(append(binary.AppendUvarint(nil, parent), 0), child)
}

// dropSnapshot removes a snapshot from metadata.db, with the link from its parent.
func (s *set) dropSnapshot(n *snap) error {
	return s.inStore(func(snapshots, links *bbolt.Bucket) error {
		if n.parent != nil {
			if err := links.Delete(linkKey(n.parent.id, n.id)); err != nil {
				return err
			}
		}
		return snapshots.DeleteBucket([]byte(n.backend))
	})
}

// dropEntry removes a snapshot from meta.db, with the link from its parent; with its container if withContainer.
func (s *set) dropEntry(n *snap, withContainer bool) error {
	err := s.inMeta(func(entries *bbolt.Bucket) error {
		if n.parent != nil {
			if err := entries.Bucket([]byte(n.parent.key)).Bucket([]byte("children")).Delete([]byte(n.key)); err != nil {
				return err
			}
		}
		return entries.DeleteBucket([]byte(n.key))
	})
	if err != nil || n.container == "" || !withContainer {
		return err
	}
	return s.meta.Update(func(tx *bbolt.Tx) error {
		b, err := bucket(tx, "v1", namespace, "containers")
		if err != nil {
			return err
		}
		return b.DeleteBucket([]byte(n.container))
	})
}

// dropRecord removes a device record and sets the state of its id.
func (s *set) dropRecord(n *snap, state byte) error {
	err := s.pdb.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketDevices).Delete([]byte(n.device)) })
	return errors.Join(err, s.id(n.dev, state))
}

// dropThin deletes a thin device.
func (s *set) dropThin(dev uint32) error {
	s.thinChanged = true
	return s.thin.Delete(dev, false)
}

// newThin makes a thin device from another, with the next id.
func (s *set) newThin(from *snap) (uint32, error) {
	id := uint32(s.nextDev)
	s.nextDev++
	s.thinChanged = true
	return id, s.thin.CreateSnap(id, from.dev)
}

// saveThin writes the thin metadata if it was changed.
func (s *set) saveThin() error {
	if !s.thinChanged {
		return nil
	}
	return fakedm.WriteThinMeta(s.thin, filepath.Join(s.dir, thinFile))
}
