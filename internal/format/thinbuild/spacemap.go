package thinbuild

import (
	"encoding/binary"

	"fettle/internal/format/thinmeta"
)

// A space map is bitmaps with two bits per block, a tree of the counts that do not fit in two bits, and an index of the bitmaps
// (persistent-data/dm-space-map-common.h). Bitmap blocks have a header of 16 bytes: checksum, unused, place.
const (
	bitmapHeader = 16
	bitmapMany   = 3 // "look in the tree"
)

// indexEntry is what the index says of one bitmap.
type indexEntry struct {
	block    uint64
	free     uint32 // blocks with count 0
	firstOne uint32 // no block before this one is free
}

func (e indexEntry) put(v []byte) {
	le := binary.LittleEndian
	le.PutUint64(v, e.block)
	le.PutUint32(v[8:], e.free)
	le.PutUint32(v[12:], e.firstOne)
}

// countTree writes the tree of counts of 3 and more.
func (b *Builder) countTree(c *counts) (root uint64, err error) {
	return b.smallTree(countSize, func(add func(uint64, []byte) error) error {
		var v [countSize]byte
		for i, ch := range c.chunks {
			if ch.small == nil && ch.large == nil {
				continue
			}
			first := uint64(i) * chunkBlocks
			for block := first; block < min(first+chunkBlocks, c.limit); block++ {
				n := c.get(block)
				if n < bitmapMany {
					continue
				}
				binary.LittleEndian.PutUint32(v[:], n)
				if err := add(block, v[:]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// bitmap fills scratch with the bitmap of blocks first and up. The caller writes it.
func (b *Builder) bitmap(c *counts, first uint64) indexEntry {
	clear(b.scratch[:])
	n := min(c.limit-first, thinmeta.BitsPerBitmap)
	e := indexEntry{firstOne: uint32(n)}
	for i := range n {
		count := min(c.get(first+i), bitmapMany)
		if count == 0 {
			if e.free == 0 {
				e.firstOne = uint32(i)
			}
			e.free++
			continue
		}
		// The high bit of the count comes first.
		bits := byte(count>>1 | count&1<<1)
		b.scratch[bitmapHeader+i/4] |= bits << (i % 4 * 2)
	}
	return e
}

// dataSpaceMap writes the counts of data blocks: bitmaps, then the tree that is their index.
func (b *Builder) dataSpaceMap() (thinmeta.SpaceMapRoot, error) {
	m := thinmeta.SpaceMapRoot{Blocks: b.o.DataBlocks, Allocated: b.o.DataBlocks}
	var err error
	if m.CountRoot, err = b.countTree(b.data); err != nil {
		return m, err
	}
	var index []indexEntry
	for first := uint64(0); first < m.Blocks; first += thinmeta.BitsPerBitmap {
		e := b.bitmap(b.data, first)
		if e.block, err = b.put(thinmeta.KindBitmap); err != nil {
			return m, err
		}
		if err := b.meta.inc(e.block); err != nil {
			return m, err
		}
		m.Allocated -= uint64(e.free)
		index = append(index, e)
	}
	m.BitmapRoot, err = b.smallTree(indexSize, func(add func(uint64, []byte) error) error {
		var v [indexSize]byte
		for i, e := range index {
			e.put(v[:])
			if err := add(uint64(i), v[:]); err != nil {
				return err
			}
		}
		return nil
	})
	return m, err
}

// metadataSpaceMap writes the counts of metadata blocks. It counts its own blocks too: they are all taken before the first bitmap is
// made. Each of them has the count 1, so the tree of large counts does not change by that.
func (b *Builder) metadataSpaceMap() (thinmeta.SpaceMapRoot, error) {
	m := thinmeta.SpaceMapRoot{Blocks: b.o.MetadataBlocks, Allocated: b.o.MetadataBlocks}
	if err := b.meta.inc(0); err != nil { // the superblock
		return m, err
	}
	var err error
	if m.CountRoot, err = b.countTree(b.meta); err != nil {
		return m, err
	}
	bitmaps := (m.Blocks + thinmeta.BitsPerBitmap - 1) / thinmeta.BitsPerBitmap
	blocks := make([]uint64, bitmaps+1)
	for i := range blocks {
		if blocks[i], err = b.s.take(); err != nil {
			return m, err
		}
		if err := b.meta.inc(blocks[i]); err != nil {
			return m, err
		}
	}
	index := make([]byte, thinmeta.MaxBitmaps*indexSize)
	for i, block := range blocks[:bitmaps] {
		e := b.bitmap(b.meta, uint64(i)*thinmeta.BitsPerBitmap)
		e.block = block
		if err := b.putAt(thinmeta.KindBitmap, block); err != nil {
			return m, err
		}
		m.Allocated -= uint64(e.free)
		e.put(index[i*indexSize:])
	}
	m.BitmapRoot = blocks[bitmaps]
	clear(b.scratch[:])
	copy(b.scratch[bitmapHeader:], index)
	return m, b.putAt(thinmeta.KindIndex, m.BitmapRoot)
}
