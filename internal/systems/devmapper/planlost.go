package devmapper

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// errNotProven says that a record cannot be written again.
var errNotProven = left("the other layers do not prove what it was")

// actLost is about records that are missing from one layer.
func (p *planner) actLost(f *judged, a finding.Action) (result, loses string, err error) {
	switch {
	case f.Class == NoDevice && a == finding.Discard:
		result, err := p.dropSnapshot(f.snap)
		return result, "a snapshot that has no thin device", err
	case f.Class == DanglingBackend && a == finding.Unlink:
		return p.unlink(f)
	case a != finding.Recreate:
		return "", "", fmt.Errorf("no way to %s", a)
	case f.Class == RecordUnparsable:
		result, err = p.recreateDevice(f.rec.Key, p.provenDevice(f.rec))
	case f.Class == NoDevice:
		result, err = p.recreateDevice(snapshotdb.DeviceName(p.prefix(), f.snap.ID), p.provenFor(f.snap))
	case f.Class == DanglingBackend:
		result, err = p.recreateSnapshot(f.ent)
	case f.Class == ParentMissing:
		err = errNotProven
		for _, i := range p.entriesByName[f.snap.Parent] {
			result, err = p.recreateSnapshot(i)
		}
	case f.Class == MetaParentMissing:
		e := &p.meta.Entries[f.ent]
		result, err = p.recreateEntry(e.Namespace, e.Parent)
	case f.Class == Unreferenced: // only when meta.db is written anew: then nothing may be left to the garbage collection
		ns, _, _ := strings.Cut(f.snap.Key, "/")
		result, err = p.recreateEntry(ns, userKey(f.snap.Key))
	case f.Class == ContainerDangling:
		ns, _, _ := strings.Cut(f.PathOr(""), "/")
		result, err = p.recreateEntry(ns, p.containerKey(f))
	}
	return result, "", err
}

// unlink removes the entry of a snapshot that is lost.
func (p *planner) unlink(f *judged) (result, loses string, err error) {
	if p.again[f.ent] {
		return "", "", left("its snapshot is written again by the decision about another finding")
	}
	loss := p.loss
	p.trail.note(func() { p.loss = loss })
	p.loss++
	return "entry removed from meta.db", "containerd's knowledge of the snapshot", p.dropEntry(f.ent)
}

// recreateDevice writes the record of a snapshot's device again.
func (p *planner) recreateDevice(name string, t *thinmeta.Device) (string, error) {
	if t == nil {
		return "", errNotProven
	}
	_, id, _ := snapshotdb.SplitName(name)
	s := p.snapshot(id)
	if s == nil || s.Err != nil {
		return "", errNotProven
	}
	d := snapshotdb.Device{Key: name, Name: name, ID: t.ID, State: goodState(s), Size: p.sizeFor(s, t)}
	if parent := p.parentOf(s); parent != nil {
		d.Parent = snapshotdb.DeviceName(p.prefix(), parent.ID)
	}
	if err := p.putDevice(&d); err != nil {
		return "", err
	}
	return fmt.Sprintf("record written again: device id %d, parent %q, size %d", d.ID, d.Parent, d.Size), nil
}

func (p *planner) putDevice(d *snapshotdb.Device) error {
	err := p.e.set(p.target(p.u.pool), boltAddr(snapshotdb.BucketDevices, d.Key), snapshotdb.EncodeDevice(d),
		fmt.Sprintf("device %s: device id %d, state %s", d.Key, d.ID, d.State))
	if err != nil {
		return err
	}
	if err := p.raise(p.target(p.u.pool), uint64(d.ID), snapshotdb.BucketDeviceIDs); err != nil {
		return err
	}
	return p.setID(p.e, d.ID, snapshotdb.IDTaken)
}

// sizeFor is the size of a lost record: the parent's, or that of the devices made before and after, or what is mapped. It is never
// smaller than what is mapped.
func (p *planner) sizeFor(s *snapshotdb.Snapshot, t *thinmeta.Device) uint64 {
	var size uint64
	for _, n := range []*snapshotdb.Device{p.neighbour(s.ID, -1), p.neighbour(s.ID, 1)} {
		if n != nil {
			size = max(size, n.Size)
		}
	}
	if parent := p.parentOf(s); parent != nil {
		if rec := p.recordOf(parent); rec != nil {
			size = max(size, rec.Size)
		}
	}
	need, _ := reach(t, p.blockBytes())
	return max(size, need)
}

// recreateSnapshot writes the snapshot of an entry of meta.db again, its parents first if they are lost as well, and its device record when
// that is lost too.
func (p *planner) recreateSnapshot(i int) (string, error) {
	pr, ok := p.byEntry[i]
	if !ok {
		return "", errNotProven
	}
	if p.unlinked[i] {
		return "", left("its entry is removed by the decision about another finding")
	}
	id := p.snapshotID(i, pr)
	result := fmt.Sprintf("snapshot %d written again on thin device %d: %s", id, pr.dev, pr.how)
	if p.again[i] {
		return result, nil
	}
	put(&p.trail, p.again, i, true)
	e, st := &p.meta.Entries[i], p.target(p.u.store)
	parent, parentKey, err := p.parentOfLost(e)
	if err != nil {
		return "", err
	}
	kind := p.kindFor(i, pr)
	dump := snapshotDump(id, kind, parentKey, e.Created, p.fsTypeOf(e, parentKey), p.usedBytes(pr.dev))
	if err := p.e.set(st, bucketAddr("v1", "snapshots", e.Name), dump.bytes(), fmt.Sprintf("snapshot %d, %s", id, kind)); err != nil {
		return "", err
	}
	if parent != 0 {
		if err := p.e.set(st, boltAddr("v1", "parents", string(snapshotdb.LinkKey(parent, id))), store.Bytes(e.Name), "link from its parent"); err != nil {
			return "", err
		}
	}
	if err := p.raise(st, id, "v1", "snapshots"); err != nil {
		return "", err
	}
	return result, p.recreateRecord(pr, id, parent, kind)
}

// recreateRecord makes the device record of a recreated snapshot what it must be.
func (p *planner) recreateRecord(pr proof, id, parent uint64, kind snapshotdb.Kind) error {
	if pr.rec == nil {
		return p.recreateStray(pr, id, parent, kind)
	}
	if !pr.rec.State.Unfinished() && pr.rec.State != snapshotdb.Faulty {
		return nil
	}
	state := goodState(&snapshotdb.Snapshot{Kind: kind})
	return p.setRecord(pr.rec, func(d *snapshotdb.Device) { d.State, d.Error = state, "" })
}

// parentOfLost is the snapshot that a lost one was made from: its id, 0 for none, and its backend key. One that is lost itself is written
// again first.
func (p *planner) parentOfLost(e *snapshotdb.Entry) (id uint64, backend string, err error) {
	if e.Parent == "" {
		return 0, "", nil
	}
	k, ok := p.entryByKey[nsKey{e.Namespace, e.Parent}]
	if !ok {
		return 0, "", errNotProven
	}
	backend = p.meta.Entries[k].Name
	if s := p.snapshotNamed(backend); s != nil {
		if s.Err != nil || p.dropped[backend] {
			return 0, "", errNotProven
		}
		return s.ID, backend, nil
	}
	if _, err := p.recreateSnapshot(k); err != nil {
		return 0, "", err
	}
	return p.snapshotID(k, p.byEntry[k]), backend, nil
}

// recreateStray writes the record of a device that no record refers to.
func (p *planner) recreateStray(pr proof, id, parent uint64, kind snapshotdb.Kind) error {
	s := &snapshotdb.Snapshot{ID: id, Kind: kind}
	d := snapshotdb.Device{ID: pr.dev, State: goodState(s)}
	d.Key = snapshotdb.DeviceName(p.prefix(), id)
	d.Name = d.Key
	if parent != 0 {
		d.Parent = snapshotdb.DeviceName(p.prefix(), parent)
		if rec := p.record(parent); rec != nil {
			d.Size = rec.Size
		}
	}
	need, _ := reach(p.device(pr.dev), p.blockBytes())
	d.Size = max(d.Size, need)
	return p.putDevice(&d)
}

// snapshotID is the id of a recreated snapshot: that of its record, or a new one above all that were given out.
func (p *planner) snapshotID(i int, pr proof) uint64 {
	if pr.id != 0 {
		return pr.id
	}
	if id, ok := p.newIDs[i]; ok {
		return id
	}
	if p.newID == 0 {
		p.newID = p.store.Sequence
		for id := range p.recordByID {
			p.newID = max(p.newID, id)
		}
		for id := range p.snapByID {
			p.newID = max(p.newID, id)
		}
	}
	p.newID++
	p.newIDs[i] = p.newID
	return p.newID
}

// kindFor tells what kind a lost snapshot was: one with children is committed, and so is one whose device is not activated.
func (p *planner) kindFor(i int, pr proof) snapshotdb.Kind {
	e := &p.meta.Entries[i]
	if len(p.childrenByKey[nsKey{e.Namespace, e.Key}]) > 0 {
		return snapshotdb.KindCommitted
	}
	if len(p.containersByNS[nsKey{e.Namespace, e.Key}]) == 0 && pr.rec != nil && pr.rec.State == snapshotdb.Deactivated {
		return snapshotdb.KindCommitted
	}
	return snapshotdb.KindActive
}

// fsTypeOf is the file system of a lost snapshot: what its entry or its parent says, else what other snapshots have, else what is
// configured, else containerd's default. Without the label containerd does not mount the snapshot.
func (p *planner) fsTypeOf(e *snapshotdb.Entry, parentKey string) string {
	if v := e.Labels[snapshotdb.LabelFSType]; v != "" {
		return v
	}
	if s := p.snapshotNamed(parentKey); s != nil && s.FSType != "" {
		return s.FSType
	}
	for i := range p.store.Snapshots {
		if v := p.store.Snapshots[i].FSType; v != "" {
			return v
		}
	}
	if p.u.fsType != "" {
		return p.u.fsType
	}
	return defaultFSType
}

// defaultFSType is containerd's default of fs_type.
const defaultFSType = "ext4"

func (p *planner) usedBytes(dev uint32) int64 {
	if t := p.device(dev); t != nil {
		return int64(t.Mapped * p.blockBytes())
	}
	return 0
}

// snapshotDump is a snapshot's bucket as containerd's storage package writes it.
func snapshotDump(id uint64, kind snapshotdb.Kind, parent string, created time.Time, fsType string, size int64) *bucketDump {
	d := &bucketDump{}
	d.put("id", binary.AppendUvarint(nil, id))
	d.put("kind", []byte{byte(kind)})
	if parent != "" {
		d.put("parent", []byte(parent))
	}
	if b, err := created.MarshalBinary(); err == nil {
		d.put("createdat", b)
		d.put("updatedat", b)
	}
	if kind == snapshotdb.KindCommitted {
		d.put("inodes", binary.AppendVarint(nil, 0))
		d.put("size", binary.AppendVarint(nil, size))
	}
	if fsType != "" {
		d.sub("labels").put(snapshotdb.LabelFSType, []byte(fsType))
	}
	return d
}
