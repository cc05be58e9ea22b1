package devmapper

import (
	"fmt"
	"slices"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// values judges fields that can be decoded, but with which containerd cannot work.
func (g *judge) values() {
	g.undecodable()
	g.exchanged()
	g.spent()
	if g.store == nil {
		return
	}
	g.kinds()
	for i := range g.store.Snapshots {
		if s := &g.store.Snapshots[i]; s.Err == nil {
			g.fileSystem(s)
		}
	}
}

// undecodable reports records of meta.db beside snapshots that containerd refuses to read, and with them whole lists.
func (g *judge) undecodable() {
	if g.meta == nil {
		return
	}
	tell := func(what, ns, id string, err error) {
		if err != nil {
			g.add(MetaUnparsable, what+" "+id, "", says(witMeta+" "+what+" "+ns+"/"+id, "%v", err)).path(ns + "/" + id)
		}
	}
	for _, c := range g.meta.Containers {
		tell("container", c.Namespace, c.ID, c.Err)
	}
	for _, l := range g.meta.Leases {
		tell("lease", l.Namespace, l.ID, l.Err)
	}
	for _, i := range g.meta.Images {
		tell("image", i.Namespace, i.Name, i.Err)
	}
}

// exchanged reports two entries each of which has the backend snapshot that was made for the other: a backend key ends in the key that
// the snapshot was made for. Parents tell nothing when both are made from one image.
func (g *judge) exchanged() {
	if g.meta == nil {
		return
	}
	for i := range g.meta.Entries {
		e := &g.meta.Entries[i]
		key := keyInBackend(e.Name)
		k, ok := g.entryByKey[nsKey{e.Namespace, key}]
		if e.Err != nil || !ok || key <= e.Key || keyInBackend(g.meta.Entries[k].Name) != e.Key {
			continue // each pair is told once
		}
		g.add(IdentityWrong, "entries "+e.Key+","+key, "", g.entryEvidence(i), g.entryEvidence(k), says("rule", "a backend key ends in the key that it was made for")).
			path(g.entryName(i)).with(detail{Namespace: e.Namespace, Key: e.Key, Have: e.Name, Want: g.meta.Entries[k].Name})
	}
}

// keyInBackend is the user's key in a backend key NAMESPACE/SEQUENCE/KEY, "" if it has another form.
func keyInBackend(backend string) string {
	parts := strings.SplitN(backend, "/", 3)
	if len(parts) != 3 {
		return ""
	}
	return parts[2]
}

// maxSnapshotID is the highest sequence of snapshots that is believed: half of all there are, which no node can have given out.
const maxSnapshotID = 1 << 63

// spent reports sequences behind which there are no ids left.
func (g *judge) spent() {
	if g.pool != nil && g.pool.Sequence >= thinmeta.MaxDevice {
		var top uint64
		for i := range g.pool.IDs {
			top = max(top, uint64(g.pool.IDs[i].ID))
		}
		for id := range g.recordsByDev {
			top = max(top, uint64(id))
		}
		for id := range g.thinByDev {
			top = max(top, uint64(id))
		}
		g.spentAt("device_ids sequence", witPool+" device_ids", g.pool.Sequence, thinmeta.MaxDevice, top)
	}
	if g.store != nil && g.store.Sequence >= maxSnapshotID {
		var top uint64
		for id := range g.snapByID {
			top = max(top, id)
		}
		for id := range g.recordByID {
			top = max(top, id)
		}
		g.spentAt("v1/snapshots sequence", witStore, g.store.Sequence, maxSnapshotID, top)
	}
}

func (g *judge) spentAt(subject, witness string, have, most, top uint64) {
	f := g.add(SequenceSpent, subject, "", says(witness, "sequence %d; ids can be given out up to %d", have, most), says("all layers", "the highest id in use is %d", top)).
		with(detail{Have: fmt.Sprint(have), Want: fmt.Sprint(top)})
	if top < most && g.wholePool && g.wholeStore {
		f.offer("all ids above "+fmt.Sprint(top)+" are unused in every layer: --policy "+f.Class+"=rewrite lowers the sequence", finding.Ignore, finding.Rewrite)
	} else {
		f.offer("which ids are unused is not known", finding.Ignore)
	}
}

// kinds reports snapshots whose kind does not fit what they are used for: something is built on them, or a container runs on them.
func (g *judge) kinds() {
	tell := func(s *snapshotdb.Snapshot, want snapshotdb.Kind, use string) {
		f := g.add(KindWrong, s.Key, "", says(witStore+" "+s.Key, "snapshot %d is %s", s.ID, s.Kind), says(witMeta, "%s", use)).
			about(nil, s, nil).path(g.userOf(s)).with(detail{SnapshotID: &s.ID, Have: s.Kind.String(), Want: want.String()})
		f.offer("its use tells what it was: --policy "+f.Class+"=rewrite sets it to "+want.String(), finding.Ignore, finding.Rewrite)
	}
	for i := range g.store.Snapshots {
		if s := &g.store.Snapshots[i]; s.Err == nil && s.Kind != snapshotdb.KindCommitted && g.hasChildren(s) {
			tell(s, snapshotdb.KindCommitted, "other snapshots are made from it")
		}
	}
	if g.meta == nil {
		return
	}
	told := map[string]bool{}
	for i := range g.meta.Containers {
		c := &g.meta.Containers[i]
		k, ok := g.entryByKey[nsKey{c.Namespace, c.SnapshotKey}]
		if !ok {
			continue
		}
		s := g.snapshotNamed(g.meta.Entries[k].Name)
		if s != nil && s.Err == nil && s.Kind == snapshotdb.KindCommitted && !g.hasChildren(s) && !told[s.Key] {
			told[s.Key] = true
			tell(s, snapshotdb.KindActive, "container "+c.ID+" runs on it")
		}
	}
}

// fileSystems are those that the snapshotter makes.
var fileSystems = []string{"ext4", "xfs", "ext2"}

// fileSystem judges the label that says which file system is on the device. A layer without one counts as ext4; what is to be mounted
// must have one.
func (g *judge) fileSystem(s *snapshotdb.Snapshot) {
	parent, want := g.parentOf(s), ""
	if parent != nil && slices.Contains(fileSystems, parent.FSType) {
		want = parent.FSType
	}
	ev := []finding.Evidence{says(witStore+" "+s.Key, "label %s is %q", snapshotdb.LabelFSType, s.FSType)}
	switch {
	case s.FSType == "" && s.Kind == snapshotdb.KindCommitted:
		return
	case s.FSType == "" || !slices.Contains(fileSystems, s.FSType):
		ev = append(ev, says("rule", "it is one of %q", fileSystems))
	case want != "" && s.FSType != want:
		ev = append(ev, says(witStore+" "+parent.Key, "the parent has %s, and a snapshot of a device holds the same file system", want))
	default:
		return
	}
	f := g.add(FileSystemWrong, s.Key, "", ev...).about(nil, s, nil).path(g.userOf(s)).with(detail{SnapshotID: &s.ID, Have: s.FSType, Want: want})
	switch {
	case want == "":
		f.offer("which file system is on the device is not known from the databases", finding.Ignore)
	case s.FSType == "":
		f.offer("the parent has "+want, finding.Rewrite)
	default:
		f.offer("the parent has "+want+": --policy "+f.Class+"=rewrite sets that", finding.Ignore, finding.Rewrite)
	}
}

// actValue is about such fields.
func (p *planner) actValue(f *judged) (result, loses string, err error) {
	d, st := f.facts(), p.target(p.u.store)
	switch f.Class {
	case SequenceSpent:
		if f.Subject == "device_ids sequence" {
			return "sequence " + d.Want, "", p.e.set(p.target(p.u.pool), sequenceAddr(snapshotdb.BucketDeviceIDs), []byte(d.Want), "the highest id in use")
		}
		return "sequence " + d.Want, "", p.e.set(st, sequenceAddr("v1", "snapshots"), []byte(d.Want), "the highest id in use")
	case KindWrong:
		kind := snapshotdb.KindActive
		if d.Want == snapshotdb.KindCommitted.String() {
			kind = snapshotdb.KindCommitted
		}
		return "kind " + d.Want, "", p.e.set(st, boltAddr("v1", "snapshots", f.snap.Key, "kind"), []byte{byte(kind)}, "kind "+d.Want)
	}
	return "label " + d.Want, "", p.e.set(st, boltAddr("v1", "snapshots", f.snap.Key, "labels", snapshotdb.LabelFSType), []byte(d.Want), "file system "+d.Want)
}
