package thinbuild

import (
	"encoding/binary"

	"fettle/internal/format/thinmeta"
)

// treeKind is what a node is taken for. A block alone does not say whether it belongs to the tree over devices or to the tree of one
// device; both have values of 8 bytes.
type treeKind uint8

const (
	treeBlocks  treeKind = iota // of one device: virtual block -> data block
	treeMapping                 // device -> root of its treeBlocks
	treeDetails                 // device -> details
)

// treeSum is what is known of the tree below a block, taken for one kind.
type treeSum struct {
	ok      bool // it can be of the kind
	holes   bool // parts of it cannot be read
	busy    bool
	devices uint64
	mapped  uint64 // mapped blocks
	newest  uint32 // time
	pairs   uint64 // sum over the devices of mix(id, mapped blocks)
	content uint64 // sum over everything: two trees with the same one are the same
}

// agreement is the same for a mapping tree and a details tree that tell the same of every device.
func (t treeSum) agreement() [3]uint64 { return [3]uint64{t.devices, t.mapped, t.pairs} }

type sumKey struct {
	block uint64
	kind  treeKind
}

// summer sums up trees; each node once, whatever refers to it.
type summer struct {
	*source
	memo map[sumKey]*treeSum
	// size is the value size of each block that is a node, 0 for others. It saves reading blocks that cannot be what is looked for.
	size []uint8
}

// newSummer reads all blocks once to find the nodes.
func newSummer(s *source) (*summer, error) {
	out := &summer{source: s, memo: map[sumKey]*treeSum{}, size: make([]uint8, s.f.Blocks())}
	for block := uint64(1); block < s.f.Blocks(); block++ {
		r, err := s.node(block)
		if s.stop != nil {
			return nil, s.stop
		}
		if err == nil && (r.valueSize == mappingSize || r.valueSize == detailsSize) {
			out.size[block] = uint8(r.valueSize)
		}
	}
	return out, nil
}

// candidates lists the trees of a kind that have a device. A part of a larger tree is one too: a node that became the root when the tree
// shrank is still referred to by the old root.
func (s *summer) candidates(kind treeKind) []rootCandidate {
	var out []rootCandidate
	for block := uint64(1); block < uint64(len(s.size)); block++ {
		if s.size[block] == 0 {
			continue
		}
		if t := s.sum(block, kind, 0); t.ok && t.devices > 0 {
			out = append(out, rootCandidate{block: block, tree: *t})
		}
	}
	return out
}

// sum sums up the tree below a block.
func (s *summer) sum(block uint64, kind treeKind, depth int) *treeSum {
	bad := &treeSum{}
	if block == 0 || block >= uint64(len(s.size)) || depth > 2*maxHeight || s.size[block] == 0 {
		return bad
	}
	key := sumKey{block, kind}
	if t := s.memo[key]; t != nil {
		if t.busy {
			return bad
		}
		return t
	}
	r, err := s.node(block)
	if err != nil {
		return bad
	}
	t := &treeSum{busy: true, content: mix(uint64(kind))}
	s.memo[key] = t
	switch {
	case !r.leaf:
		_, blocks := contentOf(r)
		for _, kid := range blocks {
			t.addChild(s.sum(kid, kind, depth+1))
		}
	case kind == treeDetails:
		t.detailsLeaf(r)
	case kind == treeBlocks:
		t.blocksLeaf(r)
	default:
		s.mappingLeaf(t, r, depth)
	}
	t.busy = false
	return t
}

func (t *treeSum) addChild(c *treeSum) {
	t.ok, t.holes = t.ok || c.ok, t.holes || c.holes || !c.ok
	t.devices, t.mapped = t.devices+c.devices, t.mapped+c.mapped
	t.pairs, t.content, t.newest = t.pairs+c.pairs, t.content+c.content, max(t.newest, c.newest)
}

func (t *treeSum) addDevice(id, mapped uint64) {
	t.devices++
	t.mapped += mapped
	t.pairs += mix(id, mapped)
}

func (t *treeSum) detailsLeaf(r rawNode) {
	t.ok = r.valueSize == detailsSize
	for i := 0; i < r.n && t.ok; i++ {
		d := getDetails(r.value(i))
		t.ok = r.key(i) <= thinmeta.MaxDevice
		t.addDevice(r.key(i), d.MappedBlocks)
		t.newest = max(t.newest, d.CreationTime, d.SnapshotTime)
		t.content += mix(1, r.key(i), d.MappedBlocks, d.TransactionID, uint64(d.CreationTime), uint64(d.SnapshotTime))
	}
}

func (t *treeSum) blocksLeaf(r rawNode) {
	t.ok = r.valueSize == mappingSize
	for i := 0; i < r.n && t.ok; i++ {
		t.mapped++
		t.newest = max(t.newest, r.mapping(i).Time)
		t.content += mix(2, r.key(i), r.u64(i))
	}
}

// mappingLeaf sums up a leaf of the tree over devices and the trees of those. It is one when all values can be blocks and half of them
// are nodes: in the leaf of one device a value is that small only if it is data block 0.
func (s *summer) mappingLeaf(t *treeSum, r rawNode, depth int) {
	if r.valueSize != mappingSize || r.n == 0 || r.key(r.n-1) > thinmeta.MaxDevice {
		return
	}
	nodes := 0
	for i := range r.n {
		v := r.u64(i)
		if v == 0 || v >= uint64(len(s.size)) {
			return
		}
		if s.size[v] == mappingSize {
			nodes++
		}
	}
	if t.ok = 2*nodes >= r.n; !t.ok {
		return
	}
	keys, blocks := contentOf(r)
	for i, id := range keys {
		tree := s.sum(blocks[i], treeBlocks, depth+1)
		t.holes = t.holes || tree.holes || !tree.ok
		t.addDevice(id, tree.mapped)
		t.newest = max(t.newest, tree.newest)
		t.content += mix(3, id, tree.content)
	}
}

// devices lists the ids in a tree over devices, with the number of mapped blocks.
func (s *summer) devices(root uint64, kind treeKind) map[uint32]uint64 {
	ids := map[uint32]uint64{}
	w := smallWalk{source: s.source, valueSize: detailsSize, seen: map[uint64]bool{}, gap: func(uint64, error) {}, entry: func(id uint32, v []byte) {
		ids[id] = getDetails(v).MappedBlocks
	}}
	if kind == treeMapping {
		w.valueSize, w.entry = mappingSize, func(id uint32, v []byte) { ids[id] = binary.LittleEndian.Uint64(v) }
	}
	w.walk(root, 0, thinmeta.MaxDevice, 0)
	if kind == treeMapping {
		for id, block := range ids {
			ids[id] = s.sum(block, treeBlocks, 0).mapped
		}
	}
	return ids
}
