package snapshotdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"fettle/internal/format/boltfile"
)

// Buckets of <pool>.db.
const (
	BucketDevices   = "devices"
	BucketDeviceIDs = "device_ids"
)

// State is what the snapshotter was last doing with a device (plugins/snapshots/devmapper/device_info.go).
type State int

// The states. Odd ones up to Removing are only passed through.
const (
	Unknown State = iota
	Creating
	Created
	Activating
	Activated
	Suspending
	Suspended
	Resuming
	Resumed
	Deactivating
	Deactivated
	Removing
	Removed
	Faulty
)

var stateNames = [...]string{"Unknown", "Creating", "Created", "Activating", "Activated", "Suspending", "Suspended", "Resuming",
	"Resumed", "Deactivating", "Deactivated", "Removing", "Removed", "Faulty"}

// Valid tells whether the state is one that exists.
func (s State) Valid() bool { return s >= 0 && int(s) < len(stateNames) }

func (s State) String() string {
	if !s.Valid() {
		return strconv.Itoa(int(s))
	}
	return stateNames[s]
}

// Unfinished tells whether containerd marks a record in this state Faulty when it starts.
func (s State) Unfinished() bool {
	switch s {
	case Unknown, Creating, Created, Activating, Suspending, Resuming, Deactivating, Removing:
		return true
	}
	return false
}

// Device is one record of the bucket devices.
type Device struct {
	Key    string // of the record: the device's name, POOL-snap-SNAPSHOTID
	ID     uint32 // of the thin device
	Size   uint64 // bytes
	Name   string // as the record says; ought to be the key
	Parent string // device name of the parent, "" for a base
	State  State
	Error  string // of the last operation
	Err    error  // the value cannot be decoded; then only Key is known
}

// SnapshotID is the id in the name of the device, which is the id of its snapshot.
func (d *Device) SnapshotID() (uint64, bool) { _, id, ok := SplitName(d.Key); return id, ok }

// The states of a device id.
const (
	IDFree   = 0
	IDTaken  = 1
	IDFaulty = 2
)

// DeviceID is one record of the bucket device_ids.
type DeviceID struct {
	Key   string
	ID    uint32
	State byte
	Err   error // key or value cannot be decoded
}

// Pool is what <pool>.db holds.
type Pool struct {
	Devices  []Device   // in the order of their keys
	IDs      []DeviceID // in the order of their keys: "1" "10" "11" "2"
	Sequence uint64     // the highest id that was ever given out
	Missing  []string   // buckets that are not there
	Damage   error      // parts could not be read
}

// jsonDevice is a record as containerd marshals it.
type jsonDevice struct {
	ID     uint32 `json:"device_id"`
	Size   uint64 `json:"size"`
	Name   string `json:"name"`
	Parent string `json:"parent_name"`
	State  State  `json:"state"`
	Error  string `json:"error"`
}

// ReadPool reads a whole <pool>.db. Memory grows with the number of records.
func ReadPool(f *boltfile.File) *Pool {
	p := &Pool{}
	var damage []error
	each(f.Root(), []string{BucketDevices}, &p.Missing, &damage, func(key, value []byte, sub *boltfile.Bucket) {
		p.Devices = append(p.Devices, DecodeDevice(key, value, sub != nil))
	})
	ids := each(f.Root(), []string{BucketDeviceIDs}, &p.Missing, &damage, func(key, value []byte, sub *boltfile.Bucket) {
		p.IDs = append(p.IDs, decodeID(key, value))
	})
	if ids != nil {
		p.Sequence = ids.Sequence()
	}
	p.Damage = errors.Join(damage...)
	return p
}

// DecodeDevice decodes a record of the bucket devices.
func DecodeDevice(key, value []byte, bucket bool) Device {
	d := Device{Key: string(key)}
	if bucket {
		d.Err = errors.New("a bucket stands where a record should be")
		return d
	}
	var j jsonDevice
	if err := json.Unmarshal(value, &j); err != nil {
		d.Err = fmt.Errorf("invalid JSON: %w", err)
		return d
	}
	d.ID, d.Size, d.Name, d.Parent, d.State, d.Error = j.ID, j.Size, j.Name, j.Parent, j.State, j.Error
	return d
}

// EncodeDevice is the value of a record as containerd writes it.
func EncodeDevice(d *Device) []byte {
	b, err := json.Marshal(jsonDevice{ID: d.ID, Size: d.Size, Name: d.Name, Parent: d.Parent, State: d.State, Error: d.Error})
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	return b
}

// ChangeDevice writes a record with the fields of d. Fields of old that this package does not know, of a newer containerd, are kept behind
// them, in the order of their names.
func ChangeDevice(old []byte, d *Device) []byte {
	b := EncodeDevice(d)
	var was, known map[string]json.RawMessage
	if json.Unmarshal(old, &was) != nil || json.Unmarshal(b, &known) != nil {
		return b // nothing of the old record can be told apart
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := known[name]; ok {
			continue
		}
		key, err := json.Marshal(name)
		if err != nil {
			panic(err) // a string always marshals
		}
		b = append(append(append(append(b[:len(b)-1], ','), key...), ':'), was[name]...)
		b = append(b, '}')
	}
	return b
}

func decodeID(key, value []byte) DeviceID {
	id := DeviceID{Key: string(key)}
	n, err := strconv.ParseUint(id.Key, 10, 32)
	if err != nil {
		id.Err = fmt.Errorf("key %q is no device id", key)
		return id
	}
	id.ID = uint32(n)
	if len(value) != 1 || value[0] > IDFaulty {
		id.Err = fmt.Errorf("state %x is none of 0 (free), 1 (taken), 2 (faulty)", head(value))
		return id
	}
	id.State = value[0]
	return id
}

// DeviceName is the name of a snapshot's device.
func DeviceName(pool string, snapshot uint64) string {
	return pool + "-snap-" + strconv.FormatUint(snapshot, 10)
}
