package thinbuild

import "fmt"

// chunkBlocks is how many blocks one chunk of counts covers. A chunk costs 1 KiB when a block in it is counted, 5 KiB when one is
// counted more than 255 times; the file that asks for it is never much smaller (16 bytes per mapping, 4 KiB per 256 of them).
const chunkBlocks = 1024

// counts holds one reference count per block. Chunks are made when a block in them is first counted.
type counts struct {
	limit  uint64 // number of blocks
	chunks []chunk
}

// chunk holds counts as bytes until one of them does not fit any more.
type chunk struct {
	small []uint8
	large []uint32
}

func newCounts(blocks uint64) *counts {
	return &counts{limit: blocks, chunks: make([]chunk, (blocks+chunkBlocks-1)/chunkBlocks)}
}

// get returns the count of a block; 0 for one beyond the end.
func (c *counts) get(block uint64) uint32 {
	if block >= c.limit {
		return 0
	}
	ch, i := &c.chunks[block/chunkBlocks], block%chunkBlocks
	switch {
	case ch.large != nil:
		return ch.large[i]
	case ch.small != nil:
		return uint32(ch.small[i])
	}
	return 0
}

// inc counts one more reference to a block. The block must exist.
func (c *counts) inc(block uint64) error {
	ch, i := &c.chunks[block/chunkBlocks], block%chunkBlocks
	if ch.large == nil {
		if ch.small == nil {
			ch.small = make([]uint8, chunkBlocks)
		}
		if ch.small[i] < 255 {
			ch.small[i]++
			return nil
		}
		ch.grow()
	}
	if ch.large[i] == 1<<32-1 {
		return fmt.Errorf("block %d is referred to more than 2^32 times", block)
	}
	ch.large[i]++
	return nil
}

// dec takes back one reference that inc counted.
func (c *counts) dec(block uint64) {
	ch, i := &c.chunks[block/chunkBlocks], block%chunkBlocks
	if ch.large != nil {
		ch.large[i]--
		return
	}
	ch.small[i]--
}

func (ch *chunk) grow() {
	ch.large = make([]uint32, chunkBlocks)
	for i, n := range ch.small {
		ch.large[i] = uint32(n)
	}
	ch.small = nil
}
