package devmapper

import (
	"fmt"
	"strconv"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
)

// snapshots judges every record of metadata.db.
func (g *judge) snapshots() {
	if g.store == nil {
		return
	}
	for i := range g.store.Snapshots {
		s := &g.store.Snapshots[i]
		if s.Err != nil {
			g.add(SnapshotUnparsable, s.Key, "", says(witStore+" "+s.Key, "%v", s.Err)).about(nil, s, nil).path(g.userOf(s))
			continue
		}
		g.snapshotParent(s)
		g.snapshotDevice(s)
		g.snapshotUser(s)
	}
	g.duplicateSnapshots()
}

func (g *judge) snapshotParent(s *snapshotdb.Snapshot) {
	if s.Parent == "" || g.parentOf(s) != nil || !g.wholeStore {
		return
	}
	ev := []finding.Evidence{says(witStore+" "+s.Key, "snapshot %d has the parent %s", s.ID, s.Parent), says(witStore, "has no such key")}
	for _, i := range g.entriesByName[s.Parent] {
		ev = append(ev, says(witMeta, "%s is that snapshot", g.entryName(i)))
	}
	f := g.add(ParentMissing, s.Key, "", ev...).about(nil, s, nil).path(g.userOf(s)).with(detail{SnapshotID: &s.ID, Want: s.Parent})
	if g.lostParent[s.Parent] == "" {
		g.lostParent[s.Parent] = f.key()
	}
	g.lostBelow[s.ID] = f.key()
}

// snapshotDevice reports a snapshot for which there is no device record.
func (g *judge) snapshotDevice(s *snapshotdb.Snapshot) {
	if g.pool == nil || !g.wholePool {
		return
	}
	rec := g.record(s.ID)
	if rec != nil && rec.Err == nil {
		return
	}
	cause, says2 := "", says(witPool, "there is no device record for snapshot %d", s.ID)
	if rec != nil {
		cause, says2 = keyOf(RecordUnparsable, rec.Key), recordEvidence(rec)
	}
	f := g.add(NoDevice, s.Key, cause, g.snapEvidence(s.ID), says2, g.metaEvidence(s))
	f.about(nil, s, nil).path(g.userOf(s)).with(detail{SnapshotID: &s.ID, Backend: s.Key})
}

func (g *judge) metaEvidence(s *snapshotdb.Snapshot) finding.Evidence {
	switch {
	case g.meta == nil:
		return says(witMeta, "is not there to be asked")
	case len(g.entriesByName[s.Key]) == 0:
		return says(witMeta, "no entry refers to %s", s.Key)
	}
	return says(witMeta, "%s refers to it", g.entryName(g.entriesByName[s.Key][0]))
}

// snapshotUser reports what the next garbage collection removes.
func (g *judge) snapshotUser(s *snapshotdb.Snapshot) {
	if g.meta == nil || !g.wholeMeta || g.referenced(s) {
		return
	}
	cause := ""
	if rec := g.recordOf(s); rec != nil && rec.State == snapshotdb.Removing {
		cause = keyOf(StateStuck, rec.Key)
	} else if rec != nil && rec.State == snapshotdb.Removed {
		cause = keyOf(RemovedLive, rec.Key)
	}
	g.add(Unreferenced, s.Key, cause, g.snapEvidence(s.ID), g.metaEvidence(s)).about(nil, s, nil).with(detail{SnapshotID: &s.ID, Backend: s.Key})
	k := nsKey{userNamespace(s.Key), userKey(s.Key)}
	if _, twice := g.forgotten[k]; twice {
		g.forgotten[k] = "" // which of them was meant nobody can tell
	} else {
		g.forgotten[k] = s.Key
	}
}

// recordOf is the readable device record of a snapshot.
func (g *judge) recordOf(s *snapshotdb.Snapshot) *snapshotdb.Device {
	if g.pool == nil {
		return nil
	}
	if r := g.record(s.ID); r != nil && r.Err == nil {
		return r
	}
	return nil
}

func (g *judge) duplicateSnapshots() {
	for i := range g.store.Snapshots {
		s := &g.store.Snapshots[i]
		all := g.snapByID[s.ID]
		if s.Err != nil || len(all) < 2 || all[0] != i {
			continue
		}
		var ev []finding.Evidence
		for _, k := range all {
			ev = append(ev, says(witStore, "%s has id %d", g.store.Snapshots[k].Key, s.ID))
		}
		f := g.add(SnapshotDuplicate, strconv.FormatUint(s.ID, 10), "", ev...).with(detail{SnapshotID: &s.ID})
		if g.doubled == "" {
			g.doubled = f.key()
		}
	}
}

type idPair struct{ parent, child uint64 }

func linkSubject(p idPair) string { return fmt.Sprintf("parents/%d/%d", p.parent, p.child) }

// links compares v1/parents with what the snapshots say.
func (g *judge) links() {
	if g.store == nil {
		return
	}
	have := map[idPair]bool{}
	for i := range g.store.Links {
		l := &g.store.Links[i]
		if l.Err != nil {
			g.add(BacklinkStale, fmt.Sprintf("parents/%x", l.Raw), "", says(witStore+" v1/parents", "%v", l.Err))
			continue
		}
		p := idPair{l.Parent, l.Child}
		have[p] = true
		g.link(l, p)
	}
	if !g.wholeStore {
		return
	}
	for i := range g.store.Snapshots {
		s := &g.store.Snapshots[i]
		if s.Err != nil || s.Parent == "" {
			continue
		}
		parent := g.parentOf(s)
		if parent == nil || parent.Err != nil || have[idPair{parent.ID, s.ID}] {
			continue
		}
		p := idPair{parent.ID, s.ID}
		g.add(BacklinkMissing, linkSubject(p), g.duplicateOf(s.ID), says(witStore+" "+s.Key, "snapshot %d has parent %d", s.ID, parent.ID),
			says(witStore+" v1/parents", "has no entry for them")).about(nil, s, nil).path(g.userOf(s))
	}
}

// link judges one entry of v1/parents.
func (g *judge) link(l *snapshotdb.Link, p idPair) {
	if !g.wholeStore {
		return
	}
	child := g.childNamed(l)
	parents := g.snapByID[l.Parent]
	why := ""
	switch {
	case len(g.snapByID[l.Child]) == 0:
		why = fmt.Sprintf("there is no snapshot %d", l.Child)
	case len(parents) == 0:
		why = fmt.Sprintf("there is no snapshot %d", l.Parent)
	case child == nil:
		why = fmt.Sprintf("snapshot %d is not called %s", l.Child, l.Key)
	default:
		if p := g.parentOf(child); p == nil || p.ID != l.Parent {
			why = fmt.Sprintf("the parent of snapshot %d is %q", l.Child, child.Parent)
		}
	}
	if why == "" {
		return
	}
	g.add(BacklinkStale, linkSubject(p), g.staleCause(l), says(witStore+" v1/parents", "%d has the child %d, %s", l.Parent, l.Child, l.Key), says(witStore, "%s", why))
}

// childNamed is the snapshot that the link's id and key agree on.
func (g *judge) childNamed(l *snapshotdb.Link) *snapshotdb.Snapshot {
	for _, i := range g.snapByID[l.Child] {
		if s := &g.store.Snapshots[i]; s.Key == l.Key {
			return s
		}
	}
	return nil
}

// staleCause is the finding that a stale link follows from: the parent or child whose record is lost, or a doubled id.
func (g *judge) staleCause(l *snapshotdb.Link) string {
	switch {
	case g.lostBelow[l.Child] != "":
		return g.lostBelow[l.Child]
	case g.lostParent[l.Key] != "":
		return g.lostParent[l.Key]
	}
	return g.doubled
}

func (g *judge) duplicateOf(id uint64) string {
	if k := strconv.FormatUint(id, 10); g.has(SnapshotDuplicate, k) {
		return keyOf(SnapshotDuplicate, k)
	}
	return ""
}
