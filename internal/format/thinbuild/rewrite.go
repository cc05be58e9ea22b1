package thinbuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"fettle/internal/format/thinmeta"
)

// Edits says what shall differ from the source.
type Edits struct {
	Drop            map[uint32]string           // devices to leave out, and why
	Details         map[uint32]thinmeta.Details // of devices whose details shall change; MappedBlocks is not looked at, it is counted
	ClearNeedsCheck bool                        // otherwise the flag stays as it is

	// MetadataBlocks is the size of the new metadata in blocks of 4096 bytes; 0 keeps it.
	MetadataBlocks uint64
	// TransactionID sets the pool's transaction id; nil keeps it, or is 0 when the superblock cannot be read.
	TransactionID *uint64
	// DataBlockSize (sectors) and DataBlocks (size of the data device in data blocks) are needed when the superblock cannot be read.
	// When it can, they must be 0 or say the same as it does.
	DataBlockSize uint32
	DataBlocks    uint64
}

// Comparison says what a rewrite has changed.
type Comparison struct {
	Devices []DeviceChange // every device of either side, by id
	Written Summary
	// DataUsed and MetadataUsed are what the source's superblock says is in use; 0 when it cannot be read.
	DataUsed, MetadataUsed uint64
	Roots                  *Roots   // where the trees were found; nil when the superblock said so
	Lost                   []string // parts of the trees over devices that cannot be read
	Notes                  []string // other things that are not as they were
}

// DeviceChange is what became of one device.
type DeviceChange struct {
	ID uint32
	// MappedBefore is the number of mapped blocks: counted when the whole tree could be read, otherwise what the details say, at
	// least what could be counted. Of a dropped device it is what the details say.
	MappedBefore uint64
	MappedAfter  uint64
	Dropped      bool
	Why          string // it was dropped
	Lost         string // what is missing of its mappings; empty when nothing is
	Rebuilt      bool   // it had no details; they were made anew
	Claimed      uint64 // mapped blocks by its details before; 0 when it had none
}

// Losses returns the devices that lost mappings against their will.
func (c *Comparison) Losses() []DeviceChange {
	return slices.DeleteFunc(slices.Clone(c.Devices), func(d DeviceChange) bool { return d.Lost == "" })
}

// Rewrite writes the metadata of a pool to a new file, which must not exist, and makes it durable. Subtrees that devices share stay
// shared; leaves and branches that need no change have the same entries as before; all counts, totals and mapped blocks are
// made anew; what cannot be read is left out and told; a metadata snapshot is dropped. A device whose mappings are lost stays, with
// what is left of them. When the superblock cannot be read the trees are searched for.
//
// On an error the new file is removed. The source is only read.
func Rewrite(ctx context.Context, from *thinmeta.File, to string, e Edits) (*Comparison, error) {
	r := &rewriter{source: newSource(ctx, from), edits: e, c: &Comparison{}}
	return create(to, func(f *os.File) (*Comparison, error) { return r.run(f) })
}

// create makes a new file for the writer, closes it, and removes it when anything went wrong.
func create(path string, write func(*os.File) (*Comparison, error)) (c *Comparison, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("new thin metadata: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			c, err = nil, errors.Join(fmt.Errorf("write new thin metadata to %s: %w", path, err), os.Remove(path))
		}
	}()
	return write(f)
}

// rewriter is one run of Rewrite.
type rewriter struct {
	source
	edits Edits
	c     *Comparison
}

func (r *rewriter) run(f *os.File) (*Comparison, error) {
	super, o, err := r.options()
	if err != nil {
		return nil, err
	}
	trees, err := r.readDevices(super.MappingRoot, super.DetailsRoot)
	if err != nil {
		return nil, err
	}
	r.c.Lost = trees.lost
	known := func(id uint32) bool {
		_, mapped := trees.roots[id]
		_, detailed := trees.details[id]
		return mapped || detailed
	}
	if err := checkEdits(r.edits, known, r.c); err != nil {
		return nil, err
	}
	b, err := begin(f, o)
	if err != nil {
		return nil, err
	}
	copies := newCopier(newSource(r.ctx, r.f), b)
	nodes, err := r.copyDevices(copies, trees)
	if err != nil {
		return nil, err
	}
	raiseTime(b, r.c, r.edits, trees.details, nodes)
	return finishDevices(b, r.c, r.edits, trees.details, nodes)
}

// checkEdits refuses details for a device that does not exist. One that shall be dropped and does not exist is only worth a note: the
// result is what was asked for.
func checkEdits(e Edits, known func(uint32) bool, c *Comparison) error {
	for _, id := range slices.Sorted(maps.Keys(e.Details)) {
		if !known(id) {
			return fmt.Errorf("details for device %d: there is no such device", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.Drop)) {
		if !known(id) {
			c.Notes = append(c.Notes, fmt.Sprintf("device %d was to be dropped, but there is no such device", id))
		}
	}
	return nil
}

// begin makes a builder on a file of the right size.
func begin(f *os.File, o Options) (*Builder, error) {
	b, err := New(f, o)
	if err != nil {
		return nil, err
	}
	return b, f.Truncate(int64(o.MetadataBlocks) * thinmeta.BlockSize)
}

// options decides where the trees are and what the new superblock says.
func (r *rewriter) options() (thinmeta.Superblock, Options, error) {
	super, problems := r.f.Super()
	for _, p := range problems {
		if p.Kind == thinmeta.SuperblockChecksum || super.Magic != thinmeta.Magic || super.Version != thinmeta.Version {
			return r.optionsWithout(super)
		}
	}
	r.c.DataUsed, r.c.MetadataUsed = super.Data.Allocated, super.Metadata.Allocated
	e := r.edits
	if e.DataBlockSize != 0 && e.DataBlockSize != super.DataBlockSize || e.DataBlocks != 0 && e.DataBlocks != super.Data.Blocks {
		return super, Options{}, fmt.Errorf("the superblock can be read and says: data blocks of %d sectors, %d of them; %d and %d were given; leave them out",
			super.DataBlockSize, super.Data.Blocks, e.DataBlockSize, e.DataBlocks)
	}
	o := Options{
		// The space map knows the size; the superblock's own field is not kept up to date when a device grows.
		MetadataBlocks: super.Metadata.Blocks, DataBlocks: super.Data.Blocks, DataBlockSize: super.DataBlockSize,
		Time: super.Time, TransactionID: super.TransactionID, UUID: super.UUID, Flags: super.Flags & thinmeta.FlagNeedsCheck,
	}
	if o.MetadataBlocks == 0 || o.MetadataBlocks > maxMetadataBlocks {
		r.note("the superblock says that there are %d metadata blocks; %d exist and are counted", o.MetadataBlocks, r.f.Blocks())
		o.MetadataBlocks = r.f.Blocks()
	}
	if super.HeldRoot != 0 {
		r.note("the metadata snapshot at block %d is dropped", super.HeldRoot)
	}
	return super, o, r.finishOptions(&o)
}

// optionsWithout does the same when the superblock cannot be read.
func (r *rewriter) optionsWithout(super thinmeta.Superblock) (thinmeta.Superblock, Options, error) {
	e := r.edits
	if e.DataBlockSize == 0 || e.DataBlocks == 0 {
		return super, Options{}, &SuperblockError{DataBlockSize: super.DataBlockSize, DataBlocks: super.Data.Blocks, Looks: super.Magic == thinmeta.Magic}
	}
	roots, err := findRoots(&r.source, super)
	if err != nil {
		return super, Options{}, err
	}
	r.c.Roots = roots
	r.note("the superblock cannot be read: %s; flags and UUID are not kept", roots.Why)
	o := Options{MetadataBlocks: r.f.Blocks(), DataBlocks: e.DataBlocks, DataBlockSize: e.DataBlockSize}
	return thinmeta.Superblock{MappingRoot: roots.Mapping, DetailsRoot: roots.Details}, o, r.finishOptions(&o)
}

// finishOptions applies edits that are the same in both cases.
func (r *rewriter) finishOptions(o *Options) error {
	if r.edits.MetadataBlocks != 0 {
		o.MetadataBlocks = r.edits.MetadataBlocks
	}
	if r.edits.TransactionID != nil {
		o.TransactionID = *r.edits.TransactionID
	}
	if r.edits.ClearNeedsCheck {
		o.Flags = 0
	}
	// Every data block was counted in the source, so its bitmaps are in the source. A superblock that claims more is not believed:
	// the bitmaps to write would be without bound.
	if bitmaps := o.DataBlocks / thinmeta.BitsPerBitmap; bitmaps > r.f.Blocks() {
		return fmt.Errorf("%d data blocks are claimed; counting them takes %d metadata blocks, and the source has %d", o.DataBlocks, bitmaps, r.f.Blocks())
	}
	return nil
}

func (r *rewriter) note(format string, args ...any) {
	r.c.Notes = append(r.c.Notes, fmt.Sprintf(format, args...))
}

// copyDevices copies the trees of all devices that stay, in the order of their ids, and begins their lines in the comparison.
func (r *rewriter) copyDevices(copies *copier, t deviceTrees) (map[uint32]Node, error) {
	ids := maps.Clone(t.roots)
	for id := range t.details {
		ids[id] = t.roots[id] // 0, the superblock, for one that has no root
	}
	nodes := make(map[uint32]Node, len(ids))
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		details, detailed := t.details[id]
		d := DeviceChange{ID: id, Claimed: details.MappedBlocks, Rebuilt: !detailed}
		if why, drop := r.edits.Drop[id]; drop {
			d.Dropped, d.Why, d.MappedBefore, d.Rebuilt = true, why, details.MappedBlocks, false
			r.c.Devices = append(r.c.Devices, d)
			continue
		}
		root, mapped := t.roots[id]
		var n Node
		lost := loss{}
		var err error
		if mapped {
			n, lost, err = copies.tree(root)
		} else {
			lost = loss{subtrees: 1, first: "the mapping tree does not have the device"}
			n, err = copies.b.Leaf(nil)
		}
		if err != nil {
			return nil, fmt.Errorf("device %d: %w", id, err)
		}
		nodes[id] = n
		d.MappedAfter, d.MappedBefore = n.Mapped(), n.Mapped()+lost.entries
		if d.Lost = lost.text(); lost.subtrees > 0 {
			d.MappedBefore = max(d.MappedBefore, details.MappedBlocks)
		}
		r.c.Devices = append(r.c.Devices, d)
	}
	return nodes, nil
}

// raiseTime sees to it that the pool's time is not behind any device or mapping: the next snapshot would get a time at which blocks
// are mapped already, and the kernel would take shared blocks for exclusive ones.
func raiseTime(b *Builder, c *Comparison, e Edits, details map[uint32]thinmeta.Details, nodes map[uint32]Node) {
	var newest uint32
	for id, n := range nodes {
		newest = max(newest, n.Newest())
		for _, d := range []thinmeta.Details{details[id], e.Details[id]} {
			for _, time := range []uint32{d.CreationTime, d.SnapshotTime} {
				if time <= maxTime { // a later one is damage: no mapping can have it
					newest = max(newest, time)
				}
			}
		}
	}
	switch {
	case c.Roots != nil:
		// The true time may be later, by snapshots that left no trace in what was found.
		b.o.Time = min(newest+1, maxTime)
	case newest > b.o.Time:
		c.Notes = append(c.Notes, fmt.Sprintf("the pool's time was %d, older than what it holds; it is %d now", b.o.Time, newest))
		b.o.Time = newest
	}
}

// finishDevices gives the devices their details and finishes.
func finishDevices(b *Builder, c *Comparison, e Edits, details map[uint32]thinmeta.Details, nodes map[uint32]Node) (*Comparison, error) {
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[id]
		d, ok := details[id]
		if !ok {
			d = rebuiltDetails(n, b.o)
		}
		if set, ok := e.Details[id]; ok {
			d = set
		}
		d.MappedBlocks = n.Mapped()
		if err := b.Device(id, d, n); err != nil {
			return nil, err
		}
	}
	var err error
	c.Written, err = b.Finish()
	return c, err
}
