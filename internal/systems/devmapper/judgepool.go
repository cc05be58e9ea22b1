package devmapper

import (
	"fmt"
	"math/bits"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// poolIdentity asks whether this is the right pool at all. Everything else is a consequence of the answer.
func (g *judge) poolIdentity() {
	if len(g.extraPools) > 0 {
		ev := []finding.Evidence{says(g.poolName+".db", "%d device records", g.recordCount())}
		for _, name := range g.extraPools {
			ev = append(ev, says(name, "lies in the same directory"))
		}
		g.add(SeveralPoolDBs, strings.Join(g.extraPools, ","), "", ev...)
	}
	if g.foreign != "" {
		g.add(SeveralPoolDBs, g.poolName, "", says(g.poolName+".db", "the pool is called %s", g.poolName),
			says(witPool+" records", "device names begin with %s", g.foreign))
	}
	if g.pool == nil || g.thin == nil || !g.thin.whole {
		return
	}
	records, missing := 0, 0
	for i := range g.pool.Devices {
		if d := &g.pool.Devices[i]; d.Err == nil && d.State != snapshotdb.Creating {
			records++
			if !g.inPool(d.ID) {
				missing++
			}
		}
	}
	switch {
	case records > 0 && len(g.thin.report.Devices) == 0:
		g.add(PoolEmpty, "pool", "", says(witPool, "%d device records", records), says(witThin, "no thin device"))
	case missing > maxMissing(records):
		g.add(WrongPool, "pool", "", says(witPool, "%d device records", records), says(witThin, "%d of these devices are not there", missing))
	}
}

func (g *judge) recordCount() int {
	if g.pool == nil {
		return 0
	}
	return len(g.pool.Devices)
}

// maxMissing is how many devices may be missing before the pool is taken for another one: a tenth, but a few always.
func maxMissing(records int) int { return max(3, records/10) }

// wrongPool is the key of the finding that says that the pool is the wrong one, "" if it is not.
func (g *judge) wrongPool() string {
	for _, class := range []string{PoolEmpty, WrongPool} {
		if g.has(class, "pool") {
			return keyOf(class, "pool")
		}
	}
	return ""
}

// records judges every device record.
func (g *judge) records() {
	if g.pool == nil {
		return
	}
	for i := range g.pool.Devices {
		d := &g.pool.Devices[i]
		if d.Err != nil {
			f := g.add(RecordUnparsable, d.Key, "", recordEvidence(d)).about(d, nil, nil)
			g.hides(f.key())
			if id, ok := d.SnapshotID(); ok {
				f.Evidence = append(f.Evidence, g.snapEvidence(id))
			}
			continue
		}
		g.recordFields(d)
		orphan := g.recordWithoutSnapshot(d)
		g.recordWithoutDevice(d, orphan)
		g.recordState(d, orphan)
	}
	g.duplicateDevices()
}

// recordFields judges what the record says of itself.
func (g *judge) recordFields(d *snapshotdb.Device) {
	if d.Name != d.Key {
		g.add(NameMismatch, d.Key, "", says(witPool+" key", "%s", d.Key), says(witPool+" record", "name %q", d.Name)).
			with(detail{Want: d.Key, Have: d.Name})
	}
	id, ok := d.SnapshotID()
	if !ok {
		return
	}
	if s := g.snapshotOf(id); s != nil && s.Err == nil {
		if want, sure := g.parentName(d, s); sure && want != d.Parent {
			g.add(ParentMismatch, d.Key, "", says(witPool+" record "+d.Key, "parent %q", d.Parent),
				says(witStore, "the parent of snapshot %d is %q", id, s.Parent)).with(detail{Want: want, Have: d.Parent})
		}
	}
	g.recordSize(d)
}

// snapshotOf is the snapshot with that id when there is a metadata.db.
func (g *judge) snapshotOf(id uint64) *snapshotdb.Snapshot {
	if g.store == nil {
		return nil
	}
	return g.snapshot(id)
}

// parentName is what the record of a snapshot's device must name as its parent; sure is false when the parent is not known.
func (g *judge) parentName(d *snapshotdb.Device, s *snapshotdb.Snapshot) (name string, sure bool) {
	if s.Parent == "" {
		return "", true
	}
	p := g.parentOf(s)
	if p == nil || p.Err != nil {
		return "", false
	}
	prefix, _, _ := snapshotdb.SplitName(d.Key)
	return snapshotdb.DeviceName(prefix, p.ID), true
}

// recordSize judges the size against what is mapped, and against the devices made before and after it.
func (g *judge) recordSize(d *snapshotdb.Device) {
	ev := says(witPool+" record "+d.Key, "size %d", d.Size)
	need, possible := uint64(0), true
	if g.thin != nil {
		if t := g.device(d.ID); t != nil {
			need, possible = reach(t, g.blockBytes())
		}
	}
	switch {
	case d.Size == 0:
		g.add(SizeMismatch, d.Key, "", ev, says("rule", "a device has a size"))
	case d.Size%512 != 0:
		g.add(SizeMismatch, d.Key, "", ev, says("rule", "sizes are multiples of 512"))
	case !possible:
		g.add(SizeMismatch, d.Key, "", ev, says(witThin, "blocks up to number %d are mapped, more than a device can have: a mapping is wrong", g.device(d.ID).Highest))
	case need > roundUp(d.Size, g.blockBytes()):
		g.add(SizeMismatch, d.Key, "", ev, says(witThin, "blocks up to byte %d are mapped", need)).with(detail{Want: fmt.Sprint(need), Have: fmt.Sprint(d.Size)})
	default:
		if near, odd := g.oddSize(d); odd {
			g.add(SizeMismatch, d.Key, "", ev, says(witPool+" records", "all devices made just before and after it have size %d", near)).
				with(detail{Want: fmt.Sprint(near), Have: fmt.Sprint(d.Size)})
		}
	}
}

func (g *judge) blockBytes() uint64 {
	if g.thin == nil {
		return 0
	}
	return uint64(g.thin.report.Super.DataBlockSize) * 512
}

// mostBytes is the size of the largest device that there can be: the kernel counts bytes with a sign.
const mostBytes = 1<<63 - 512

// reach is how many bytes a device must have for all that is mapped; possible is false, and bytes 0, if none can have so many.
func reach(t *thinmeta.Device, blockBytes uint64) (bytes uint64, possible bool) {
	over, n := bits.Mul64(t.Highest, blockBytes)
	if over > 0 || n > mostBytes {
		return 0, false
	}
	return n, true
}

func roundUp(n, unit uint64) uint64 {
	if unit == 0 {
		return n
	}
	return (n + unit - 1) / unit * unit
}

// oddSize tells whether the nearest device before and after it (by snapshot id) agree on another size. The size of new devices only
// changes with the configuration, so one in the middle of equals is suspicious.
func (g *judge) oddSize(d *snapshotdb.Device) (near uint64, odd bool) {
	id, _ := d.SnapshotID()
	before, after := g.neighbour(id, -1), g.neighbour(id, +1)
	if before == nil || after == nil || before.Size != after.Size || before.Size == d.Size {
		return 0, false
	}
	return before.Size, true
}

// neighbour is the readable record with the nearest snapshot id in a direction, among the next few.
func (g *judge) neighbour(id uint64, dir int) *snapshotdb.Device {
	for range 64 {
		if dir < 0 && id == 0 {
			return nil
		}
		id += uint64(dir)
		if r := g.record(id); r != nil && r.Err == nil {
			return r
		}
	}
	return nil
}

// recordWithoutSnapshot reports a record whose snapshot does not exist, and returns the finding's key.
func (g *judge) recordWithoutSnapshot(d *snapshotdb.Device) string {
	id, ok := d.SnapshotID()
	if !ok || g.store == nil || !g.wholeStore || len(g.snapByID[id]) > 0 {
		return ""
	}
	class := NoSnapshot
	if id > g.store.Sequence && d.State != snapshotdb.Faulty {
		class = BlocksNextID
	}
	f := g.add(class, d.Key, "", recordEvidence(d), g.snapEvidence(id), g.devEvidence(d.ID))
	f.with(g.deviceDetail(d.ID, id, d.State)).about(d, nil, g.device(d.ID))
	return f.key()
}

// deviceDetail is the machine-readable part about a device.
func (g *judge) deviceDetail(dev uint32, snapshot uint64, state snapshotdb.State) detail {
	d := detail{DeviceID: &dev}
	if snapshot != 0 {
		d.SnapshotID, d.State = &snapshot, state.String()
	}
	if g.thin != nil {
		if t := g.device(dev); t != nil {
			mapped, excl := t.Mapped*g.blockBytes(), t.Exclusive*g.blockBytes()
			d.Mapped, d.Exclusive = &mapped, &excl
		}
	}
	return d
}

// recordWithoutDevice reports a record whose thin device is gone.
func (g *judge) recordWithoutDevice(d *snapshotdb.Device, orphan string) {
	if g.thin == nil || !g.thin.whole || g.inPool(d.ID) {
		return
	}
	id, _ := d.SnapshotID()
	cause := g.wrongPool()
	switch {
	case cause != "":
	case g.device(d.ID) != nil:
		cause = keyOf(ThinDetailsMissing, devSubject(d.ID))
	case orphan != "":
		cause = orphan
	case d.State == snapshotdb.Removing && g.storeForgets(id):
		cause = keyOf(StateStuck, d.Key)
	}
	ev := []finding.Evidence{recordEvidence(d), g.devEvidence(d.ID), g.snapEvidence(id)}
	s := g.snapshotOf(id)
	f := g.add(NotInPool, d.Key, cause, ev...).with(g.deviceDetail(d.ID, id, d.State)).about(d, s, g.device(d.ID))
	if s != nil {
		f.path(g.userOf(s))
	}
}

// storeForgets tells whether the snapshot is on its way out: nothing in meta.db refers to it.
func (g *judge) storeForgets(id uint64) bool {
	s := g.snapshotOf(id)
	return s != nil && !g.referenced(s)
}

// recordState judges the state of a record.
func (g *judge) recordState(d *snapshotdb.Device, orphan string) {
	id, _ := d.SnapshotID()
	s := g.snapshotOf(id)
	there := g.thin == nil || g.inPool(d.ID)
	ev := []finding.Evidence{recordEvidence(d), g.snapEvidence(id), g.devEvidence(d.ID)}
	class := ""
	switch {
	case !d.State.Valid():
		class = StateInvalid
	case d.State.Unfinished():
		class = StateStuck
	case s == nil || s.Err != nil:
	case d.State == snapshotdb.Removed:
		class = RemovedLive
	case d.State == snapshotdb.Faulty && there:
		class = FaultyLive
	case s.Kind != snapshotdb.KindCommitted && there && (d.State == snapshotdb.Suspended || d.State == snapshotdb.Resumed || d.State == snapshotdb.Deactivated):
		// containerd only activates what is Activated, so after a reboot this one can neither be mounted nor committed.
		class = StateStuck
		if g.hasChildren(s) {
			orphan = keyOf(KindWrong, s.Key) // the state is that of a layer, and right
		}
	}
	if class == "" {
		return
	}
	f := g.add(class, d.Key, orphan, ev...).with(g.deviceDetail(d.ID, id, d.State)).about(d, s, g.device(d.ID))
	if s != nil {
		f.path(g.userOf(s))
	}
}

// duplicateDevices reports device ids that several records have.
func (g *judge) duplicateDevices() {
	for i := range g.pool.Devices {
		d := &g.pool.Devices[i]
		all := g.recordsByDev[d.ID]
		if d.Err != nil || len(all) < 2 || all[0] != i {
			continue
		}
		names, ev := []string{}, []finding.Evidence{}
		for _, k := range all {
			names = append(names, g.pool.Devices[k].Key)
			ev = append(ev, recordEvidence(&g.pool.Devices[k]))
		}
		f := g.add(DuplicateDevice, strings.Join(names, ","), "", append(ev, g.devEvidence(d.ID))...).with(detail{DeviceID: &d.ID})
		g.hides(f.key())
	}
}

// hides notes a finding because of which a thin device may seem to belong to nobody.
func (g *judge) hides(key string) {
	if g.unreadable == "" {
		g.unreadable = key
	}
}
