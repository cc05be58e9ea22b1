package thinmeta

import (
	"slices"
)

// use says what a metadata block is used for. A block has one use.
type use uint8

const (
	useNone use = iota
	useSuper
	useHeld
	useTop
	useBottom
	useDetails
	useDataIndex
	useDataCounts
	useDataBitmap
	useMetaIndex
	useMetaCounts
	useMetaBitmap
)

var useNames = [...]string{
	"nothing", "superblock", "superblock of the metadata snapshot", "node of the mapping tree", "node of a device's mappings",
	"node of the details tree", "node of the data space map's index", "node of the data reference counts", "bitmap of the data space map",
	"index of the metadata space map", "node of the metadata reference counts", "bitmap of the metadata space map",
}

// noBlock stands for a reference to a block that cannot be.
const noBlock = ^uint32(0)

// facts is what is kept of a node that was read: enough for everything above it, 56 bytes.
type facts struct {
	first  uint64 // own first key
	last   uint64 // highest key at or below it
	mapped uint64 // entries in the leaves below, each path counted
	sole   uint64 // of them, with a data block that nothing else maps; see fold
	block  uint32
	newest uint32
	// shared is 1 more than the newest time of a mapping below whose data block is surely mapped elsewhere, too; 0 for none. Until it is
	// folded, a leaf has the oldest time of its mappings here.
	shared uint32
	inner  int32 // index into tree.inner, or leafNode
	height uint8
	state  uint8
}

const leafNode = -1

// States of a node in fold.
const (
	stateNew uint8 = iota
	stateOpen
	stateDone
	stateBad // done, and something below cannot be read
)

// innerNode is where the children of an internal node lie in tree.keys and tree.kids.
type innerNode struct{ off, n int32 }

// tree is a set of btrees of one sort that may share subtrees. Each block is read once; what is above the leaves stays in memory
// (12 bytes for each child), so that everything that depends on paths is worked out afterwards.
type tree struct {
	c         *checker
	use       use
	valueSize int
	onLeaf    func(slot int, nd *node)

	facts []facts
	inner []innerNode
	keys  []uint64
	kids  []uint32
	bad   bool // something could not be read
}

// grow reads everything below the roots that was not read before, level by level, each level in the order of the blocks.
func (t *tree) grow(roots []uint32) error {
	for len(roots) > 0 {
		slices.Sort(roots)
		var next []uint32
		err := t.c.fetch(roots, func(got fetched) error {
			nd, bad := t.parse(got)
			if bad != nil {
				t.bad = true
				t.c.problems.add(Problem{Kind: bad.Kind, Block: bad.Block, Device: NoDevice, Text: bad.Text + ", " + useNames[t.use]})
				return nil
			}
			next = t.take(got.block, &nd, next)
			return nil
		})
		if err != nil {
			return err
		}
		roots = next
	}
	return nil
}

func (t *tree) parse(got fetched) (node, *BlockError) {
	switch {
	case got.err != nil:
		return node{}, damagedBlock(NodeChecksum, uint64(got.block), "cannot be read: "+got.err.Error())
	case got.mask != maskNode:
		return node{}, damagedBlock(NodeChecksum, uint64(got.block), "wrong checksum in a btree node")
	}
	return parseNode(got.b, uint64(got.block), t.valueSize)
}

// take keeps what is needed of a good node, and appends the children that were not seen before.
func (t *tree) take(block uint32, nd *node, next []uint32) []uint32 {
	slot := len(t.facts)
	t.facts = append(t.facts, facts{block: block, inner: leafNode})
	t.c.slots[block] = uint32(slot + 1)
	fa := &t.facts[slot]
	if nd.n > 0 {
		fa.first, fa.last = nd.key(0), nd.key(nd.n-1)
	}
	if nd.leaf {
		fa.mapped = uint64(nd.n)
		if t.onLeaf != nil {
			t.onLeaf(slot, nd)
		}
		return next
	}
	fa.inner = int32(len(t.inner))
	t.inner = append(t.inner, innerNode{int32(len(t.kids)), int32(nd.n)})
	for i := range nd.n {
		kid, fresh := t.c.refer(nd.val(i), t.use, uint64(block))
		if fresh {
			next = append(next, kid)
		}
		t.bad = t.bad || kid == noBlock
		t.keys = append(t.keys, nd.key(i))
		t.kids = append(t.kids, kid)
	}
	return next
}

// get gives the facts of a block of this tree, nil when it could not be read.
func (t *tree) get(block uint32) *facts {
	if block == noBlock || t.c.uses[block] != t.use || t.c.slots[block] == 0 {
		return nil
	}
	return &t.facts[t.c.slots[block]-1]
}

// fold works out last, mapped, sole, newest, height and state of everything below block, and says whether all of it can be read.
// It tells of cycles, of leaves at different depths and of keys outside of the range that their parents give them. Counts must be
// complete before. The stack is explicit: a damaged file may hold a chain of all its blocks.
func (t *tree) fold(block uint32) bool {
	root := t.get(block)
	if root == nil {
		return false
	}
	type level struct {
		fa   *facts
		next int32
	}
	stack := []level{{fa: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		fa := top.fa
		if fa.state >= stateDone {
			stack = stack[:len(stack)-1]
			continue
		}
		fa.state = stateOpen
		if fa.inner == leafNode {
			fa.shareLeaf()
			fa.state = stateDone
			continue
		}
		in := t.inner[fa.inner]
		if top.next == in.n {
			t.sum(fa, in)
			continue
		}
		kid := t.get(t.kids[in.off+top.next])
		top.next++
		if kid != nil && kid.state == stateNew {
			stack = append(stack, level{fa: kid})
		}
	}
	return root.state == stateDone
}

// sum fills an internal node from its children, all of which are done, bad, or ancestors.
func (t *tree) sum(fa *facts, in innerNode) {
	fa.state = stateDone
	good := false
	for i := in.off; i < in.off+in.n; i++ {
		kid := t.get(t.kids[i])
		if kid == nil || kid.state == stateBad {
			fa.state = stateBad
		}
		if kid == nil {
			continue
		}
		if kid.state == stateOpen || kid == fa {
			t.wrong(fa, "btree node %d refers to its own ancestor %d", fa.block, kid.block)
			continue
		}
		if good && kid.height+1 != fa.height {
			t.wrong(fa, "leaves below btree node %d lie at different depths", fa.block)
		}
		good = true
		fa.height = max(fa.height, kid.height+1)
		if kid.first < t.keys[i] || i+1 < in.off+in.n && kid.last >= t.keys[i+1] {
			t.wrong(fa, "btree node %d has keys outside of the range its parent %d gives it", kid.block, fa.block)
		}
		if kid.mapped > 0 {
			fa.last = max(fa.last, kid.last)
		}
		fa.mapped = saturate(fa.mapped, kid.mapped)
		if t.c.refs[kid.block] == 1 {
			fa.sole += kid.sole
		}
		fa.newest = max(fa.newest, kid.newest)
		fa.shared = max(fa.shared, kid.sharedFrom(t.c.refs[kid.block]))
	}
	if fa.height > maxHeight {
		t.wrong(fa, "btree below node %d has more than %d levels", fa.block, maxHeight)
		fa.height = maxHeight // so that it does not overflow further up
	}
}

// shareLeaf works out shared of a leaf. Of a leaf some of whose blocks are shared it is not known which: the oldest at the most.
func (fa *facts) shareLeaf() {
	switch oldest := fa.shared; {
	case fa.sole >= fa.mapped:
		fa.shared = 0
	case fa.sole == 0:
		fa.shared = fa.newest + 1
	default:
		fa.shared = oldest + 1
	}
}

// sharedFrom is shared as a parent sees it: all below a node with several parents is.
func (fa *facts) sharedFrom(refs uint32) uint32 {
	if refs > 1 && fa.mapped > 0 {
		return fa.newest + 1
	}
	return fa.shared
}

// wrong tells of a node that is damaged though it can be read.
func (t *tree) wrong(fa *facts, format string, args ...any) {
	fa.state = stateBad
	t.bad = true
	t.c.problems.block(NodeInvalid, uint64(fa.block), format, args...)
}

func saturate(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// orderedLeaf is a leaf, or a part that cannot be read, with the lowest key it may have.
type orderedLeaf struct {
	lo    uint64
	block uint32 // noBlock for what cannot be read
}

// ordered lists the leaves below block in the order of their keys. Each node is entered once, so that it ends.
func (t *tree) ordered(block uint32) []orderedLeaf {
	var out []orderedLeaf
	stack := []orderedLeaf{{0, block}}
	seen := make([]bool, len(t.facts))
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		fa := t.get(at.block)
		if fa == nil || seen[t.c.slots[at.block]-1] {
			out = append(out, orderedLeaf{at.lo, noBlock})
			continue
		}
		seen[t.c.slots[at.block]-1] = true
		if fa.inner == leafNode {
			out = append(out, at)
			continue
		}
		in := t.inner[fa.inner]
		for i := in.off + in.n - 1; i >= in.off; i-- {
			stack = append(stack, orderedLeaf{t.keys[i], t.kids[i]})
		}
	}
	return out
}
