package thinmeta

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Device is what is known of one thin device. Devices gives what the two small trees say; the counts are there after Check.
type Device struct {
	ID         uint32
	Details    Details
	HasDetails bool
	HasMapping bool
	Mapped     uint64 // virtual blocks that are mapped, counted
	Exclusive  uint64 // data blocks that no other device maps
	Highest    uint64 // highest mapped virtual block + 1, or 2^64-1 if that is it
	Newest     uint32 // newest time of a mapping
	Unreadable bool   // parts of its tree cannot be read: the counts are too low
}

type rootEntry struct {
	id    uint32
	block uint64
}

type detailsEntry struct {
	id uint32
	Details
}

// ErrNoDevice says that the pool has no device of that id, or none with mappings.
var ErrNoDevice = errors.New("no such thin device")

// Devices lists the devices in the order of their ids, from the details tree and the top level of the mapping tree. Counts are 0.
// The error wraps ErrDamaged when the list is incomplete; what could be read is given all the same.
func (f *File) Devices() ([]Device, error) {
	f.load()
	return mergeDevices(f.index.devices, f.index.details), f.index.err
}

// mergeDevices joins two sorted lists.
func mergeDevices(roots []rootEntry, details []detailsEntry) []Device {
	out := make([]Device, 0, max(len(roots), len(details)))
	for len(roots) > 0 || len(details) > 0 {
		var d Device
		takeRoot := len(details) == 0 || len(roots) > 0 && roots[0].id <= details[0].id
		takeDetails := len(roots) == 0 || len(details) > 0 && details[0].id <= roots[0].id
		if takeRoot {
			d.ID, d.HasMapping = roots[0].id, true
			roots = roots[1:]
		}
		if takeDetails {
			d.ID, d.HasDetails, d.Details = details[0].id, true, details[0].Details
			details = details[1:]
		}
		out = append(out, d)
	}
	return out
}

// load reads the list of devices once.
func (f *File) load() {
	f.index.Do(func() {
		ix := &f.index
		if !f.super.usable() {
			ix.err = fmt.Errorf("%s: no usable superblock: %w", f.name, ErrDamaged)
			return
		}
		var errs []error
		gap := func(_ keyRange, err error) error {
			if len(errs) < 8 {
				errs = append(errs, err)
			}
			return nil
		}
		tops := treeWalk{f: f, valueSize: sizeBlock, gap: gap, leaf: func(nd *node, from, to int) error {
			for i := from; i < to && nd.key(i) <= MaxDevice; i++ {
				ix.devices = append(ix.devices, rootEntry{uint32(nd.key(i)), nd.val(i)})
			}
			return nil
		}}
		details := treeWalk{f: f, valueSize: sizeDetails, gap: gap, leaf: func(nd *node, from, to int) error {
			for i := from; i < to && nd.key(i) <= MaxDevice; i++ {
				ix.details = append(ix.details, detailsEntry{uint32(nd.key(i)), decodeDetails(nd.raw(i))})
			}
			return nil
		}}
		errs = append(errs, tops.walk(f.super.MappingRoot, allKeys), details.walk(f.super.DetailsRoot, allKeys))
		if err := errors.Join(errs...); err != nil {
			ix.err = fmt.Errorf("%s: list of devices: %w", f.name, err)
		}
	})
}

// root gives the root of a device's mapping tree.
func (f *File) root(id uint32) (uint64, error) {
	f.load()
	i, ok := slices.BinarySearchFunc(f.index.devices, id, func(e rootEntry, id uint32) int { return cmp.Compare(e.id, id) })
	if ok {
		return f.index.devices[i].block, nil
	}
	if f.index.err != nil {
		return 0, fmt.Errorf("device %d: not found in what can be read of the mapping tree: %w", id, f.index.err)
	}
	return 0, fmt.Errorf("%s: device %d: %w", f.name, id, ErrNoDevice)
}

// decodeIndex takes an index entry apart: where the bitmap is and what is said of it.
func decodeIndex(b []byte) (block uint64, h hint) {
	le := binary.LittleEndian
	return le.Uint64(b), hint{le.Uint32(b[8:]), le.Uint32(b[12:])}
}
