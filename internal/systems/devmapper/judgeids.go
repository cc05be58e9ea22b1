package devmapper

import (
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// deviceIDs judges what device_ids says against the records and the pool.
func (g *judge) deviceIDs() {
	if g.pool == nil {
		return
	}
	for i := range g.pool.IDs {
		id := &g.pool.IDs[i]
		switch {
		case id.Err != nil:
			g.add(IDStateWrong, "device_ids/"+id.Key, "", says(witPool+" device_ids", "%v", id.Err))
		case len(g.recordsByDev[id.ID]) > 0:
			g.idWithRecord(id)
		default:
			g.idWithoutRecord(id)
		}
	}
	for i := range g.pool.Devices {
		d := &g.pool.Devices[i]
		if _, known := g.idByDev[d.ID]; d.Err == nil && !known && g.wholePool {
			g.add(IDStateWrong, devSubject(d.ID), "", recordEvidence(d), g.idEvidence(d.ID)).with(detail{DeviceID: &d.ID, Want: "taken"})
		}
	}
}

func (g *judge) idWithRecord(id *snapshotdb.DeviceID) {
	d := &g.pool.Devices[g.recordsByDev[id.ID][0]]
	switch {
	case id.State == snapshotdb.IDFree:
		g.add(IDStateWrong, devSubject(id.ID), "", recordEvidence(d), g.idEvidence(id.ID)).with(detail{DeviceID: &id.ID, Want: "taken"})
	case id.State == snapshotdb.IDFaulty && d.State != snapshotdb.Faulty:
		// Harmless by itself: a faulty id is never given out, and the removal of the device frees it.
		g.add(IDStateWrong, devSubject(id.ID), "", recordEvidence(d), g.idEvidence(id.ID)).with(detail{DeviceID: &id.ID, Want: "taken"}).severity(finding.Warning)
	}
}

// idWithoutRecord judges an id that no readable record has.
func (g *judge) idWithoutRecord(id *snapshotdb.DeviceID) {
	if !g.wholePool || g.thin == nil || !g.thin.whole {
		return
	}
	there := g.device(id.ID) != nil
	ev := []finding.Evidence{g.idEvidence(id.ID), says(witPool+" devices", "no record has device id %d", id.ID), g.devEvidence(id.ID)}
	class, cause := "", ""
	switch {
	case id.State == snapshotdb.IDFree && there:
		class = FreeIDInPool
	case id.State == snapshotdb.IDFree:
		return
	case there:
		class, cause = LeakedDevice, g.unreadable
	case id.State == snapshotdb.IDTaken:
		class = IDTakenOrphan
	default:
		class = IDFaultyOrphan
	}
	g.add(class, devSubject(id.ID), cause, ev...).with(g.deviceDetail(id.ID, 0, snapshotdb.Unknown)).about(nil, nil, g.device(id.ID)).dev = id.ID
}

// thinDevices reports devices of the pool that <pool>.db has never known.
func (g *judge) thinDevices() {
	if g.thin == nil || g.pool == nil || !g.wholePool {
		return
	}
	for i := range g.thin.report.Devices {
		t := &g.thin.report.Devices[i]
		if _, known := g.idByDev[t.ID]; known || len(g.recordsByDev[t.ID]) > 0 {
			continue
		}
		f := g.add(UnknownInPool, devSubject(t.ID), "", g.idEvidence(t.ID), g.devEvidence(t.ID)).with(g.deviceDetail(t.ID, 0, snapshotdb.Unknown)).about(nil, nil, t)
		if uint64(t.ID) <= g.pool.Sequence {
			f.severity(finding.Info) // the sequence is past it: containerd never gives it out
		}
	}
}

// sequences reports buckets that will give out an id twice.
func (g *judge) sequences() {
	if g.pool != nil {
		var top uint32
		for i := range g.pool.IDs {
			if id := &g.pool.IDs[i]; id.Err == nil {
				top = max(top, id.ID)
			}
		}
		for i := range g.pool.Devices {
			if d := &g.pool.Devices[i]; d.Err == nil && d.ID <= thinmeta.MaxDevice {
				top = max(top, d.ID)
			}
		}
		if uint64(top) > g.pool.Sequence && !slices.Contains(g.pool.Missing, snapshotdb.BucketDeviceIDs) {
			g.add(SequenceBehind, "device_ids sequence", "", says(witPool+" device_ids", "sequence %d", g.pool.Sequence), says(witPool, "id %d is known", top)).
				with(detail{Have: fmt.Sprint(g.pool.Sequence), Want: fmt.Sprint(top)})
		}
	}
	if g.store != nil {
		var top uint64
		for i := range g.store.Snapshots {
			if s := &g.store.Snapshots[i]; s.Err == nil {
				top = max(top, s.ID)
			}
		}
		if top > g.store.Sequence {
			g.add(SequenceBehind, "v1/snapshots sequence", "", says(witStore, "sequence %d", g.store.Sequence), says(witStore, "there is a snapshot %d", top)).
				with(detail{Have: fmt.Sprint(g.store.Sequence), Want: fmt.Sprint(top)})
		}
	}
}
