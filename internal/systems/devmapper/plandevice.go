package devmapper

import (
	"fmt"
	"strconv"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// idValue is the value of a record of device_ids.
func idValue(state byte) store.Bytes { return store.Bytes{state} }

// setID sets the state of a device id. A bucket that is not there is made with a sequence above all ids in use: one that begins at 0 would
// give them out again.
func (p *planner) setID(e *edits, id uint32, state byte) error {
	pool, seq := p.target(p.u.pool), sequenceAddr(snapshotdb.BucketDeviceIDs)
	have, err := e.now(pool, seq)
	if err != nil {
		return err
	}
	if have == nil {
		if err := e.set(pool, seq, sequenceValue(uint64(max(id, p.highestID()))), "the highest id in use"); err != nil {
			return err
		}
	}
	return e.set(pool, boltAddr(snapshotdb.BucketDeviceIDs, strconv.FormatUint(uint64(id), 10)), idValue(state),
		fmt.Sprintf("device id %d: %s", id, idStateName(state)))
}

// highestID is the highest device id in use, in any layer.
func (p *planner) highestID() uint32 {
	if p.topID > 0 {
		return p.topID
	}
	for i := range p.pool.Devices {
		if d := &p.pool.Devices[i]; d.Err == nil && d.ID <= thinmeta.MaxDevice {
			p.topID = max(p.topID, d.ID)
		}
	}
	if p.thin != nil {
		for i := range p.thin.report.Devices {
			if t := &p.thin.report.Devices[i]; t.ID <= sequenceLimit {
				p.topID = max(p.topID, t.ID)
			}
		}
	}
	return p.topID
}

// sequenceValue is the record of a bucket's sequence.
func sequenceValue(n uint64) store.Bytes { return store.Bytes(strconv.FormatUint(n, 10)) }

// setRecord changes fields of a device record.
func (p *planner) setRecord(rec *snapshotdb.Device, change func(*snapshotdb.Device)) error {
	if p.gone[rec.Key] {
		return left("the device record is removed by the decision about another finding")
	}
	addr := boltAddr(snapshotdb.BucketDevices, rec.Key)
	now, err := p.e.now(p.target(p.u.pool), addr)
	if err != nil {
		return err
	}
	d := snapshotdb.DecodeDevice([]byte(rec.Key), now, false)
	if d.Err != nil {
		return fmt.Errorf("record %s: %w", rec.Key, d.Err)
	}
	change(&d)
	return p.e.set(p.target(p.u.pool), addr, snapshotdb.ChangeDevice(now, &d), fmt.Sprintf("device %s: device id %d, state %s", rec.Key, d.ID, d.State))
}

// dropRecord removes a device record.
func (p *planner) dropRecord(e *edits, key string) error {
	put(&p.trail, p.gone, key, true)
	return e.set(p.target(p.u.pool), boltAddr(snapshotdb.BucketDevices, key), nil, "no device "+key)
}

// raise makes the sequence of a bucket at least n.
func (p *planner) raise(target string, n uint64, path ...string) error {
	addr := sequenceAddr(path...)
	now, err := p.e.now(target, addr)
	if err != nil {
		return err
	}
	have := uint64(0) // a bucket that is not there, and is made
	if now != nil {
		if have, err = strconv.ParseUint(string(now), 10, 64); err != nil {
			return fmt.Errorf("%s %s: %w", target, addr, err)
		}
	}
	if have >= n {
		return nil
	}
	return p.e.set(target, addr, sequenceValue(n), "the highest id that was given out")
}

// actDevice is about records of devices, and about thin devices without one.
func (p *planner) actDevice(f *judged, a finding.Action) (result, loses string, err error) {
	switch a {
	case finding.Discard:
		return p.discard(f)
	case MarkFaulty:
		if err := p.setRecord(f.rec, func(d *snapshotdb.Device) { d.State = snapshotdb.Faulty }); err != nil {
			return "", "", err
		}
		return "marked Faulty: containerd passes it by", "", p.setID(p.e, f.rec.ID, snapshotdb.IDFaulty)
	case BlockID:
		if err := p.setID(p.e, f.dev, snapshotdb.IDFaulty); err != nil {
			return "", "", err
		}
		return fmt.Sprintf("id %d is never given out; thin device %d stays", f.dev, f.dev), "", p.raise(p.target(p.u.pool), uint64(f.dev), snapshotdb.BucketDeviceIDs)
	case RaiseSequence:
		if f.rec == nil {
			return fmt.Sprintf("id %d is never given out; thin device %d stays", f.dev, f.dev), "", p.raise(p.target(p.u.pool), uint64(f.dev), snapshotdb.BucketDeviceIDs)
		}
		id, _ := f.rec.SnapshotID()
		return fmt.Sprintf("snapshot id %d is never given out; the device and its data stay", id), "", p.raise(p.target(p.u.store), id, "v1", "snapshots")
	case finding.Rewrite:
		return p.mendState(f)
	}
	return "", "", fmt.Errorf("no way to %s", a)
}

// mendState writes the state that the snapshot and the thin device prove.
func (p *planner) mendState(f *judged) (result, loses string, err error) {
	if f.snap == nil {
		return "", "", fmt.Errorf("record %s has no snapshot", f.rec.Key)
	}
	if p.dropped[f.snap.Key] {
		return "", "", left("the snapshot is removed by the decision about another finding")
	}
	want := goodState(f.snap)
	err = p.setRecord(f.rec, func(d *snapshotdb.Device) { d.State, d.Error = want, "" })
	if err != nil {
		return "", "", err
	}
	return fmt.Sprintf("state %s: the snapshot is %s, and its thin device is there", want, f.snap.Kind), "", p.setID(p.e, f.rec.ID, snapshotdb.IDTaken)
}

// discard removes a thin device and whatever refers to it.
func (p *planner) discard(f *judged) (result, loses string, err error) {
	if f.Class == NotInPool && f.snap != nil {
		result, err := p.dropSnapshot(f.snap)
		return result, "the snapshot, whose content was lost before", err
	}
	there := p.thin != nil && p.device(f.dev) != nil
	switch why := p.u.fixedThin(); {
	case f.rec != nil && p.gone[f.rec.Key]:
		return "removed together with what another finding is about", "", nil
	case !there && (p.thin == nil || !p.thin.whole):
		return "", "", left(fmt.Sprintf("the thin pool was not read as a whole, so nobody knows whether it has device %d", f.dev))
	case there && !p.live && why != "":
		// Its record must stay as long as the device: an id that is free while its device exists makes containerd fail.
		return "", "", left(why)
	case there && p.open[f.dev] > 0:
		return "", "", left(fmt.Sprintf("thin device %d is open", f.dev))
	case there:
		return p.discardDevice(f)
	}
	return fmt.Sprintf("record dropped, id %d free", f.dev), "", p.forgetDevice(p.e, f)
}

// discardDevice removes a thin device that exists, with its record.
func (p *planner) discardDevice(f *judged) (result, loses string, err error) {
	put(&p.trail, p.drop, f.dev, f.Subject)
	loss, n := p.loss, len(p.deleting)
	p.trail.note(func() { p.loss, p.deleting = loss, p.deleting[:n] })
	p.loss++
	p.deleting = append(p.deleting, f.Seq)
	if own := p.device(f.dev).Exclusive * p.blockBytes(); own > 0 {
		loses = fmt.Sprintf("%d KiB that only thin device %d maps", own/1024, f.dev)
	}
	result = fmt.Sprintf("thin device %d deleted, id %d free", f.dev, f.dev)
	if !p.live {
		return result, loses, p.forgetDevice(p.e, f)
	}
	// Until the device is gone its id must not be given out; ENODATA later means that it is gone.
	if f.rec != nil {
		if err := p.setRecord(f.rec, func(d *snapshotdb.Device) { d.State = snapshotdb.Faulty }); err != nil {
			return "", "", err
		}
	}
	if err := p.setID(p.e, f.dev, snapshotdb.IDFaulty); err != nil {
		return "", "", err
	}
	p.follow()
	return result, loses, p.forgetDevice(p.after, f)
}

// forgetDevice removes what the pool's database says of a device. Of an id that it never knew it knows nothing afterwards.
func (p *planner) forgetDevice(e *edits, f *judged) error {
	if f.rec != nil {
		if err := p.dropRecord(e, f.rec.Key); err != nil {
			return err
		}
	}
	if f.Class == UnknownInPool {
		return e.set(p.target(p.u.pool), boltAddr(snapshotdb.BucketDeviceIDs, strconv.FormatUint(uint64(f.dev), 10)), nil, fmt.Sprintf("device id %d: not known", f.dev))
	}
	return p.setID(e, f.dev, snapshotdb.IDFree)
}

// follow makes the later changes start from what the earlier ones leave.
func (p *planner) follow() {
	if p.after.base == nil {
		p.after.base = p.e
	}
}

// deletes are the changes that delete devices of a live pool, in the order of their ids.
func (p *planner) deletes() []store.Change {
	var out []store.Change
	for _, id := range sortedIDs(p.drop) {
		t := p.device(id)
		out = append(out, store.Change{Target: targetLive, Addr: thinAddr(id), Before: thinRecord(id), After: nil,
			Note: fmt.Sprintf("dmsetup message %s 0 \"delete %d\" (%d blocks mapped)", p.u.poolName, id, t.Mapped)})
	}
	return out
}

// dropSnapshot removes a snapshot that has no device from all layers.
func (p *planner) dropSnapshot(s *snapshotdb.Snapshot) (string, error) {
	if p.childrenLeft(s.Key) > 0 {
		return "", errHasChildren
	}
	loss := p.loss
	p.trail.note(func() { p.loss = loss })
	p.loss++
	put(&p.trail, p.dropped, s.Key, true)
	st := p.target(p.u.store)
	if err := p.e.set(st, bucketAddr("v1", "snapshots", s.Key), nil, "no snapshot "+s.Key); err != nil {
		return "", err
	}
	if parent := p.parentOf(s); parent != nil {
		put(&p.trail, p.children, s.Parent, p.children[s.Parent]-1)
		if err := p.e.set(st, boltAddr("v1", "parents", string(snapshotdb.LinkKey(parent.ID, s.ID))), nil, "no link from its parent"); err != nil {
			return "", err
		}
	}
	if p.pool != nil {
		if rec := p.record(s.ID); rec != nil {
			if err := p.dropRecord(p.e, rec.Key); err != nil {
				return "", err
			}
			if rec.Err == nil {
				if err := p.setID(p.e, rec.ID, p.rightIDState(rec.ID)); err != nil {
					return "", err
				}
			}
		}
	}
	if p.meta != nil {
		for _, i := range p.entriesByName[s.Key] {
			if err := p.dropEntry(i); err != nil {
				return "", err
			}
		}
	}
	return "snapshot record removed from all layers", nil
}

// childrenLeft counts the snapshots that are made from one and stay.
func (p *planner) childrenLeft(key string) int {
	if p.children == nil {
		p.children = map[string]int{}
		for i := range p.store.Snapshots {
			p.children[p.store.Snapshots[i].Parent]++
		}
	}
	return p.children[key]
}

// dropEntry removes containerd's entry for a snapshot and what links to it.
func (p *planner) dropEntry(i int) error {
	e, m := &p.meta.Entries[i], p.target(p.u.meta)
	for _, c := range p.childrenByKey[nsKey{e.Namespace, e.Key}] {
		if !p.unlinked[c] {
			return errHasChildren // without the entry the garbage collection would not see that they need it
		}
	}
	put(&p.trail, p.unlinked, i, true)
	if err := p.e.set(m, bucketAddr(p.entryPath(e.Namespace, e.Key)...), nil, "no snapshot "+e.Namespace+"/"+e.Key); err != nil {
		return err
	}
	if _, ok := p.entryByKey[nsKey{e.Namespace, e.Parent}]; ok && e.Parent != "" {
		if err := p.e.set(m, boltAddr(append(p.entryPath(e.Namespace, e.Parent), "children", e.Key)...), nil, "no link from its parent"); err != nil {
			return err
		}
	}
	for _, id := range p.leasesOf(nsKey{e.Namespace, e.Key}) {
		if err := p.e.set(m, boltAddr("v1", e.Namespace, "leases", id, "snapshots", p.u.opts.snapshotter, e.Key), nil, "no reference of the lease"); err != nil {
			return err
		}
	}
	return nil
}

// leasesOf are the ids of the leases that hold a snapshot.
func (p *planner) leasesOf(k nsKey) []string {
	if p.leases == nil {
		p.leases = map[nsKey][]string{}
		for i := range p.meta.Leases {
			l := &p.meta.Leases[i]
			for _, key := range l.Snapshots {
				p.leases[nsKey{l.Namespace, key}] = append(p.leases[nsKey{l.Namespace, key}], l.ID)
			}
		}
	}
	return p.leases[k]
}

// entryPath is the path of containerd's entry for a snapshot.
func (p *planner) entryPath(ns, key string) []string {
	return []string{"v1", ns, "snapshots", p.u.opts.snapshotter, key}
}
