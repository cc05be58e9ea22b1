package devmapper

import (
	"sort"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
)

// identity asks whether records lead to the thin devices that were made for them. Two things must hold: a child's device shares
// blocks with its parent's and is younger; and devices of later snapshots were created later, since a snapshot gets its id
// and its device in one transaction.
func (g *judge) identity() {
	if g.pool == nil || g.thin == nil || g.store == nil || !g.thin.whole || g.wrongPool() != "" {
		return
	}
	owners := g.owners()
	swapped := g.swaps(owners)
	for i := range owners {
		o := &owners[i]
		if swapped[o.rec.Key] {
			continue
		}
		g.descent(o)
	}
}

// owner is a snapshot with its record and device.
type owner struct {
	id   uint64
	rec  *snapshotdb.Device
	snap *snapshotdb.Snapshot
	time uint32 // when the thin device was created
}

// owners lists the snapshots whose record and device are beyond doubt, by snapshot id.
func (g *judge) owners() []owner {
	var out []owner
	for i := range g.store.Snapshots {
		s := &g.store.Snapshots[i]
		rec := g.recordOf(s)
		if s.Err != nil || rec == nil || len(g.snapByID[s.ID]) != 1 || len(g.recordsByDev[rec.ID]) != 1 || !g.inPool(rec.ID) {
			continue
		}
		out = append(out, owner{s.ID, rec, s, g.device(rec.ID).Details.CreationTime})
	}
	sort.Slice(out, func(a, b int) bool { return out[a].id < out[b].id })
	return out
}

// swaps reports pairs of records whose device ids are exchanged: the only ones out of order, and in order after an exchange.
func (g *judge) swaps(owners []owner) map[string]bool {
	var down []int // owners[i] is younger than owners[i+1]
	for i := 0; i+1 < len(owners); i++ {
		// A snapshot that was written again has a new, high id but its old time, and so an older device rightly.
		if owners[i].time > owners[i+1].time && !owners[i].snap.Created.After(owners[i+1].snap.Created) {
			down = append(down, i)
		}
	}
	found := map[string]bool{}
	for k := 0; k < len(down); k++ {
		i := down[k]
		// A pair that is exchanged over a distance makes two steps down: one behind the first, one before the second.
		j := i + 1
		if k+1 < len(down) && g.fits(owners, i, down[k+1]+1) {
			j = down[k+1] + 1
			k++
		} else if !g.fits(owners, i, j) {
			g.disorder(&owners[i], &owners[i+1])
			continue
		}
		a, b := &owners[i], &owners[j]
		found[a.rec.Key], found[b.rec.Key] = true, true
		f := g.add(IdentityWrong, a.rec.Key+","+b.rec.Key, "", recordEvidence(a.rec), recordEvidence(b.rec),
			says(witThin, "device %d was created at pool time %d, device %d at %d, but their snapshots in the other order", a.rec.ID, a.time, b.rec.ID, b.time))
		f.about(a.rec, a.snap, nil).path(g.userOf(a.snap)).with(detail{Want: b.rec.Key, Have: a.rec.Key})
		f.Evidence = append(f.Evidence, g.swapProof(a, b)...)
	}
	return found
}

// fits tells whether the owners are in order around i and j once their times are exchanged.
func (g *judge) fits(o []owner, i, j int) bool {
	at := func(k int) uint32 {
		switch k {
		case i:
			return o[j].time
		case j:
			return o[i].time
		}
		return o[k].time
	}
	for _, k := range []int{i - 1, i, j - 1, j} {
		if k >= 0 && k+1 < len(o) && at(k) > at(k+1) {
			return false
		}
	}
	return true
}

// swapProof says what the parents' blocks tell about an exchange.
func (g *judge) swapProof(a, b *owner) []finding.Evidence {
	var ev []finding.Evidence
	for _, p := range [][2]*owner{{a, b}, {b, a}} {
		parent := g.parentOf(p[0].snap)
		if parent == nil {
			continue
		}
		pr := g.recordOf(parent)
		if pr == nil {
			continue
		}
		now, sure1 := g.thin.shares(g.ctx, p[0].rec.ID, pr.ID)
		then, sure2 := g.thin.shares(g.ctx, p[1].rec.ID, pr.ID)
		if sure1 && sure2 {
			ev = append(ev, says(witThin, "device %d shares blocks with device %d of its parent: %t; device %d does: %t", p[0].rec.ID, pr.ID, now, p[1].rec.ID, then))
		}
	}
	return ev
}

func (g *judge) disorder(a, b *owner) {
	g.add(IdentityWrong, b.rec.Key, "", recordEvidence(a.rec), recordEvidence(b.rec),
		says(witThin, "device %d of snapshot %d was created at pool time %d, after device %d of snapshot %d (%d)", a.rec.ID, a.id, a.time, b.rec.ID, b.id, b.time)).
		about(b.rec, b.snap, nil).path(g.userOf(b.snap))
}

// descent judges one device against that of its parent.
func (g *judge) descent(o *owner) {
	parent := g.parentOf(o.snap)
	if parent == nil {
		if o.snap.Parent == "" && o.snap.Kind == snapshotdb.KindCommitted {
			g.empty(o, says(witStore, "snapshot %d is committed: a file system was made on it and written to", o.id))
		}
		return
	}
	pr := g.recordOf(parent)
	if pr == nil || !g.inPool(pr.ID) || len(g.recordsByDev[pr.ID]) != 1 {
		return
	}
	pd, cd := g.device(pr.ID), g.device(o.rec.ID)
	if pd.Mapped > 0 && g.empty(o, says(witThin, "device %d of its parent has %d blocks mapped", pr.ID, pd.Mapped)) {
		return
	}
	var ev []finding.Evidence
	if pd.Mapped > 0 && cd.Mapped > 0 {
		if shared, sure := g.thin.shares(g.ctx, o.rec.ID, pr.ID); sure && !shared {
			ev = append(ev, says(witThin, "device %d shares no block with device %d of its parent", o.rec.ID, pr.ID))
		}
	}
	if cd.Details.CreationTime < pd.Details.CreationTime {
		ev = append(ev, says(witThin, "device %d was created at pool time %d, device %d of its parent at %d", o.rec.ID, cd.Details.CreationTime, pr.ID, pd.Details.CreationTime))
	}
	if len(ev) == 0 {
		return
	}
	f := g.add(IdentityWrong, o.rec.Key, "", append([]finding.Evidence{recordEvidence(o.rec), says(witStore, "the parent of snapshot %d is snapshot %d", o.id, parent.ID)}, ev...)...)
	f.about(o.rec, o.snap, cd).path(g.userOf(o.snap))
}

// empty reports a device that holds nothing, and tells whether it does; why says that it must have held something. What the details count
// but the tree lacks is damage of the metadata, which has findings of its own.
func (g *judge) empty(o *owner, why finding.Evidence) bool {
	d := g.device(o.rec.ID)
	if d.Mapped > 0 || d.Details.MappedBlocks > 0 || d.Unreadable || !d.HasMapping {
		return false
	}
	g.add(DeviceEmpty, o.rec.Key, "", recordEvidence(o.rec), g.devEvidence(o.rec.ID), why).
		with(g.deviceDetail(o.rec.ID, o.id, o.rec.State)).about(o.rec, o.snap, d).path(g.userOf(o.snap))
	return true
}
