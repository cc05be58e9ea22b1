package thinmeta

import (
	"context"
	"fmt"
	"slices"
)

// CheckOptions says how to check.
type CheckOptions struct {
	// SkipMappings leaves out the mappings of the devices, and with them everything that is counted.
	SkipMappings bool
	// Progress is called now and then with the number of metadata blocks read since the last call. An error ends the check.
	Progress func(blocks int64) error
	// Memory bounds the counts of data blocks in bytes; 0 is 256 MiB. When they need more, mappings are read several times.
	Memory int64
	// Workers is the number of goroutines that read; 0 is 2.
	Workers int
}

// Report is what a check found.
type Report struct {
	Super    Superblock
	Devices  []Device // ascending ids
	Problems []Problem
	More     int // problems that are not listed because there are too many of their kind

	// DataBlocks and MetadataBlocks are what the space maps count; Used is what is referred to, Allocated what their bitmaps say
	// (where a bitmap cannot be read: what the superblock says). Used and Allocated are 0 when the metadata snapshot was looked at.
	DataBlocks, DataUsed, DataAllocated             uint64
	MetadataBlocks, MetadataUsed, MetadataAllocated uint64

	Mappings uint64 // entries in the leaves of the mapping trees; those that snapshots share in a leaf count once
	Complete bool   // false: parts of the trees could not be read
}

// checker is one check.
type checker struct {
	f        *File
	ctx      context.Context
	o        CheckOptions
	report   *Report
	problems problemList
	pending  int64 // blocks read and not yet told to Progress

	uses  []use    // by metadata block
	refs  []uint32 // references to the block that were found
	slots []uint32 // index into facts of the block's tree, plus 1

	// The superblock's size of a space map is known to be wrong, so that what is measured by it means little.
	dataSizeBad, metaSizeBad bool

	top, bottom, details *tree
	roots                []rootEntry // of the devices, ascending
	detailsOf            []detailsEntry
	data                 counter
}

// Check reads everything and says what is wrong. The error is of the operating system, of Progress, or of the context; damage is in
// the report. It uses 10 bytes for each metadata block, up to 64 for each node of the trees, and Memory for the data blocks.
func (f *File) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Memory <= 0 {
		o.Memory = 256 << 20
	}
	s, problems := f.Super()
	r := &Report{Super: s, DataBlocks: s.Data.Blocks, MetadataBlocks: s.Metadata.Blocks}
	c := &checker{f: f, ctx: ctx, o: o, report: r}
	for _, p := range problems {
		c.problems.add(p)
	}
	if !s.usable() {
		r.Problems = c.problems.list
		return r, nil
	}
	c.problems.consequence = slices.ContainsFunc(problems, func(p Problem) bool { return p.Kind == SuperblockChecksum })
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("check of %s: %w", f.name, err)
	}
	r.Problems, r.More = c.problems.list, c.problems.more
	return r, nil
}

func (c *checker) run() error {
	n, s := c.f.blocks, &c.f.super
	c.dataSizeBad, c.metaSizeBad = s.Data.Allocated > s.Data.Blocks, s.Metadata.Allocated > s.Metadata.Blocks+1 // told by Super
	c.uses, c.refs, c.slots = make([]use, n), make([]uint32, n), make([]uint32, n)
	c.refer(0, useSuper, 0)
	c.superFacts()
	var data, meta *spaceMap
	if !c.f.held {
		var err error
		if meta, err = c.readMetaMap(); err != nil {
			return err
		}
		if data, err = c.readDataMap(); err != nil {
			return err
		}
		c.data.setBitmaps(data.bitmaps)
	} else {
		c.data.setBitmaps(impliedBitmaps(s.Data.Blocks, n))
	}
	c.data.budget = max(c.o.Memory/chunkBytes, 1)
	if err := c.readTrees(); err != nil {
		return err
	}
	if err := c.compareMaps(data, meta); err != nil {
		return err
	}
	c.foldDevices()
	c.report.Complete = !c.top.bad && !c.details.bad && !c.bottom.bad &&
		(data == nil || !data.damaged && !meta.damaged)
	return c.progress(0, true)
}

// superFacts tells what the superblock says of the pool's state.
func (c *checker) superFacts() {
	s := &c.f.super
	fact := func(kind ProblemKind, block, have uint64, text string) {
		c.problems.add(Problem{Kind: kind, Block: block, Device: NoDevice, Have: have, Text: text})
	}
	if s.Flags&FlagNeedsCheck != 0 {
		fact(NeedsCheck, 0, uint64(s.Flags), "the kernel had to abort a transaction and wants the metadata checked")
	}
	if s.TransactionID != 0 {
		fact(TransactionID, 0, s.TransactionID, fmt.Sprintf("transaction id is %d; a pool that nobody but dmsetup made has 0", s.TransactionID))
	}
	if s.HeldRoot != 0 && s.HeldRoot < c.f.blocks { // otherwise Super tells
		fact(HeldRoot, s.HeldRoot, s.HeldRoot, fmt.Sprintf("a metadata snapshot is held at block %d", s.HeldRoot))
	}
}

// refer notes a reference to a block from another one. fresh says that the block was not seen before and should be read; the block
// is noBlock when it cannot be used, which was told then.
func (c *checker) refer(block uint64, u use, from uint64) (b uint32, fresh bool) {
	if block >= uint64(len(c.uses)) {
		c.problems.block(NodeInvalid, from, "block %d refers to block %d as %s, but there are %d blocks", from, block, useNames[u], len(c.uses))
		return noBlock, false
	}
	was := c.uses[block]
	if was != useNone && was != u { // not counted: one of the two references is wrong
		c.problems.block(NodeInvalid, block, "block is used twice: as %s and, says block %d, as %s", useNames[was], from, useNames[u])
		return noBlock, false
	}
	c.uses[block] = u
	if c.refs[block] != ^uint32(0) {
		c.refs[block]++
	}
	return uint32(block), was == useNone
}

// fetch reads blocks and tells of the progress.
func (c *checker) fetch(blocks []uint32, visit func(fetched) error) error {
	return c.f.fetch(c.ctx, c.o.Workers, blocks, func(got fetched) error {
		if err := c.progress(1, false); err != nil {
			return err
		}
		return visit(got)
	})
}

func (c *checker) progress(n int64, flush bool) error {
	c.pending += n
	if c.o.Progress == nil || c.pending < 1024 && !flush {
		return nil
	}
	n, c.pending = c.pending, 0
	return c.o.Progress(n)
}
