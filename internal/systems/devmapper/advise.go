package devmapper

import (
	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// advise says what can be done about one finding and what is suggested. Deleting a thin device is suggested only where the pool is a
// file, so that it can be undone, and only when nothing that is lost elsewhere could be on it.
func (g *judge) advise(f *judged) {
	if cause, ok := g.index[f.cause]; ok && f.cause != "" {
		g.adviseConsequence(f, &g.found[cause])
		return
	}
	switch f.Class {
	case BlocksNextID, NoSnapshot:
		g.adviseOrphan(f)
	case LeakedDevice, FreeIDInPool:
		g.adviseLeak(f)
	case UnknownInPool:
		g.adviseUnknown(f)
	case NotInPool:
		g.adviseLost(f)
	case StateStuck, StateInvalid, RemovedLive, FaultyLive:
		g.adviseState(f)
	case NoDevice:
		g.adviseNoDevice(f)
	case RecordUnparsable:
		if g.provenDevice(f.rec) != nil {
			f.offer("the only thin device without a record shares blocks with the parent: --policy "+f.Class+"=recreate writes the record again", finding.Ignore, finding.Recreate)
		} else {
			f.offer("which thin device it had cannot be proven", finding.Ignore)
		}
	case DanglingBackend, ParentMissing, MetaParentMissing, ContainerDangling, SnapshotUnparsable:
		g.adviseRecreate(f)
	case IdentityWrong:
		f.offer("which record is right is for a person to decide", finding.Ignore)
		if f.rec != nil && g.proposeSwap(f) {
			f.offer("the blocks that devices share prove the exchange; it is made only when asked for", finding.Ignore, finding.Rewrite)
		}
	}
}

// adviseConsequence gives a finding that follows from another what the other is given, so that both are decided together.
func (g *judge) adviseConsequence(f, cause *judged) {
	switch {
	case cause.Class == BlocksNextID || cause.Class == NoSnapshot:
		g.advise(cause)
		f.like(cause)
	case cause.Class == StateStuck || cause.Class == RemovedLive:
		f.offer("containerd's next garbage collection finishes the removal", finding.Ignore)
		if f.Class == NotInPool {
			f.severity(finding.Info)
		}
	default:
		f.offer("follows from another finding, and goes with it", finding.Ignore)
	}
}

// like offers what the cause offers, as far as the class has it.
func (f *judged) like(cause *judged) {
	class, _ := Classes.Lookup(f.Class)
	var both []finding.Action
	for _, a := range cause.Actions {
		if a == finding.Ignore || class.Offers(a) {
			both = append(both, a)
		}
	}
	f.Actions, f.Suggested, f.Why = both, both[0], "goes with the record"
	if both[0] != cause.Suggested {
		f.Prefer(finding.Ignore, "goes with the record")
	}
}

// freshBase and freshChild bound what a new file system may have mapped before anybody wrote to it: mkfs.ext4 writes inode tables and journal.
const (
	freshBase  = 256 << 20 // bytes, and a twentieth of the device
	freshChild = 16 << 20
)

// fresh tells whether a device holds no more than what making it wrote.
func (g *judge) fresh(t *thinmeta.Device, size uint64) bool {
	if t == nil {
		return true
	}
	excl := t.Exclusive * g.blockBytes()
	if t.Mapped > t.Exclusive {
		return excl <= freshChild
	}
	return excl <= freshBase+size/20
}

// count counts what the advice depends on. Something is lost when it is missing from a layer, or when a layer could not be read
// as a whole.
func (g *judge) count() {
	for i := range g.found {
		f := &g.found[i]
		switch f.Class {
		case NoSnapshot, BlocksNextID:
			g.orphans++
		case UnknownInPool:
			g.strangers++
		case DanglingBackend, ParentMissing, RecordUnparsable, SnapshotUnparsable, MetaUnparsable, SnapshotDuplicate, BackendDuplicate, DuplicateDevice:
			g.lost++
		case NoDevice:
			if g.referenced(f.snap) {
				g.lost++
			}
		}
	}
	if !g.wholePool || !g.wholeStore || !g.wholeMeta {
		g.lost++
	}
}

// manyOrphans tells whether so many records lack a snapshot that metadata.db rather looks rolled back.
func (g *judge) manyOrphans() bool { return g.orphans > max(3, g.recordCount()/20) }

// lostElsewhere tells whether something that is missing from another layer could be the device: then it must be kept.
func (g *judge) lostElsewhere() bool { return g.lost > 0 }

func (g *judge) adviseOrphan(f *judged) {
	blocks := f.Class == BlocksNextID
	here := g.thin != nil && g.device(f.rec.ID) != nil
	var keep []finding.Action
	if blocks {
		keep = []finding.Action{MarkFaulty, RaiseSequence}
	} else {
		keep = []finding.Action{finding.Ignore}
	}
	switch {
	case g.thin == nil:
		// Freeing the id of a device that is there after all would make containerd fail with "file exists".
		f.offer("the thin pool was not read, so nobody knows whether it has the device: nothing is deleted", keep...)
	case !g.thin.whole:
		f.offer("the thin metadata is damaged: no device is deleted before it is mended", keep...)
	case g.lostElsewhere():
		if blocks {
			f.offer("containerd refers to snapshots that metadata.db does not have, and this device may hold one of them: it is kept and out of the way", RaiseSequence, MarkFaulty, finding.Discard)
			return
		}
		f.offer("containerd refers to snapshots that metadata.db does not have, and this device may hold one of them", append(keep, finding.Discard)...)
	case g.manyOrphans():
		// Marking them Faulty would take whole images out of use that a newer copy of metadata.db still knows.
		why := "so many records have no snapshot that metadata.db looks older than the pool, or is another node's: nothing is changed unless asked for"
		if blocks {
			f.offer(why, finding.Ignore, RaiseSequence, MarkFaulty, finding.Discard)
			return
		}
		f.offer(why, append(keep, finding.Discard)...)
	case !here:
		f.offer("there is no thin device to lose", finding.Discard, MarkFaulty)
	case !g.fresh(f.thin, f.rec.Size):
		f.offer("the device holds more than a new file system: it is kept", append(keep, finding.Discard)...)
	case g.open[f.rec.ID] > 0:
		f.offer("somebody has the thin device open: it is not deleted", keep...)
	case g.live:
		f.offer("on a live pool a device is deleted only when asked for: --policy "+f.Class+"=discard --allow "+f.Class+"/discard", append(keep, finding.Discard)...)
	case g.fixed != "":
		f.offer(g.fixed, keep...)
	default:
		f.offer("no snapshot ever used the device", append([]finding.Action{finding.Discard}, keep...)...)
	}
}

// adviseLeak is about a thin device without a record, whose id is known.
func (g *judge) adviseLeak(f *judged) {
	first := finding.Ignore
	if f.Class == FreeIDInPool {
		first = BlockID
	}
	switch {
	case g.lostElsewhere():
		f.offer("something that another layer lacks may be on it", first, finding.Discard)
	case g.strangers > 0:
		f.offer("the pool has devices that are not containerd's: it is shared with somebody", first, finding.Discard)
	case !g.fresh(f.thin, 0) && !g.kin(f.thin):
		f.offer("it holds data and shares no block with any device of containerd", first, finding.Discard)
	case g.open[f.dev] > 0:
		f.offer("somebody has the thin device open: it is not deleted", first)
	case g.live:
		f.offer("on a live pool a device is deleted only when asked for: --policy "+f.Class+"=discard --allow "+f.Class+"/discard", first, finding.Discard)
	case g.fixed != "":
		f.offer(g.fixed, first)
	case f.Class == FreeIDInPool:
		f.offer("no record of any database refers to it", finding.Discard, BlockID)
	default:
		f.offer("no record refers to it", finding.Discard)
	}
}

// kin tells whether the device shares blocks with others.
func (g *judge) kin(t *thinmeta.Device) bool { return t.Mapped > t.Exclusive }

// sequenceLimit is the highest id to which the sequence is raised without being asked: half of all there are.
const sequenceLimit = thinmeta.MaxDevice / 2

func (g *judge) adviseUnknown(f *judged) {
	switch {
	case f.Severity == finding.Info:
		f.offer("containerd never gives this id out; the device is left to its owner", finding.Ignore, finding.Discard)
	case f.dev > sequenceLimit:
		f.offer("the id is so high that containerd will not come to it", finding.Ignore, finding.Discard)
	default:
		f.offer("containerd would fail when it comes to this id; the device itself may be somebody else's and is left alone", RaiseSequence, finding.Discard)
	}
}

func (g *judge) adviseLost(f *judged) {
	if f.rec.State == snapshotdb.Faulty {
		f.severity(finding.Info)
		f.offer("containerd knows that the device cannot be used; remove what ran on it", finding.Ignore, finding.Discard)
		return
	}
	f.offer("the content is lost; --policy "+f.Class+"=mark-faulty lets the plugin load, and changes nothing else", finding.Ignore, MarkFaulty, finding.Discard)
}

func (g *judge) adviseState(f *judged) {
	there := g.thin != nil && g.inPool(f.rec.ID)
	switch {
	case f.snap == nil:
		f.offer("without its snapshot the right state is not known", finding.Ignore)
	case f.rec.State == snapshotdb.Removed && g.referenced(f.snap):
		f.offer("containerd still needs the snapshot, and its next cleanup deletes the device", finding.Rewrite)
	case (f.rec.State == snapshotdb.Removed || f.rec.State == snapshotdb.Removing) && !g.referenced(f.snap):
		f.severity(finding.Info)
		f.offer("containerd's next garbage collection finishes the removal", finding.Ignore)
	case !there && (g.thin == nil || !g.thin.whole):
		f.offer("the thin pool was not read as a whole, so nobody knows whether it has the device; an Activated record without one keeps the plugin from loading", finding.Ignore, finding.Rewrite)
	case !there:
		f.offer("the thin device is gone: see the finding about that", finding.Ignore, MarkFaulty)
	default:
		f.offer("snapshot and thin device are there", finding.Rewrite)
	}
}

// goodState is the state that the record of a snapshot's device ought to be in when nothing is under way.
func goodState(s *snapshotdb.Snapshot) snapshotdb.State {
	if s.Kind == snapshotdb.KindCommitted {
		return snapshotdb.Deactivated
	}
	return snapshotdb.Activated
}

func (g *judge) adviseNoDevice(f *judged) {
	dev := g.provenFor(f.snap)
	switch {
	case dev != nil:
		f.offer("one thin device without a record shares blocks with the parent: --policy "+f.Class+"=recreate writes its record", finding.Ignore, finding.Recreate)
	case g.meta != nil && g.wholeMeta && !g.referenced(f.snap) && !g.hasChildren(f.snap):
		f.offer("containerd does not refer to it, and each garbage collection fails at it", finding.Discard)
	default:
		f.offer("containerd refers to it: its content is lost", finding.Ignore, finding.Discard)
	}
}

// hasChildren tells whether other snapshots are made from s.
func (g *judge) hasChildren(s *snapshotdb.Snapshot) bool {
	if g.parents == nil {
		g.parents = map[string]bool{}
		for i := range g.store.Snapshots {
			g.parents[g.store.Snapshots[i].Parent] = true
		}
	}
	return g.parents[s.Key]
}

// adviseRecreate is about records that can be written again when the other layers leave one possibility.
func (g *judge) adviseRecreate(f *judged) {
	if g.provenRecord(f) {
		f.offer("the other layers prove what it was: --policy "+f.Class+"=recreate writes it again", finding.Ignore, finding.Recreate)
	} else {
		f.offer("what it was cannot be proven from the other layers", finding.Ignore)
	}
	if f.Class == DanglingBackend {
		f.Actions = append(f.Actions, finding.Unlink)
	}
}
