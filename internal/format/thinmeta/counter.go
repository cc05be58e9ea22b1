package thinmeta

import (
	"cmp"
	"slices"
)

// Counting data blocks. One cell of 32 bits for each block: 0, or the leaf that maps it when it is one, or with the highest bit set
// the number of references. So blocks that only one leaf maps are known without reading the leaves again.
const (
	cellMany   = 1 << 31
	chunkBytes = BitsPerBitmap * 4
)

type chunk [BitsPerBitmap]uint32

// bitmapEntry is a bitmap: which blocks it counts (index times BitsPerBitmap) and where it is.
type bitmapEntry struct {
	index uint64
	block uint32 // noBlock when it cannot be
	hint         // what its index entry says of it
}

// hint tells the kernel how many blocks of a bitmap are free, and before which of them none is.
type hint struct{ free, before uint32 }

// counter counts the references to data blocks. There are cells only for blocks that a bitmap counts, and no more at once than the
// budget: chunks that do not find room are deferred, whole, and counted when the leaves are read again.
type counter struct {
	bitmaps []bitmapEntry // ascending
	chunks  []*chunk      // as bitmaps; nil as long as nothing was counted
	state   []chunkState
	spare   []*chunk
	budget  int64 // chunks that may still be made
}

type chunkState uint8

const (
	chunkOpen chunkState = iota
	chunkDeferred
	chunkDone
)

func (k *counter) setBitmaps(l []bitmapEntry) {
	k.bitmaps, k.chunks, k.state = l, make([]*chunk, len(l)), make([]chunkState, len(l))
}

// impliedBitmaps gives the bitmaps that a data space map of so many blocks has, without knowing where they are. Each takes a
// metadata block, which bounds what a damaged superblock can claim.
func impliedBitmaps(dataBlocks, metadataBlocks uint64) []bitmapEntry {
	n := min((dataBlocks/BitsPerBitmap)+1, metadataBlocks)
	out := make([]bitmapEntry, n)
	for i := range out {
		out[i] = bitmapEntry{index: uint64(i), block: noBlock}
	}
	return out
}

// count notes that a leaf maps the block.
func (k *counter) count(block uint64, slot uint32) {
	index := block / BitsPerBitmap
	pos := int(index)
	if index >= uint64(len(k.bitmaps)) || k.bitmaps[pos].index != index { // an index with gaps
		var ok bool
		if pos, ok = slices.BinarySearchFunc(k.bitmaps, index, func(e bitmapEntry, i uint64) int { return cmp.Compare(e.index, i) }); !ok {
			return
		}
	}
	ch := k.chunks[pos]
	if ch == nil {
		if ch = k.chunk(pos); ch == nil {
			return
		}
	}
	cell := &ch[block%BitsPerBitmap]
	switch v := *cell; {
	case v == 0:
		*cell = slot + 1
	case v < cellMany:
		*cell = cellMany + 2
	case v != ^uint32(0):
		*cell = v + 1
	}
}

// chunk makes room for the counts of a bitmap, if it is not to be left for later.
func (k *counter) chunk(pos int) *chunk {
	if k.state[pos] != chunkOpen {
		return nil
	}
	var ch *chunk
	switch n := len(k.spare); {
	case n > 0:
		ch, k.spare = k.spare[n-1], k.spare[:n-1]
	case k.budget > 0:
		k.budget--
		ch = new(chunk)
	default:
		k.state[pos] = chunkDeferred
		return nil
	}
	k.chunks[pos] = ch
	return ch
}

// done gives back the room of a bitmap that was compared.
func (k *counter) done(pos int) {
	k.state[pos] = chunkDone
	if ch := k.chunks[pos]; ch != nil {
		clear(ch[:])
		k.chunks[pos], k.spare = nil, append(k.spare, ch)
	}
}

// reopen lets the deferred chunks be counted, and says whether there are any.
func (k *counter) reopen() bool {
	found := false
	for i, s := range k.state {
		if s == chunkDeferred {
			k.state[i], found = chunkOpen, true
		}
	}
	return found
}

// cellCount gives the number of references of a cell.
func cellCount(v uint32) uint64 {
	switch {
	case v == 0:
		return 0
	case v < cellMany:
		return 1
	}
	return uint64(v - cellMany)
}
