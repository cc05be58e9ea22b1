package thinmeta

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// readTrees reads details and mappings of the pool, and those of the metadata snapshot if one is held.
func (c *checker) readTrees() error {
	c.details = &tree{c: c, use: useDetails, valueSize: sizeDetails}
	c.top = &tree{c: c, use: useTop, valueSize: sizeBlock}
	c.bottom = &tree{c: c, use: useBottom, valueSize: sizeBlock}
	s := &c.f.super
	c.details.onLeaf = c.detailsLeaf
	if err := c.growRoot(c.details, s.DetailsRoot); err != nil {
		return err
	}
	c.top.onLeaf = func(_ int, nd *node) { c.roots = c.topLeaf(nd, c.roots) }
	if err := c.growRoot(c.top, s.MappingRoot); err != nil {
		return err
	}
	roots := c.roots
	if !c.f.held && s.HeldRoot != 0 {
		var err error
		if roots, err = c.readSnapshot(roots); err != nil {
			return err
		}
	}
	slices.SortFunc(c.roots, func(a, b rootEntry) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(c.detailsOf, func(a, b detailsEntry) int { return cmp.Compare(a.id, b.id) })
	if c.o.SkipMappings {
		return nil
	}
	return c.readMappings(roots)
}

// growRoot reads one tree and checks its shape.
func (c *checker) growRoot(t *tree, root uint64) error {
	block, fresh := c.refer(root, t.use, 0)
	if !fresh {
		t.bad = t.bad || block == noBlock
		return nil
	}
	if err := t.grow([]uint32{block}); err != nil {
		return err
	}
	if !t.fold(block) {
		t.bad = true
	}
	return nil
}

func (c *checker) detailsLeaf(_ int, nd *node) {
	for i := range nd.n {
		if !c.validID(nd, i) {
			continue
		}
		c.detailsOf = append(c.detailsOf, detailsEntry{uint32(nd.key(i)), decodeDetails(nd.raw(i))})
	}
}

func (c *checker) topLeaf(nd *node, roots []rootEntry) []rootEntry {
	for i := range nd.n {
		if !c.validID(nd, i) {
			continue
		}
		// The reference counts even when the same device is met again in the metadata snapshot's tree: its leaf is another one.
		block, _ := c.refer(nd.val(i), useBottom, nodeNumber(nd))
		if block == noBlock {
			c.bottom.bad = true
		}
		roots = append(roots, rootEntry{uint32(nd.key(i)), uint64(block)})
	}
	return roots
}

func (c *checker) validID(nd *node, i int) bool {
	if nd.key(i) <= MaxDevice {
		return true
	}
	c.problems.block(NodeInvalid, nodeNumber(nd), "device id %d is more than %d", nd.key(i), MaxDevice)
	return false
}

// readSnapshot reads the small trees of the metadata snapshot and gives the roots of its devices in addition to those of the pool.
func (c *checker) readSnapshot(roots []rootEntry) ([]rootEntry, error) {
	if c.f.super.HeldRoot >= c.f.blocks { // told by Super
		c.top.bad = true
		return roots, nil
	}
	block, fresh := c.refer(c.f.super.HeldRoot, useHeld, 0)
	if !fresh {
		c.top.bad = true // told by refer, or by the superblock's check
		return roots, nil
	}
	held, err := c.f.readHeld(uint64(block), alignedBuffer(BlockSize))
	if err != nil {
		if be, ok := errors.AsType[*BlockError](err); ok {
			c.problems.add(Problem{Kind: be.Kind, Block: be.Block, Device: NoDevice, Text: be.Text})
		}
		c.top.bad = true
		return roots, nil
	}
	own := len(c.detailsOf)
	if err := c.growRoot(c.details, held.DetailsRoot); err != nil {
		return nil, err
	}
	c.detailsOf = c.detailsOf[:own]
	all := slices.Clone(roots)
	c.top.onLeaf = func(_ int, nd *node) { all = c.topLeaf(nd, all) }
	return all, c.growRoot(c.top, held.MappingRoot)
}

// readMappings reads the mapping trees of all devices and counts their data blocks.
func (c *checker) readMappings(roots []rootEntry) error {
	c.bottom.onLeaf = c.mappingLeaf
	blocks := make([]uint32, 0, len(roots))
	for _, r := range roots {
		if b := uint32(r.block); b != noBlock {
			blocks = append(blocks, b)
		}
	}
	slices.Sort(blocks)
	return c.bottom.grow(slices.Compact(blocks))
}

// mappingLeaf checks the mappings of a leaf and counts their data blocks.
func (c *checker) mappingLeaf(slot int, nd *node) {
	fa := &c.bottom.facts[slot]
	limit := c.f.super.Data.Blocks
	outside, example := 0, uint64(0)
	fa.shared = timeMask
	for i := range nd.n {
		v := nd.val(i)
		data := v >> timeBits
		fa.shared = min(fa.shared, uint32(v&timeMask))
		fa.newest = max(fa.newest, uint32(v&timeMask))
		if data >= limit {
			outside, example = outside+1, data
			continue
		}
		c.data.count(data, uint32(slot))
	}
	c.report.Mappings += uint64(nd.n)
	if outside > 0 {
		c.problems.add(Problem{Kind: NodeInvalid, Block: uint64(fa.block), Device: NoDevice, Want: limit, Have: example, Consequence: c.dataSizeBad, Text: fmt.Sprintf(
			"%d mappings to data blocks that do not exist, like %d: there are %d", outside, example, limit)})
	}
}

// foldDevices works out what is told of each device, and compares with the details.
func (c *checker) foldDevices() {
	devices := mergeDevices(dedupe(c.roots), dedupeDetails(c.detailsOf))
	c.report.Devices = devices
	roots := c.roots
	for i := range devices {
		d := &devices[i]
		if d.HasMapping {
			for roots[0].id != d.ID {
				roots = roots[1:]
			}
			c.judgeShared(d, c.foldDevice(d, uint32(roots[0].block)))
		}
		c.judgeDevice(d)
	}
	c.judgeClock(devices)
	// What only the metadata snapshot has must be in order as well.
	for i := range c.bottom.facts {
		if c.bottom.facts[i].state == stateNew {
			c.bottom.fold(c.bottom.facts[i].block)
		}
	}
}

// foldDevice fills in what the tree of a device tells, and gives facts.shared of its root.
func (c *checker) foldDevice(d *Device, root uint32) (shared uint32) {
	if c.o.SkipMappings {
		return 0
	}
	d.Unreadable = !c.bottom.fold(root)
	fa := c.bottom.get(root)
	if fa == nil {
		return 0
	}
	d.Mapped, d.Newest = fa.mapped, fa.newest
	if fa.mapped > 0 {
		d.Highest = max(fa.last+1, fa.last) // a damaged key may be the largest number there is
	}
	if c.refs[root] == 1 {
		d.Exclusive = fa.sole
	}
	return fa.sharedFrom(c.refs[root])
}

func (c *checker) judgeDevice(d *Device) {
	tell := func(kind ProblemKind, want, have uint64, consequence bool, text string) {
		c.problems.add(Problem{Kind: kind, Device: int64(d.ID), Want: want, Have: have, Consequence: consequence, Text: text})
	}
	switch {
	case !d.HasDetails:
		tell(DetailsMissing, 0, 0, c.details.bad, fmt.Sprintf("device %d has mappings but no details", d.ID))
	case !d.HasMapping:
		tell(MappingMissing, 0, 0, c.top.bad, fmt.Sprintf("device %d has details but no mappings", d.ID))
	case !c.o.SkipMappings && d.Mapped != d.Details.MappedBlocks:
		tell(MappedBlocksWrong, d.Mapped, d.Details.MappedBlocks, d.Unreadable,
			fmt.Sprintf("device %d has %d blocks mapped, its details say %d", d.ID, d.Mapped, d.Details.MappedBlocks))
	}
}

func dedupe(l []rootEntry) []rootEntry {
	return slices.CompactFunc(slices.Clone(l), func(a, b rootEntry) bool { return a.id == b.id })
}

func dedupeDetails(l []detailsEntry) []detailsEntry {
	return slices.CompactFunc(slices.Clone(l), func(a, b detailsEntry) bool { return a.id == b.id })
}
