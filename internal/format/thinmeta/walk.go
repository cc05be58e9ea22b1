package thinmeta

import (
	"errors"
	"fmt"
)

// errStop ends a walk early.
var errStop = errors.New("stop")

// keyRange is a range of keys, both ends included.
type keyRange struct{ lo, hi uint64 }

var allKeys = keyRange{0, ^uint64(0)}

// treeWalk goes through one btree in the order of its keys, one node at a time. A child only counts for the keys its parent gives
// it, which is what a search of the kernel would find; so no key comes twice. A tree refers to each of its blocks once, so a walk
// that has entered more nodes than there are blocks is in a damaged one and enters no more.
type treeWalk struct {
	f         *File
	valueSize int
	visits    uint64   // nodes entered
	path      []uint64 // blocks from the root to here
	bufs      [][]byte // one for each level
	// leaf is called for each leaf with the entries from..to that count.
	leaf func(nd *node, from, to int) error
	// gap is called for what cannot be read. The walk goes on behind it unless gap gives an error.
	gap func(keys keyRange, err error) error
}

// walk goes through the tree below block for the keys of r.
func (w *treeWalk) walk(block uint64, r keyRange) error {
	depth := len(w.path)
	if err := w.mayEnter(block); err != nil {
		return w.gap(r, err)
	}
	if depth == len(w.bufs) {
		w.bufs = append(w.bufs, alignedBuffer(BlockSize))
	}
	nd, err := w.f.readNode(block, w.valueSize, w.bufs[depth])
	if err != nil {
		return w.gap(r, err)
	}
	from, to := nd.clip(r)
	if nd.leaf {
		if outside := nd.n - (to - from); outside > 0 {
			text := fmt.Sprintf("btree node has %d keys outside of the range its parent gives it", outside)
			if err := w.gap(r, damagedBlock(NodeInvalid, block, text)); err != nil {
				return err
			}
		}
		return w.leaf(&nd, from, to)
	}
	w.path = append(w.path, block)
	defer func() { w.path = w.path[:depth] }()
	for i := from; i < to; i++ {
		if err := w.walk(nd.val(i), nd.childRange(i, r)); err != nil {
			return err
		}
	}
	return nil
}

func (w *treeWalk) mayEnter(block uint64) error {
	if w.visits++; w.visits > w.f.blocks+1 {
		return damagedBlock(NodeInvalid, block, "btree refers to blocks again and again")
	}
	if len(w.path) >= maxHeight {
		return damagedBlock(NodeInvalid, block, fmt.Sprintf("btree has more than %d levels", maxHeight))
	}
	for _, b := range w.path {
		if b == block {
			return damagedBlock(NodeInvalid, block, "btree node is its own ancestor")
		}
	}
	return nil
}

// clip gives the entries that have to do with the keys of r: for a leaf those whose key lies in it, for an internal node those
// whose children may have such keys.
func (nd *node) clip(r keyRange) (from, to int) {
	if nd.leaf {
		from = nd.search(r.lo)
	} else if from = nd.search(r.lo); from > 0 && (from == nd.n || nd.key(from) > r.lo) {
		from--
	}
	to = nd.n
	if r.hi != ^uint64(0) {
		to = nd.search(r.hi + 1)
	}
	return from, max(from, to)
}

// search gives the first entry whose key is not less than k.
func (nd *node) search(k uint64) int {
	lo, hi := 0, nd.n
	for lo < hi {
		if mid := (lo + hi) / 2; nd.key(mid) < k {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// childRange gives the keys that child i may have, within r.
func (nd *node) childRange(i int, r keyRange) keyRange {
	r.lo = max(r.lo, nd.key(i))
	if i+1 < nd.n {
		r.hi = min(r.hi, nd.key(i+1)-1)
	}
	return r
}
