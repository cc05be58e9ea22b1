package thinbuild

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"fettle/internal/format/thinmeta"
)

// maxSpread bounds the mappings that a dump may hold for each one that fits in the new metadata. A range of XML is short however
// long it is, and trees with the same content take no room, so without a bound a small dump could keep a processor busy for years.
const maxSpread = 64

// FromDump builds metadata from a pool whose mappings are listed device by device, as thin_dump's XML has them, in a new file that must
// not exist. The dump says nothing of sharing; nodes that come out the same are shared. Edits.MetadataBlocks must be given:
// a dump does not say how large the metadata was. Edits.DataBlockSize and Edits.DataBlocks replace what the dump says.
//
// It also takes a File: then it is a rewrite that does not keep, but finds out, what is shared.
func FromDump(ctx context.Context, dump thinmeta.Pool, to string, e Edits) (*Comparison, error) {
	d := &dumper{ctx: ctx, from: dump, edits: e, c: &Comparison{}}
	return create(to, func(f *os.File) (*Comparison, error) { return d.run(f) })
}

// dumper is one run of FromDump.
type dumper struct {
	ctx   context.Context
	from  thinmeta.Pool
	edits Edits
	c     *Comparison
	b     *Builder
	left  uint64 // mappings that may still come
}

func (d *dumper) run(f *os.File) (*Comparison, error) {
	super, _ := d.from.Super()
	e := d.edits
	o := Options{
		MetadataBlocks: e.MetadataBlocks, DataBlocks: super.Data.Blocks, DataBlockSize: super.DataBlockSize, Time: super.Time,
		TransactionID: super.TransactionID, UUID: super.UUID, Flags: super.Flags & thinmeta.FlagNeedsCheck, ShareEqual: true,
	}
	if e.DataBlocks != 0 {
		o.DataBlocks = e.DataBlocks
	}
	if e.DataBlockSize != 0 {
		o.DataBlockSize = e.DataBlockSize
	}
	if e.TransactionID != nil {
		o.TransactionID = *e.TransactionID
	}
	if e.ClearNeedsCheck {
		o.Flags = 0
	}
	devices, err := d.from.Devices()
	if err != nil && !errors.Is(err, thinmeta.ErrDamaged) {
		return nil, err
	}
	if err != nil {
		d.c.Lost = append(d.c.Lost, err.Error())
	}
	known := map[uint32]bool{}
	for _, dev := range devices {
		known[dev.ID] = true
	}
	if err := checkEdits(e, func(id uint32) bool { return known[id] }, d.c); err != nil {
		return nil, err
	}
	if d.b, err = begin(f, o); err != nil {
		return nil, err
	}
	d.left = maxSpread * uint64(maxMappings) * o.MetadataBlocks
	nodes, details := map[uint32]Node{}, map[uint32]thinmeta.Details{}
	for _, dev := range devices {
		if dev.HasDetails {
			details[dev.ID] = dev.Details
		}
		if err := d.device(dev, nodes); err != nil {
			return nil, err
		}
	}
	raiseTime(d.b, d.c, e, details, nodes)
	return finishDevices(d.b, d.c, e, details, nodes)
}

// device builds the tree of one device.
func (d *dumper) device(dev thinmeta.Device, nodes map[uint32]Node) error {
	change := DeviceChange{ID: dev.ID, MappedBefore: dev.Details.MappedBlocks, Claimed: dev.Details.MappedBlocks, Rebuilt: !dev.HasDetails}
	if why, drop := d.edits.Drop[dev.ID]; drop {
		change.Dropped, change.Why, change.Rebuilt = true, why, false
		d.c.Devices = append(d.c.Devices, change)
		return nil
	}
	var lost loss
	var failed error
	n, err := d.b.Tree(d.runs(dev.ID, &lost, &failed))
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("device %d: %w", dev.ID, err)
	}
	nodes[dev.ID] = n
	change.MappedAfter, change.MappedBefore, change.Lost = n.Mapped(), n.Mapped()+lost.entries, lost.text()
	if lost.subtrees > 0 {
		change.MappedBefore = max(change.MappedBefore, dev.Details.MappedBlocks)
	}
	d.c.Devices = append(d.c.Devices, change)
	return nil
}

// runs gives the runs of a device that mean something; the others are losses. It ends early with failed.
func (d *dumper) runs(id uint32, lost *loss, failed *error) iter.Seq[thinmeta.Run] {
	return func(yield func(thinmeta.Run) bool) {
		for r, err := range d.from.Runs(id) {
			if err != nil {
				if !errors.Is(err, thinmeta.ErrDamaged) && !errors.Is(err, thinmeta.ErrNoDevice) {
					*failed = err
					return
				}
				lost.add(loss{subtrees: 1, first: err.Error()})
				continue
			}
			if end := d.b.o.DataBlocks; r.Data >= end || r.Length > end-r.Data {
				keep := end - min(r.Data, end)
				lost.add(loss{entries: r.Length - keep, first: fmt.Sprintf("%d virtual blocks from %d on map to data blocks from %d on, of %d", r.Length, r.Virtual, r.Data, end)})
				r.Length = keep
			}
			if r.Length > d.left {
				*failed = fmt.Errorf("%w: the dump has more than %d mappings for each one that fits", ErrFull, maxSpread)
				return
			}
			d.left -= r.Length
			if !d.pieces(r, yield, failed) {
				return
			}
		}
	}
}

// pieces gives a run in pieces, so that a long one can be stopped. It says whether to go on.
func (d *dumper) pieces(r thinmeta.Run, yield func(thinmeta.Run) bool, failed *error) bool {
	const most = 1 << 20
	for r.Length > 0 {
		if *failed = d.ctx.Err(); *failed != nil {
			return false
		}
		p := r
		p.Length = min(r.Length, most)
		if !yield(p) {
			return false
		}
		r.Virtual, r.Data, r.Length = r.Virtual+p.Length, r.Data+p.Length, r.Length-p.Length
	}
	return true
}
