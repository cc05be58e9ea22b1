package lustre

import (
	"bytes"
	"fmt"
)

// IAMSpan says which keys belong into a leaf: from From on, and less than To. nil stands for no bound.
type IAMSpan struct{ From, To []byte }

// Holds tells whether a key belongs into the leaf.
func (s IAMSpan) Holds(key []byte) bool {
	return bytes.Compare(key, s.From) >= 0 && (s.To == nil || bytes.Compare(key, s.To) < 0)
}

// IAMTree gives the leaves that a search can come to, by block number of the file. blocks is how many the file has, size what one has in
// bytes; read fills in one. The error tells the first thing because of which a search would fail; what was found up to there is
// given too. Each block is read once at most, and leaves are not read.
func IAMTree(want IAMShape, size int, blocks uint64, read func(block uint64, buf []byte) error) (map[uint64]IAMSpan, error) {
	t := iamWalk{size: size, blocks: blocks, read: read, leaves: map[uint64]IAMSpan{}, met: map[uint64]bool{0: true}}
	buf := make([]byte, size)
	if err := read(0, buf); err != nil {
		return t.leaves, fmt.Errorf("read the root of the index: %w", err)
	}
	root, err := DecodeIAMRoot(buf)
	if err != nil {
		return t.leaves, err
	}
	if root.Shape != want {
		return t.leaves, fmt.Errorf("the index has keys of %d, records of %d and pointers of %d bytes, want %d, %d and %d",
			root.Shape.Key, root.Shape.Record, root.Shape.Pointer, want.Key, want.Record, want.Pointer)
	}
	t.shape = root.Shape
	return t.leaves, t.node(0, buf, root.Levels, IAMSpan{})
}

// iamWalk is one walk over an index.
type iamWalk struct {
	shape  IAMShape
	size   int
	blocks uint64
	read   func(uint64, []byte) error
	leaves map[uint64]IAMSpan
	met    map[uint64]bool
}

// node goes through the pointers of a block with so many levels of index blocks below it.
func (t *iamWalk) node(block uint64, buf []byte, levels int, span IAMSpan) error {
	ps, err := t.shape.Pointers(buf, block == 0)
	if err != nil {
		return fmt.Errorf("block %d of the index: %w", block, err)
	}
	for i, p := range ps {
		below := span
		if i > 0 {
			below.From = bytes.Clone(p.Key)
			if !span.Holds(p.Key) || i > 1 && bytes.Compare(ps[i-1].Key, p.Key) >= 0 {
				return fmt.Errorf("block %d of the index: pointer %d has the key %x, which is out of order", block, i, p.Key)
			}
		}
		if i+1 < len(ps) {
			below.To = bytes.Clone(ps[i+1].Key)
		}
		if p.Block == 0 || p.Block >= t.blocks || t.met[p.Block] {
			return fmt.Errorf("block %d of the index: pointer %d leads to block %d of %d, or another one does too", block, i, p.Block, t.blocks)
		}
		t.met[p.Block] = true
		if levels == 0 {
			t.leaves[p.Block] = below
			continue
		}
		next := make([]byte, t.size)
		if err := t.read(p.Block, next); err != nil {
			return fmt.Errorf("read block %d of the index: %w", p.Block, err)
		}
		if err := t.node(p.Block, next, levels-1, below); err != nil {
			return err
		}
	}
	return nil
}
