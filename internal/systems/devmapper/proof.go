package devmapper

import (
	"sort"
	"strconv"
	"strings"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// proofs are what can be said with certainty about lost records: made once everything is found.
type proofs struct {
	byEntry  map[int]proof               // lost snapshots of entries of meta.db
	bySnap   map[string]*thinmeta.Device // by backend key: the device of a snapshot without a record
	byRecord map[string]*thinmeta.Device // by device name: the device of an unreadable record
}

// proof says which device a lost snapshot had.
type proof struct {
	id  uint64             // snapshot id; 0: its device record is lost too, and it gets a new one
	rec *snapshotdb.Device // nil when it is lost too
	dev uint32
	how string
}

// prove matches what is missing from one layer with what is left over in another.
func (g *judge) prove() {
	g.proofs = proofs{byEntry: map[int]proof{}, bySnap: map[string]*thinmeta.Device{}, byRecord: map[string]*thinmeta.Device{}}
	if g.pool == nil || g.store == nil {
		return
	}
	if g.meta == nil {
		if g.thin != nil && g.thin.whole {
			g.proveDevices(g.strays())
		}
		return
	}
	lost := g.lostEntries()
	g.proveByLinks(lost)
	g.proveByRecords(lost)
	if g.thin != nil && g.thin.whole {
		strays := g.strays()
		strays = g.proveDevices(strays)
		g.proveByStrays(lost, strays)
	}
}

// lostEntries are the entries of meta.db whose snapshot metadata.db lacks, in the order in which containerd made them.
func (g *judge) lostEntries() []int {
	var out []int
	for i := range g.found {
		if f := &g.found[i]; f.Class == DanglingBackend && f.ent >= 0 && len(g.entriesByName[g.meta.Entries[f.ent].Name]) == 1 {
			out = append(out, f.ent)
		}
	}
	sort.Slice(out, func(a, b int) bool {
		x, y := &g.meta.Entries[out[a]], &g.meta.Entries[out[b]]
		if s, t := backendSequence(x.Name), backendSequence(y.Name); s != t {
			return s < t
		}
		return x.Name < y.Name
	})
	return out
}

// backendSequence is the number in a backend key NAMESPACE/SEQUENCE/KEY: it grows with time within a namespace.
func backendSequence(key string) uint64 {
	parts := strings.SplitN(key, "/", 3)
	if len(parts) != 3 {
		return 0
	}
	n, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// orphanRecord is the record of a snapshot id that metadata.db does not have, if its thin device is there.
func (g *judge) orphanRecord(id uint64) *snapshotdb.Device {
	rec := g.record(id)
	if rec == nil || rec.Err != nil || len(g.snapByID[id]) > 0 || len(g.recordsByDev[rec.ID]) != 1 || g.thin != nil && !g.inPool(rec.ID) {
		return nil
	}
	return rec
}

// proveByLinks uses v1/parents: an entry there still says which id the lost key had.
func (g *judge) proveByLinks(lost []int) {
	want := map[string]int{}
	for _, i := range lost {
		want[g.meta.Entries[i].Name] = i
	}
	for k := range g.store.Links {
		l := &g.store.Links[k]
		i, ok := want[l.Key]
		if !ok || l.Err != nil {
			continue
		}
		if rec := g.orphanRecord(l.Child); rec != nil {
			g.byEntry[i] = proof{id: l.Child, rec: rec, dev: rec.ID, how: "v1/parents still says that it was snapshot " + strconv.FormatUint(l.Child, 10)}
		}
	}
}

// lostParentID is the snapshot id of an entry's parent, 0 for a base; ok is false when it is not known.
func (g *judge) lostParentID(i int) (id uint64, ok bool) {
	e := &g.meta.Entries[i]
	if e.Parent == "" {
		return 0, true
	}
	p, ok := g.entryByKey[nsKey{e.Namespace, e.Parent}]
	if !ok {
		return 0, false
	}
	if s := g.snapshotNamed(g.meta.Entries[p].Name); s != nil && s.Err == nil {
		return s.ID, true
	}
	pr, ok := g.byEntry[p]
	return pr.id, ok && pr.id != 0
}

// proveByRecords matches lost snapshots with records that have none: those of one parent, in order, when there are as many of the
// one as of the other.
func (g *judge) proveByRecords(lost []int) {
	taken := map[uint64]bool{}
	for _, p := range g.byEntry {
		taken[p.id] = true
	}
	orphans := map[string][]*snapshotdb.Device{}
	for i := range g.found {
		f := &g.found[i]
		if f.Class != NoSnapshot && f.Class != BlocksNextID {
			continue
		}
		id, _ := f.rec.SnapshotID()
		if rec := g.orphanRecord(id); rec != nil && !taken[id] {
			orphans[rec.Parent] = append(orphans[rec.Parent], rec)
		}
	}
	// Parents come before children in lost, so one round after another reaches all depths; each round proves one at least.
	again := true
	for round := 0; again && round < maxGenerations; round++ {
		again = false
		for parent, group := range g.groupLost(lost) {
			recs := orphans[parent]
			if len(recs) == 0 || len(recs) != len(group) {
				continue
			}
			sort.Slice(recs, func(a, b int) bool { x, _ := recs[a].SnapshotID(); y, _ := recs[b].SnapshotID(); return x < y })
			for k, i := range group {
				id, _ := recs[k].SnapshotID()
				g.byEntry[i] = proof{id: id, rec: recs[k], dev: recs[k].ID, how: "the only records left over with this parent, in the order in which they were made"}
			}
			delete(orphans, parent)
			again = true
		}
	}
}

// groupLost groups the lost entries that are not proven yet by the device name of their parent.
func (g *judge) groupLost(lost []int) map[string][]int {
	out := map[string][]int{}
	for _, i := range lost {
		if _, done := g.byEntry[i]; done {
			continue
		}
		id, ok := g.lostParentID(i)
		if !ok {
			continue
		}
		name := ""
		if id != 0 {
			name = snapshotdb.DeviceName(g.prefix(), id)
		}
		out[name] = append(out[name], i)
	}
	return out
}

// prefix is what the names of the pool's devices begin with.
func (g *judge) prefix() string {
	if g.foreign != "" {
		return g.foreign
	}
	return g.poolName
}

// proveByStrays matches lost snapshots whose records are lost as well with strays: all children of one parent, as many of the one as of the other.
func (g *judge) proveByStrays(lost []int, strays []*thinmeta.Device) {
	groups := g.groupLost(lost)
	if len(groups) != 1 || len(strays) == 0 || len(strays) > 1000 {
		return
	}
	for _, group := range groups {
		if len(group) != len(strays) {
			return
		}
		id, ok := g.lostParentID(group[0])
		if !ok || id == 0 {
			return
		}
		parent := g.snapshot(id)
		for _, t := range strays {
			if !g.childOf(t, parent) {
				return
			}
		}
		for k, i := range group {
			g.byEntry[i] = proof{dev: strays[k].ID, how: "as many devices without a record as lost snapshots, all made from the same parent, in the order in which they were made"}
		}
	}
}

// linkProofs groups what belongs together: a record without a snapshot follows from the lost snapshot that it is the device of.
func (g *judge) linkProofs() {
	why := map[string]string{}
	for i := range g.found {
		f := &g.found[i]
		if f.Class != DanglingBackend {
			continue
		}
		if p, ok := g.byEntry[f.ent]; ok && p.rec != nil {
			why[p.rec.Key] = f.key()
		} else if ok {
			why[devSubject(p.dev)] = f.key()
		}
	}
	for i := range g.found {
		f := &g.found[i]
		switch f.Class {
		case NoSnapshot, BlocksNextID:
			if f.cause = why[f.Subject]; f.cause == "" {
				f.cause = g.doubled
			}
		}
	}
}

// provenDevice is the device of an unreadable record, nil if it cannot be told.
func (g *judge) provenDevice(rec *snapshotdb.Device) *thinmeta.Device { return g.byRecord[rec.Key] }

// provenFor is the device of a snapshot without a record.
func (g *judge) provenFor(s *snapshotdb.Snapshot) *thinmeta.Device { return g.bySnap[s.Key] }

// provenRecord tells whether what a finding misses can be written again.
func (g *judge) provenRecord(f *judged) bool {
	switch f.Class {
	case DanglingBackend:
		_, ok := g.byEntry[f.ent]
		return ok
	case ParentMissing:
		for _, i := range g.entriesByName[f.snap.Parent] {
			if _, ok := g.byEntry[i]; ok {
				return true
			}
		}
	case MetaParentMissing:
		return g.forgottenEntry(g.meta.Entries[f.ent].Namespace, g.meta.Entries[f.ent].Parent) != nil
	case ContainerDangling:
		ns, _, _ := strings.Cut(f.PathOr(""), "/")
		return g.forgottenEntry(ns, g.containerKey(f)) != nil
	}
	return false
}

// containerKey is the snapshot key that the container of a finding names.
func (g *judge) containerKey(f *judged) string { return f.facts().Key }

// forgottenEntry is the snapshot of metadata.db that an entry with that key must have named: the only one that nobody refers to whose
// backend key ends in it.
func (g *judge) forgottenEntry(ns, key string) *snapshotdb.Snapshot {
	if backend := g.forgotten[nsKey{ns, key}]; backend != "" {
		return g.snapshotNamed(backend)
	}
	return nil
}

// proposeSwap tells whether exchanging the device ids of the two records of an identity finding is the whole answer: the devices are in
// order afterwards, and no parent's blocks speak against it.
func (g *judge) proposeSwap(f *judged) bool {
	a, b, two := strings.Cut(f.Subject, ",")
	if !two {
		return false
	}
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		id, _ := (&snapshotdb.Device{Key: pair[0]}).SnapshotID()
		other, _ := (&snapshotdb.Device{Key: pair[1]}).SnapshotID()
		s, rec := g.snapshot(id), g.record(other)
		if s == nil || rec == nil {
			return false
		}
		p := g.parentOf(s)
		if p == nil {
			continue
		}
		if pr := g.recordOf(p); pr != nil && g.inPool(pr.ID) && pr.ID != rec.ID && g.device(pr.ID).Mapped > 0 {
			if shared, sure := g.thin.shares(g.ctx, rec.ID, pr.ID); sure && !shared {
				return false
			}
		}
	}
	return true
}
