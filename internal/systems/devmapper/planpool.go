package devmapper

import (
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
)

// actPool is about fields of <pool>.db, and sequences.
func (p *planner) actPool(f *judged, a finding.Action) (result, loses string, err error) {
	want := f.facts()
	switch f.Class {
	case IDTakenOrphan, IDFaultyOrphan:
		return fmt.Sprintf("id %d is free again", f.dev), "", p.setID(p.e, f.dev, snapshotdb.IDFree)
	case IDStateWrong:
		return p.mendID(f, want)
	case NameMismatch:
		rec, err := p.recordNamed(f.Subject)
		if err != nil {
			return "", "", err
		}
		return "name " + want.Want, "", p.setRecord(rec, func(d *snapshotdb.Device) { d.Name = want.Want })
	case ParentMismatch:
		rec, err := p.recordNamed(f.Subject)
		if err != nil {
			return "", "", err
		}
		return "parent " + want.Want, "", p.setRecord(rec, func(d *snapshotdb.Device) { d.Parent = want.Want })
	case SizeMismatch:
		return p.mendSize(f, want)
	case SequenceBehind:
		n, err := strconv.ParseUint(want.Want, 10, 64)
		if err != nil {
			return "", "", err
		}
		if f.Subject == "device_ids sequence" {
			return "sequence " + want.Want, "", p.raise(p.target(p.u.pool), n, snapshotdb.BucketDeviceIDs)
		}
		return "sequence " + want.Want, "", p.raise(p.target(p.u.store), n, "v1", "snapshots")
	case IdentityWrong:
		return p.swap(f)
	}
	return "", "", fmt.Errorf("no way to %s", a)
}

func (p *planner) recordNamed(key string) (*snapshotdb.Device, error) {
	if p.byKey == nil {
		p.byKey = map[string]int{}
		for i := range p.pool.Devices {
			p.byKey[p.pool.Devices[i].Key] = i
		}
	}
	if i, ok := p.byKey[key]; ok {
		return &p.pool.Devices[i], nil
	}
	return nil, fmt.Errorf("there is no record %s", key)
}

// mendID writes the state that the records and the pool prove.
func (p *planner) mendID(f *judged, want detail) (result, loses string, err error) {
	if want.DeviceID == nil { // key or value cannot be decoded
		key := strings.TrimPrefix(f.Subject, "device_ids/")
		id, err := strconv.ParseUint(key, 10, 32)
		if err != nil || strconv.FormatUint(id, 10) != key {
			return "the key, which is no device id, is removed", "", p.e.set(p.target(p.u.pool), boltAddr(snapshotdb.BucketDeviceIDs, key), nil, "no such id")
		}
		dev := uint32(id)
		return "state of the id written again", "", p.setID(p.e, dev, p.rightIDState(dev))
	}
	if _, deleted := p.drop[*want.DeviceID]; deleted {
		return "", "", left("its thin device is deleted by the decision about another finding")
	}
	s := p.rightIDState(*want.DeviceID)
	return fmt.Sprintf("id %d is %s", *want.DeviceID, idStateName(s)), "", p.setID(p.e, *want.DeviceID, s)
}

// rightIDState is what device_ids must say of an id when the plan is carried out as far as it goes.
func (p *planner) rightIDState(id uint32) byte {
	for _, i := range p.recordsByDev[id] {
		rec := p.pool.Devices[i]
		if p.gone[rec.Key] {
			continue
		}
		if now, err := p.e.now(p.target(p.u.pool), boltAddr(snapshotdb.BucketDevices, rec.Key)); err == nil {
			rec = snapshotdb.DecodeDevice([]byte(rec.Key), now, false)
		}
		if rec.State == snapshotdb.Faulty {
			return snapshotdb.IDFaulty
		}
		return snapshotdb.IDTaken
	}
	if p.thin == nil || !p.thin.whole || p.device(id) != nil {
		return snapshotdb.IDFaulty
	}
	return snapshotdb.IDFree
}

// mendSize only ever enlarges.
func (p *planner) mendSize(f *judged, want detail) (result, loses string, err error) {
	n, err := strconv.ParseUint(want.Want, 10, 64)
	rec, rerr := p.recordNamed(f.Subject)
	if err != nil || rerr != nil || n <= rec.Size {
		return "left: what size is right cannot be proven without shrinking", "", rerr
	}
	return "size " + want.Want, "", p.setRecord(rec, func(d *snapshotdb.Device) { d.Size = n })
}

// swap exchanges the device ids of two records.
func (p *planner) swap(f *judged) (result, loses string, err error) {
	a, b, two := strings.Cut(f.Subject, ",")
	if !two {
		return "left: no exchange of two records explains it", "", nil
	}
	ra, err := p.recordNamed(a)
	if err != nil {
		return "", "", err
	}
	rb, err := p.recordNamed(b)
	if err != nil {
		return "", "", err
	}
	ida, idb := ra.ID, rb.ID
	if err := p.setRecord(ra, func(d *snapshotdb.Device) { d.ID = idb }); err != nil {
		return "", "", err
	}
	return fmt.Sprintf("%s has device id %d, %s has %d", a, idb, b, ida), "", p.setRecord(rb, func(d *snapshotdb.Device) { d.ID = ida })
}
