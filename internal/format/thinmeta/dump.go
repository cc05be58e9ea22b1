package thinmeta

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// Dump is the metadata of a thin pool as thin_dump writes it. It answers the same questions as File, from memory: 32 bytes for each
// run of mappings. The methods may be used from several goroutines at once.
type Dump struct {
	super  Superblock
	bodies []body // definitions (shared subtrees), in the order of the file, and devices
	byID   []dumpDevice
	runs   []Run // of all bodies

	once   sync.Once
	counts []Device // by byID
	used   uint64   // data blocks that are mapped at all
	mapped uint64   // mappings, those of definitions once
}

type dumpDevice struct {
	id      uint32
	details Details
	body    int
}

// body is a list of mappings in virtual order, of a device or of a definition.
type body struct {
	segs   []segment
	first  uint64 // lowest virtual block, when segs is not empty
	next   uint64 // highest virtual block + 1: nothing below may follow
	full   bool   // the last virtual block there can be is mapped: nothing may follow
	mapped uint64 // virtual blocks
	newest uint32
	height int    // of nested definitions
	outlaw uint64 // a data block that the pool does not have, 0 for none
}

// segment is a stretch of Dump.runs, or, when def is not negative, all of a definition.
type segment struct {
	def    int
	off, n int
}

// Super gives what the superblock element says. XML does not say how large the metadata is or where anything lies.
func (d *Dump) Super() (Superblock, []Problem) { return d.super, nil }

// Devices lists the devices with their counts. The error is always nil.
func (d *Dump) Devices() ([]Device, error) {
	d.once.Do(d.count)
	return slices.Clone(d.counts), nil
}

// Report gives what can be told without space maps.
func (d *Dump) Report() *Report {
	devices, _ := d.Devices()
	s := d.super
	r := &Report{Super: s, Devices: devices, DataBlocks: s.Data.Blocks, DataUsed: d.used, Mappings: d.mapped, Complete: true}
	c := checker{f: &File{super: s, blocks: maxBlocks}, report: r, details: &tree{}, top: &tree{}}
	c.superFacts()
	for i := range devices {
		c.judgeDevice(&devices[i])
		if b := d.bodies[d.byID[i].body]; b.outlaw > 0 {
			c.problems.add(Problem{Kind: NodeInvalid, Device: int64(devices[i].ID), Want: s.Data.Blocks, Have: b.outlaw, Text: fmt.Sprintf(
				"device %d maps data block %d, but there are %d", devices[i].ID, b.outlaw, s.Data.Blocks)})
		}
	}
	if d.used >= s.Data.Blocks && s.Data.Blocks > 0 {
		c.problems.add(Problem{Kind: OutOfDataSpace, Device: NoDevice, Want: s.Data.Blocks, Have: d.used,
			Text: fmt.Sprintf("all %d data blocks are in use", s.Data.Blocks)})
	}
	r.Problems, r.More = c.problems.list, c.problems.more
	return r
}

// Runs gives the mappings of a device in virtual order, neighbours joined. The only error wraps ErrNoDevice.
func (d *Dump) Runs(id uint32) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		i, ok := d.find(id)
		if !ok {
			yield(Run{}, fmt.Errorf("device %d: %w", id, ErrNoDevice))
			return
		}
		var last Run
		ok = d.each(d.byID[i].body, func(r Run) bool {
			if last.joins(r) {
				last.Length += r.Length
				return true
			}
			done := last
			last = r
			return done.Length == 0 || yield(done, nil)
		})
		if ok && last.Length > 0 {
			yield(last, nil)
		}
	}
}

// each gives the runs of a body. Nested definitions have a bounded height.
func (d *Dump) each(b int, visit func(Run) bool) bool {
	for _, s := range d.bodies[b].segs {
		if s.def >= 0 {
			if !d.each(s.def, visit) {
				return false
			}
			continue
		}
		for _, r := range d.runs[s.off : s.off+s.n] {
			if !visit(r) {
				return false
			}
		}
	}
	return true
}

// Shares says whether two devices map a common data block. See File.Shares for the bounds.
func (d *Dump) Shares(ctx context.Context, a, b uint32) (shared, complete bool, err error) {
	ia, okA := d.find(a)
	ib, okB := d.find(b)
	if !okA || !okB {
		missing := a
		if okA {
			missing = b
		}
		return false, false, fmt.Errorf("device %d: %w", missing, ErrNoDevice)
	}
	refs := map[int]bool{}
	for _, s := range d.bodies[d.byID[ia].body].segs {
		refs[s.def] = s.def >= 0
	}
	for _, s := range d.bodies[d.byID[ib].body].segs {
		if refs[s.def] && d.bodies[s.def].mapped > 0 {
			return true, true, nil
		}
	}
	return sharesRuns(ctx, d, a, b)
}

func (d *Dump) find(id uint32) (int, bool) {
	return slices.BinarySearchFunc(d.byID, id, func(e dumpDevice, id uint32) int { return cmp.Compare(e.id, id) })
}

// edge is where a run begins or ends on the data device.
type edge struct {
	at    uint64
	step  int64 // +1 or -1
	owner int64 // index into byID plus 1, 0 when several devices have the run
}

// count works out Devices: what is in the bodies, and which data blocks one run of one device has alone.
func (d *Dump) count() {
	d.counts = make([]Device, len(d.byID))
	for i, e := range d.byID {
		b := &d.bodies[e.body]
		d.counts[i] = Device{ID: e.id, Details: e.details, HasDetails: true, HasMapping: true, Mapped: b.mapped, Newest: b.newest, Highest: b.next}
		if b.full {
			d.counts[i].Highest = ^uint64(0)
		}
	}
	edges := make([]edge, 0, 2*len(d.runs))
	for i, owner := range d.owners() {
		for _, s := range d.bodies[i].segs {
			if s.def >= 0 {
				continue
			}
			for _, r := range d.runs[s.off : s.off+s.n] {
				d.mapped += r.Length
				edges = append(edges, edge{r.Data, 1, owner}, edge{r.Data + r.Length, -1, owner})
			}
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	var here, owners int64 // runs at this block, and the sum of their owners
	for i, e := range edges {
		here, owners = here+e.step, owners+e.step*e.owner
		if i+1 == len(edges) || here == 0 {
			continue
		}
		length := edges[i+1].at - e.at
		d.used += length
		if here == 1 && owners > 0 {
			d.counts[owners-1].Exclusive += length
		}
	}
}

// owners gives for each body the only device (index plus 1) that has its mappings, 0 for none or several.
func (d *Dump) owners() []int64 {
	const several = -1
	out := make([]int64, len(d.bodies))
	for i, e := range d.byID {
		out[e.body] = int64(i) + 1
	}
	// A body refers only to definitions before it.
	for i := len(d.bodies) - 1; i >= 0; i-- {
		for _, s := range d.bodies[i].segs {
			switch {
			case s.def < 0 || out[i] == 0 || out[s.def] == out[i]:
			case out[s.def] == 0:
				out[s.def] = out[i]
			default:
				out[s.def] = several
			}
		}
	}
	for i, o := range out {
		out[i] = max(o, 0)
	}
	return out
}

func compareData(a, b Run) int { return cmp.Compare(a.Data, b.Data) }
