package dmlab

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"go.etcd.io/bbolt"
)

// Buckets of the pool's database.
var (
	bucketDevices = []byte("devices")
	bucketIDs     = []byte("device_ids")
)

// States of an id in device_ids.
const (
	idFree   = 0
	idTaken  = 1
	idFaulty = 2
)

// poolDB is the pool's database under construction. devmapper.PoolMetadata makes and syncs a transaction for each of the eleven
// steps that a layer takes; here one transaction takes many layers, and the records are those that the last step leaves.
type poolDB struct {
	devices map[string]*devmapper.DeviceInfo
	ids     map[uint32]byte
	free    map[string]bool // ids that can be given out again, as their keys
	seq     uint32
}

func newPoolDB() *poolDB {
	return &poolDB{devices: map[string]*devmapper.DeviceInfo{}, ids: map[uint32]byte{}, free: map[string]bool{}}
}

// add makes a record and gives it an id as PoolMetadata does: the first free one in the order of bolt's keys, else the next of the sequence.
func (p *poolDB) add(name, parent string, size uint64) *devmapper.DeviceInfo {
	id := p.seq + 1
	if len(p.free) > 0 {
		key := slices.Min(slices.Collect(maps.Keys(p.free)))
		delete(p.free, key)
		n, _ := strconv.ParseUint(key, 10, 32) // a key that remove made
		id = uint32(n)
	} else {
		p.seq++
	}
	d := &devmapper.DeviceInfo{DeviceID: id, Size: size, Name: name, ParentName: parent, State: devmapper.Activated}
	p.devices[name], p.ids[id] = d, idTaken
	return d
}

func (p *poolDB) remove(name string) uint32 {
	id := p.devices[name].DeviceID
	delete(p.devices, name)
	p.ids[id] = idFree
	p.free[strconv.Itoa(int(id))] = true
	return id
}

// save writes the database to path.
func (p *poolDB) save(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		return fmt.Errorf("make the pool's database: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketDevices, bucketIDs} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	names := slices.Sorted(maps.Keys(p.devices))
	for part := range slices.Chunk(names, 2000) {
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error {
				for _, n := range part {
					if err := putRecord(tx, n, p.devices[n]); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err == nil {
		err = db.Update(p.saveIDs)
	}
	return closed(db, err, "make the pool's database")
}

func (p *poolDB) saveIDs(tx *bbolt.Tx) error {
	b := tx.Bucket(bucketIDs)
	for id, state := range p.ids {
		if err := b.Put([]byte(strconv.Itoa(int(id))), []byte{state}); err != nil {
			return err
		}
	}
	return b.SetSequence(uint64(p.seq))
}

func putRecord(tx *bbolt.Tx, name string, d *devmapper.DeviceInfo) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketDevices).Put([]byte(name), raw)
}

// closed syncs and closes a database and adds what was being done to an error.
func closed(db *bbolt.DB, err error, doing string) error {
	if err == nil {
		err = db.Sync()
	}
	if e := db.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
