package devmapper

import (
	"sort"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// strays are thin devices that no record refers to, in the order in which they were made.
func (g *judge) strays() []*thinmeta.Device {
	var out []*thinmeta.Device
	for i := range g.thin.report.Devices {
		if t := &g.thin.report.Devices[i]; len(g.recordsByDev[t.ID]) == 0 && t.HasDetails && !t.Unreadable {
			out = append(out, t)
		}
	}
	sort.SliceStable(out, func(a, b int) bool { return out[a].Details.CreationTime < out[b].Details.CreationTime })
	return out
}

// proveDevices finds the devices of snapshots that have no readable record. It returns the strays that are left.
func (g *judge) proveDevices(strays []*thinmeta.Device) []*thinmeta.Device {
	type want struct {
		snap *snapshotdb.Snapshot
		name string
	}
	var wants []want
	for i := range g.found {
		if f := &g.found[i]; f.Class == NoDevice && len(g.snapByID[f.snap.ID]) == 1 {
			wants = append(wants, want{f.snap, snapshotdb.DeviceName(g.prefix(), f.snap.ID)})
		}
	}
	if rest, ok := g.proveInOrder(strays); ok {
		return rest
	}
	if len(wants) == 0 || len(wants) > 1000 || len(strays) > 1000 {
		return strays // too many to be told apart one by one
	}
	used := map[uint32]bool{}
	for _, w := range wants {
		var fit []*thinmeta.Device
		for _, t := range strays {
			if !used[t.ID] && g.couldBe(t, w.snap) {
				fit = append(fit, t)
			}
		}
		if len(fit) != 1 {
			continue
		}
		used[fit[0].ID] = true
		g.bySnap[w.snap.Key], g.byRecord[w.name] = fit[0], fit[0]
	}
	var rest []*thinmeta.Device
	for _, t := range strays {
		if !used[t.ID] {
			rest = append(rest, t)
		}
	}
	return rest
}

// proveInOrder matches all snapshots without a record with all strays, when there are as many: both in the order in which they were made. It
// holds only if every device then shares blocks with that of its parent and is younger, and if no two bases without
// children were made at the same time, since nothing tells those apart.
func (g *judge) proveInOrder(strays []*thinmeta.Device) (rest []*thinmeta.Device, ok bool) {
	var snaps []*snapshotdb.Snapshot
	for i := range g.found {
		if f := &g.found[i]; f.Class == NoDevice && len(g.snapByID[f.snap.ID]) == 1 {
			snaps = append(snaps, f.snap)
		}
	}
	if len(snaps) == 0 || len(snaps) != len(strays) {
		return nil, false
	}
	sort.Slice(snaps, func(a, b int) bool { return snaps[a].ID < snaps[b].ID })
	sort.SliceStable(strays, func(a, b int) bool {
		x, y := strays[a], strays[b]
		if x.Details.CreationTime != y.Details.CreationTime {
			return x.Details.CreationTime < y.Details.CreationTime
		}
		return x.ID < y.ID
	})
	dev := map[string]*thinmeta.Device{}
	for i, s := range snaps {
		if i > 0 && strays[i].Details.CreationTime == strays[i-1].Details.CreationTime && s.Parent == "" && !g.hasChildren(s) {
			return nil, false
		}
		if s.Parent != "" {
			d := dev[s.Parent]
			if d == nil {
				if p := g.parentOf(s); p != nil && g.recordOf(p) != nil {
					d = g.device(g.recordOf(p).ID)
				}
			}
			if d == nil || d.Details.CreationTime >= strays[i].Details.CreationTime {
				return nil, false
			}
			if shared, sure := g.thin.shares(g.ctx, strays[i].ID, d.ID); d.Mapped > 0 && (!shared || !sure) {
				return nil, false
			}
		}
		dev[s.Key] = strays[i]
	}
	for _, s := range snaps {
		g.bySnap[s.Key], g.byRecord[snapshotdb.DeviceName(g.prefix(), s.ID)] = dev[s.Key], dev[s.Key]
	}
	return nil, true
}

// couldBe tells whether a stray can be the device of a snapshot: made between the devices of the snapshots before and after it, and
// sharing blocks with the parent's.
func (g *judge) couldBe(t *thinmeta.Device, s *snapshotdb.Snapshot) bool {
	for _, dir := range []int{-1, 1} {
		n := g.neighbour(s.ID, dir)
		if n == nil || !g.inPool(n.ID) {
			continue
		}
		at := g.device(n.ID).Details.CreationTime
		if dir < 0 && at > t.Details.CreationTime || dir > 0 && at < t.Details.CreationTime {
			return false
		}
	}
	if s.Parent == "" {
		return t.Details.CreationTime == 0 || t.Mapped == t.Exclusive || g.hasChildren(s)
	}
	return g.childOf(t, g.parentOf(s))
}

// childOf tells whether t can have been made from the device of snapshot p.
func (g *judge) childOf(t *thinmeta.Device, p *snapshotdb.Snapshot) bool {
	if p == nil {
		return false
	}
	rec := g.recordOf(p)
	if rec == nil || !g.inPool(rec.ID) {
		return false
	}
	d := g.device(rec.ID)
	if d.Details.CreationTime >= t.Details.CreationTime {
		return false
	}
	if d.Mapped == 0 {
		return true
	}
	shared, sure := g.thin.shares(g.ctx, t.ID, rec.ID)
	return shared && sure
}
