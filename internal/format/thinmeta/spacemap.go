package thinmeta

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Where things lie in bitmaps and in the index of the metadata space map.
const (
	bitmapHeader = 16 // checksum, unused, block number
	indexHeader  = 16 // the same
	wordBlocks   = 32 // blocks in 64 bits
)

// spaceMap is one of the two space maps: where its bitmaps are and the leaves of its reference counts.
type spaceMap struct {
	data    bool
	name    string
	root    SpaceMapRoot
	bitmaps []bitmapEntry // ascending
	counts  []orderedLeaf
	// indexBad says that there may be bitmaps nobody knows of, damaged that some part of the map cannot be read.
	indexBad, damaged bool
}

// need is how many bitmaps the map must have.
func (m *spaceMap) need() uint64 {
	return m.root.Blocks/BitsPerBitmap + (m.root.Blocks%BitsPerBitmap+BitsPerBitmap-1)/BitsPerBitmap
}

// readMetaMap reads the index of the metadata space map and its tree of counts.
func (c *checker) readMetaMap() (*spaceMap, error) {
	m := &spaceMap{name: "metadata", root: c.f.super.Metadata}
	block, fresh := c.refer(m.root.BitmapRoot, useMetaIndex, 0)
	m.indexBad = true
	if fresh {
		err := c.fetch([]uint32{block}, func(got fetched) error {
			switch {
			case got.err != nil:
				c.problems.block(IndexChecksum, uint64(block), "index of the metadata space map cannot be read: %v", got.err)
			case got.mask != maskIndex:
				c.problems.block(IndexChecksum, uint64(block), "wrong checksum in the index of the metadata space map")
			case binary.LittleEndian.Uint64(got.b[8:]) != uint64(block):
				c.problems.block(IndexChecksum, uint64(block), "index of the metadata space map says it is block %d", binary.LittleEndian.Uint64(got.b[8:]))
			default:
				m.indexBad = false
				c.readIndex(m, got.b, uint64(block))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return m, c.readCounts(m, useMetaCounts)
}

func (c *checker) readIndex(m *spaceMap, b []byte, from uint64) {
	for i := range uint64(MaxBitmaps) {
		if block, h := decodeIndex(b[indexHeader+sizeIndex*i:]); block != 0 {
			c.addBitmap(m, i, block, h, useMetaBitmap, from)
		}
	}
}

// readDataMap reads the tree that is the index of the data space map, and its tree of counts.
func (c *checker) readDataMap() (*spaceMap, error) {
	m := &spaceMap{data: true, name: "data", root: c.f.super.Data}
	t := &tree{c: c, use: useDataIndex, valueSize: sizeIndex}
	t.onLeaf = func(_ int, nd *node) {
		for i := range nd.n {
			block, h := decodeIndex(nd.raw(i))
			c.addBitmap(m, nd.key(i), block, h, useDataBitmap, nodeNumber(nd))
		}
	}
	if err := c.growRoot(t, m.root.BitmapRoot); err != nil {
		return nil, err
	}
	m.indexBad = t.bad
	// The order can only be wrong when the tree is.
	slices.SortStableFunc(m.bitmaps, func(a, b bitmapEntry) int { return cmp.Compare(a.index, b.index) })
	m.bitmaps = slices.CompactFunc(m.bitmaps, func(a, b bitmapEntry) bool { return a.index == b.index })
	return m, c.readCounts(m, useDataCounts)
}

func (c *checker) addBitmap(m *spaceMap, index, block uint64, h hint, u use, from uint64) {
	b, fresh := c.refer(block, u, from)
	if b != noBlock && !fresh {
		c.problems.block(NodeInvalid, block, "block is the bitmap of two ranges of the %s space map", m.name)
		b = noBlock
	}
	m.damaged = m.damaged || b == noBlock
	m.bitmaps = append(m.bitmaps, bitmapEntry{index, b, h})
}

// readCounts reads the tree of counts of 3 and more.
func (c *checker) readCounts(m *spaceMap, u use) error {
	t := &tree{c: c, use: u, valueSize: sizeCount}
	if err := c.growRoot(t, m.root.CountRoot); err != nil {
		return err
	}
	if root := m.root.CountRoot; root < uint64(len(c.uses)) && c.uses[root] == u {
		m.counts = t.ordered(uint32(root))
	} else {
		m.counts = []orderedLeaf{{0, noBlock}}
	}
	m.damaged = m.damaged || m.indexBad || t.bad
	return nil
}

// judgeIndex tells when a space map has too few bitmaps for its size.
func (c *checker) judgeIndex(m *spaceMap) {
	if m.indexBad {
		return
	}
	have := uint64(0)
	for _, e := range m.bitmaps {
		if e.index < m.need() {
			have++
		}
	}
	if have < m.need() {
		if m.data {
			c.dataSizeBad = true
		} else {
			c.metaSizeBad = true
		}
		c.problems.add(Problem{Kind: SuperblockInvalid, Device: NoDevice, Want: have * BitsPerBitmap, Have: m.root.Blocks, Text: fmt.Sprintf(
			"the %s space map counts %d blocks, but has only %d of the %d bitmaps that takes", m.name, m.root.Blocks, have, m.need())})
	}
}

// countCursor looks up counts of ascending blocks.
type countCursor struct {
	f      *File
	leaves []orderedLeaf
	at     int // of the leaf that is loaded, -1 for none
	nd     node
	ok     bool // the leaf could be read
	i      int
	buf    []byte
}

func newCountCursor(f *File, leaves []orderedLeaf) *countCursor {
	return &countCursor{f: f, leaves: leaves, at: -1, buf: alignedBuffer(BlockSize)}
}

// lookup gives the count of a block. known is false when the part of the tree that would have it cannot be read.
func (k *countCursor) lookup(block uint64) (count uint64, found, known bool) {
	at := max(k.at, 0)
	for at+1 < len(k.leaves) && k.leaves[at+1].lo <= block {
		at++
	}
	if at != k.at {
		k.load(at)
	}
	if !k.ok {
		return 0, false, false
	}
	for k.i < k.nd.n && k.nd.key(k.i) < block {
		k.i++
	}
	if k.i == k.nd.n || k.nd.key(k.i) != block {
		return 0, false, true
	}
	return uint64(binary.LittleEndian.Uint32(k.nd.raw(k.i))), true, true
}

func (k *countCursor) load(at int) {
	k.at, k.i, k.ok = at, 0, false
	if leaf := k.leaves[at].block; leaf != noBlock {
		var err error
		k.nd, err = k.f.readNode(uint64(leaf), sizeCount, k.buf)
		k.ok = err == nil && k.nd.leaf
	}
}
