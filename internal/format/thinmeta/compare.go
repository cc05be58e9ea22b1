package thinmeta

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// comparison holds one space map against the references that were counted.
type comparison struct {
	c     *checker
	m     *spaceMap
	cur   *countCursor
	judge bool // the references were counted
	// unsure says that there may be references nobody could read, so that "too high" means nothing.
	unsure    bool
	allocated uint64 // blocks that the bitmaps say are in use
	unread    bool   // a bitmap cannot be read
	leak      Problem
}

// compareMaps compares both space maps, and works out which data blocks belong to one leaf only.
func (c *checker) compareMaps(data, meta *spaceMap) error {
	mappingsBad := c.top.bad || c.bottom.bad
	x := &comparison{c: c, m: data, judge: !c.o.SkipMappings, unsure: mappingsBad}
	if err := c.compareData(x); err != nil || data == nil {
		return err
	}
	y := &comparison{c: c, m: meta, judge: !c.o.SkipMappings, unsure: mappingsBad || c.details.bad || data.damaged || meta.damaged}
	if err := y.metadata(); err != nil {
		return err
	}
	r := c.report
	r.DataAllocated, r.MetadataAllocated = x.total(r.DataUsed), y.total(r.MetadataUsed)
	c.judgeSpace()
	return nil
}

// compareData compares the data space map, in several passes over the mappings if there are more counts than room for them.
func (c *checker) compareData(x *comparison) error {
	if c.f.held {
		return c.countOnly()
	}
	c.judgeIndex(x.m)
	for {
		if err := x.bitmaps(x.pending()); err != nil {
			return err
		}
		c.tally()
		if !c.data.reopen() {
			return nil
		}
		if err := c.countAgain(); err != nil {
			return err
		}
	}
}

// countOnly is compareData without a space map.
func (c *checker) countOnly() error {
	for {
		c.tally()
		if !c.data.reopen() {
			return nil
		}
		if err := c.countAgain(); err != nil {
			return err
		}
	}
}

// tally takes from the counts how many data blocks are in use and which belong to one leaf, and gives the room back.
func (c *checker) tally() {
	for pos, ch := range c.data.chunks {
		if c.data.state[pos] != chunkOpen {
			continue
		}
		if ch != nil {
			for _, v := range ch {
				if v == 0 {
					continue
				}
				c.report.DataUsed++
				if v < cellMany {
					c.bottom.facts[v-1].sole++
				}
			}
		}
		c.data.done(pos)
	}
}

// countAgain reads the leaves of all devices once more, for the chunks that were deferred.
func (c *checker) countAgain() error {
	var leaves []uint32
	for i := range c.bottom.facts {
		if fa := &c.bottom.facts[i]; fa.inner == leafNode {
			leaves = append(leaves, fa.block)
		}
	}
	slices.Sort(leaves)
	limit := c.f.super.Data.Blocks
	return c.fetch(leaves, func(got fetched) error {
		nd, bad := c.bottom.parse(got)
		if bad != nil || !nd.leaf {
			return fmt.Errorf("metadata block %d changed while it was read", got.block)
		}
		for i := range nd.n {
			if data := nd.val(i) >> timeBits; data < limit {
				c.data.count(data, c.slots[got.block]-1)
			}
		}
		return nil
	})
}

// pending lists the bitmaps of the data space map whose counts are complete and were not compared yet.
func (x *comparison) pending() []int {
	var out []int
	for pos, s := range x.c.data.state {
		if s == chunkOpen && x.m.bitmaps[pos].index < x.m.need() {
			out = append(out, pos)
		}
	}
	return out
}

// bitmaps reads the bitmaps at these positions and compares them.
func (x *comparison) bitmaps(positions []int) error {
	x.cur = newCountCursor(x.c.f, x.m.counts)
	var blocks []uint32
	kept := positions[:0]
	for _, pos := range positions {
		if b := x.m.bitmaps[pos].block; b != noBlock {
			blocks, kept = append(blocks, b), append(kept, pos)
		} else {
			x.unread = true
		}
	}
	next := 0
	err := x.c.fetch(blocks, func(got fetched) error {
		pos := kept[next]
		next++
		if text := badBitmap(got); text != "" {
			x.unread = true
			x.m.damaged = true
			x.c.problems.block(BitmapChecksum, uint64(got.block), "bitmap of %s blocks from %d on: %s", x.m.name, x.m.bitmaps[pos].index*BitsPerBitmap, text)
			return nil
		}
		x.bitmap(x.m.bitmaps[pos].index*BitsPerBitmap, got.b, x.wants(pos))
		x.hint(&x.m.bitmaps[pos], got.b)
		return nil
	})
	x.flush()
	return err
}

// hint compares what the index says of a bitmap with it. Only what hides free blocks from the kernel is told: then the pool is full
// before it is. thin_restore counts one metadata block twice, and says of metadata that none is free before where it began.
func (x *comparison) hint(e *bitmapEntry, b []byte) {
	base := e.index * BitsPerBitmap
	limit := int(min(BitsPerBitmap, x.m.root.Blocks-base))
	free, first := 0, limit
	for i := limit - 1; i >= 0; i-- {
		if b[bitmapHeader+i/4]>>(2*(i%4))&3 == 0 {
			free, first = free+1, i
		}
	}
	slack := 1
	if x.m.data {
		slack = 0
	}
	text := ""
	switch {
	case int64(e.free)+int64(slack) < int64(free):
		text = fmt.Sprintf("says that %d are free, the bitmap %d", e.free, free)
	case x.m.data && free > 0 && int64(e.before) > int64(first):
		text = fmt.Sprintf("says that none is free before number %d, the bitmap that number %d is", e.before, first)
	default:
		return
	}
	x.c.problems.add(Problem{Kind: SpaceMapIndex, Block: uint64(e.block), Device: NoDevice, Want: uint64(free), Have: uint64(e.free),
		Text: fmt.Sprintf("the index entry for %s blocks from %d on %s", x.m.name, base, text)})
}

func badBitmap(got fetched) string {
	switch {
	case got.err != nil:
		return "cannot be read: " + got.err.Error()
	case got.mask != maskBitmap:
		return "wrong checksum"
	case binary.LittleEndian.Uint64(got.b[8:]) != uint64(got.block):
		return fmt.Sprintf("says it is block %d", binary.LittleEndian.Uint64(got.b[8:]))
	}
	return ""
}

// wants gives the references that were found to the blocks of a bitmap: cells for data, plain counts for metadata. What is missing
// at the end is 0.
func (x *comparison) wants(pos int) []uint32 {
	if x.m.data {
		if ch := x.c.data.chunks[pos]; ch != nil {
			return ch[:]
		}
		return nil
	}
	base := x.m.bitmaps[pos].index * BitsPerBitmap
	refs := x.c.refs
	return refs[min(base, uint64(len(refs))):min(base+BitsPerBitmap, uint64(len(refs)))]
}

// bitmap compares one bitmap, whose first block is base.
func (x *comparison) bitmap(base uint64, b []byte, want []uint32) {
	limit := int(min(BitsPerBitmap, x.m.root.Blocks-base))
	for at := 0; at < limit; at += wordBlocks {
		word := binary.LittleEndian.Uint64(b[bitmapHeader+at/4:])
		wants := want[min(at, len(want)):min(at+wordBlocks, len(want))]
		if word == 0 && allZero(wants) {
			continue
		}
		for i := range min(wordBlocks, limit-at) {
			w := uint64(0)
			if i < len(wants) {
				w = uint64(wants[i])
				if x.m.data {
					w = cellCount(wants[i])
				}
			}
			if raw := word >> (2 * i) & 3; raw != 0 || w != 0 {
				x.one(base+uint64(at+i), raw, w)
			}
		}
	}
}

func allZero(l []uint32) bool {
	for _, v := range l {
		if v != 0 {
			return false
		}
	}
	return true
}

// one compares one block. raw are its two bits in the bitmap, of which the lower one counts two.
func (x *comparison) one(block, raw, want uint64) {
	have := raw>>1 | raw&1<<1
	if raw != 0 {
		x.allocated++
	}
	if !x.judge || have == want && raw != 3 {
		return
	}
	note := ""
	if raw == 3 {
		count, found, known := x.cur.lookup(block)
		switch {
		case !known:
			return
		case found:
			have = count
		case want > 0:
			have, note = 0, " (the count should be in the tree of counts and is not)"
		}
	}
	if have != want {
		x.differ(block, want, have, note)
	}
}

var (
	dataKinds = [...]ProblemKind{DataRefcountLow, DataRefcountHigh, DataBlockLeaked}
	metaKinds = [...]ProblemKind{MetadataRefcntLow, MetadataRefcntHigh, MetadataLeaked}
)

func (x *comparison) differ(block, want, have uint64, note string) {
	kinds := metaKinds
	if x.m.data {
		kinds = dataKinds
	}
	p := Problem{Block: block, Count: 1, Device: NoDevice, Want: want, Have: have}
	switch {
	case want > have:
		p.Kind = kinds[0]
		p.Text = fmt.Sprintf("%s block %d is used %d times, the space map says %d%s", x.m.name, block, want, have, note)
	case want > 0:
		p.Kind, p.Consequence = kinds[1], x.unsure
		p.Text = fmt.Sprintf("%s block %d is used %d times, the space map says %d", x.m.name, block, want, have)
	default:
		p.Kind, p.Consequence = kinds[2], x.unsure
		x.leaked(p)
		return
	}
	x.c.problems.add(p)
}

// leaked gathers neighbouring leaked blocks of the same count.
func (x *comparison) leaked(p Problem) {
	if l := &x.leak; l.Count > 0 && l.Block+l.Count == p.Block && l.Have == p.Have {
		l.Count++
		return
	}
	x.flush()
	x.leak = p
}

func (x *comparison) flush() {
	p := x.leak
	x.leak = Problem{}
	if p.Count == 0 {
		return
	}
	p.Text = fmt.Sprintf("%s block %d is in use for the space map (count %d), but nothing refers to it", x.m.name, p.Block, p.Have)
	if p.Count > 1 {
		p.Text = fmt.Sprintf("%s blocks %d to %d are in use for the space map (count %d), but nothing refers to them",
			x.m.name, p.Block, p.Block+p.Count-1, p.Have)
	}
	x.c.problems.add(p)
}

// metadata compares the metadata space map.
func (x *comparison) metadata() error {
	x.c.judgeIndex(x.m)
	var positions []int
	for pos, e := range x.m.bitmaps {
		if e.index < x.m.need() {
			positions = append(positions, pos)
		}
	}
	if err := x.bitmaps(positions); err != nil {
		return err
	}
	beyond, first := uint64(0), uint64(0)
	for block, n := range x.c.refs {
		if n == 0 {
			continue
		}
		x.c.report.MetadataUsed++
		if uint64(block) >= x.m.root.Blocks {
			if beyond == 0 {
				first = uint64(block)
			}
			beyond++
		}
	}
	if beyond > 0 {
		x.c.metaSizeBad = true
		x.c.problems.add(Problem{Kind: SuperblockInvalid, Device: NoDevice, Want: first + 1, Have: x.m.root.Blocks, Text: fmt.Sprintf(
			"the metadata space map counts %d blocks, but %d are in use behind those, the first is %d", x.m.root.Blocks, beyond, first)})
	}
	return nil
}

// total compares the number of used blocks that the superblock has with the bitmaps', and gives the latter where it is known. The
// former may be one too high for metadata: thin_restore counts a block twice, and no tool minds.
func (x *comparison) total(used uint64) uint64 {
	field := x.m.root.Allocated
	have := uint64(0)
	for _, e := range x.m.bitmaps {
		if e.index < x.m.need() {
			have++
		}
	}
	if x.unread || x.m.indexBad || have < x.m.need() {
		return field
	}
	slack := uint64(1)
	if x.m.data {
		slack = 0
	}
	if field >= x.allocated && field-x.allocated <= slack {
		return x.allocated
	}
	block := slack
	x.c.problems.add(Problem{Kind: SpaceMapTotal, Block: block, Device: NoDevice, Want: x.allocated, Have: field,
		// The field is right and the bitmaps are wrong, which was told block by block.
		Consequence: x.judge && field >= used && field-used <= slack || field > x.m.root.Blocks+slack,
		Text:        fmt.Sprintf("the superblock says %d %s blocks are in use, the bitmaps say %d", field, x.m.name, x.allocated)})
	return x.allocated
}

// maxReserve is how many metadata blocks the kernel keeps free at most; less than a tenth of all if that is fewer. When no more are
// free, the pool turns read-only, so that a transaction which has begun can still be written.
const maxReserve = 4096

func (c *checker) judgeSpace() {
	r := c.report
	if r.DataBlocks > 0 && r.DataAllocated >= r.DataBlocks {
		c.problems.add(Problem{Kind: OutOfDataSpace, Device: NoDevice, Want: r.DataBlocks, Have: r.DataAllocated, Consequence: c.dataSizeBad,
			Text: fmt.Sprintf("all %d data blocks are in use", r.DataBlocks)})
	}
	reserve := min(maxReserve, r.MetadataBlocks/10)
	if free := r.MetadataBlocks - min(r.MetadataBlocks, r.MetadataAllocated); r.MetadataBlocks > 0 && free <= reserve {
		c.problems.add(Problem{Kind: OutOfMetadataSpace, Device: NoDevice, Want: r.MetadataBlocks, Have: r.MetadataAllocated, Consequence: c.metaSizeBad, Text: fmt.Sprintf(
			"%d of %d metadata blocks are in use; the kernel keeps the last %d as a reserve", r.MetadataAllocated, r.MetadataBlocks, reserve)})
	}
}
