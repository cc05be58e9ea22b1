package fakedm

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"fettle/internal/format/thinmeta"
)

// CreateThin is the message create_thin.
func (p *Pool) CreateThin(id uint32) error {
	i, ok := p.at(id)
	if ok {
		return unix.EEXIST
	}
	t := &Thin{ID: id, TransactionID: p.TransactionID, Created: p.Time, Snapped: p.Time}
	p.Thins = slices.Insert(p.Thins, i, t)
	return nil
}

// CreateSnap is the message create_snap. The new device shares all mappings with its origin; the pool's time goes on by one
// and both devices get the new time, which makes every mapping up to now a shared one for the kernel.
func (p *Pool) CreateSnap(id, origin uint32) error {
	i, ok := p.at(id)
	if ok {
		return unix.EEXIST
	}
	o := p.Thin(origin)
	if o == nil {
		return unix.ENODATA
	}
	p.Time++
	o.Snapped = p.Time
	t := &Thin{ID: id, TransactionID: p.TransactionID, Created: p.Time, Snapped: p.Time, Runs: slices.Clone(o.Runs)}
	p.Thins = slices.Insert(p.Thins, i, t)
	return nil
}

// Delete is the message delete. active tells that a node of the device exists.
func (p *Pool) Delete(id uint32, active bool) error {
	i, ok := p.at(id)
	if !ok {
		return unix.ENODATA
	}
	if active {
		return unix.EBUSY
	}
	p.Thins = slices.Delete(p.Thins, i, i+1)
	return nil
}

// mapping is one virtual block.
type mapping struct {
	data uint64
	time uint32
}

func expand(runs []thinmeta.Run) map[uint64]mapping {
	m := map[uint64]mapping{}
	for _, r := range runs {
		for i := range r.Length {
			m[r.Virtual+i] = mapping{r.Data + i, r.Time}
		}
	}
	return m
}

func collapse(m map[uint64]mapping) []thinmeta.Run {
	keys := make([]uint64, 0, len(m))
	for v := range m {
		keys = append(keys, v)
	}
	slices.Sort(keys)
	var out []thinmeta.Run
	for _, v := range keys {
		if n := len(out) - 1; n >= 0 {
			r := &out[n]
			if r.Virtual+r.Length == v && r.Data+r.Length == m[v].data && r.Time == m[v].time {
				r.Length++
				continue
			}
		}
		out = append(out, thinmeta.Run{Virtual: v, Data: m[v].data, Length: 1, Time: m[v].time})
	}
	return out
}

// used tells which data blocks a device maps.
func (p *Pool) used() map[uint64]bool {
	used := map[uint64]bool{}
	for _, t := range p.Thins {
		for _, r := range t.Runs {
			for i := range r.Length {
				used[r.Data+i] = true
			}
		}
	}
	return used
}

// Write does to the mappings what writing the virtual blocks [from, from+n) of a device does: a block that has no mapping,
// or one that is older than the newest snapshot, gets a new data block.
func (p *Pool) Write(id uint32, from, n uint64) error {
	t := p.Thin(id)
	if t == nil {
		return fmt.Errorf("write to thin device %d: %w", id, unix.ENODATA)
	}
	m, used, next := expand(t.Runs), p.used(), uint64(0)
	for v := from; v < from+n; v++ {
		if old, ok := m[v]; ok && old.time >= t.Snapped {
			continue
		}
		for used[next] {
			next++
		}
		if next >= p.DataBlocks {
			return fmt.Errorf("write to thin device %d: %w", id, unix.ENOSPC)
		}
		used[next] = true
		m[v] = mapping{next, p.Time}
	}
	t.Runs = collapse(m)
	return nil
}
