package thinbuild

import (
	"fmt"

	"fettle/internal/format/thinmeta"
)

// copier copies mapping trees from a source to a builder. What several trees share is copied once, and is shared in the copy.
type copier struct {
	source
	b *Builder
	// done holds, for each block of the source that was copied as one node and without loss, the block of the copy. Healthy
	// metadata needs nothing else; the maps hold the other cases.
	done  []uint32
	memo  map[uint64]*copied // by block of the source
	roots map[uint64]Node    // copies with a loss that were made the tree of a device
}

func newCopier(s source, b *Builder) *copier {
	return &copier{source: s, b: b, done: make([]uint32, s.f.Blocks()), memo: map[uint64]*copied{}, roots: map[uint64]Node{}}
}

// known returns the copy of a block that has one in done.
func (c *copier) known(block uint64) (Node, bool) {
	if block >= uint64(len(c.done)) || c.done[block] == 0 {
		return Node{}, false
	}
	return Node{c.b, uint64(c.done[block])}, true
}

// keep notes the copy of a block that came out without loss. Blocks have numbers below 2^22.
func (c *copier) keep(block uint64, n Node) {
	c.done[block] = uint32(n.block)
	delete(c.memo, block)
}

// copied is what became of a node of the source: parts of equal height without the mappings that could not be read or kept.
type copied struct {
	parts []*part
	loss  loss
	busy  bool // it is being copied: whoever meets it now is below it
}

// loss says what is missing in a copy.
type loss struct {
	subtrees int    // that cannot be read
	entries  uint64 // mappings that can be read and mean nothing
	first    string // the first reason
}

func (l *loss) add(m loss) {
	l.subtrees, l.entries = l.subtrees+m.subtrees, l.entries+m.entries
	if l.first == "" {
		l.first = m.first
	}
}

func (l loss) any() bool { return l.subtrees > 0 || l.entries > 0 }

// text is a sentence for people; empty when nothing is missing.
func (l loss) text() string {
	switch {
	case l.subtrees == 1:
		return "a part of its mappings cannot be read: " + l.first
	case l.subtrees > 1:
		return fmt.Sprintf("%d parts of its mappings cannot be read; the first: %s", l.subtrees, l.first)
	case l.entries > 0:
		return fmt.Sprintf("%d of its mappings mean nothing; the first: %s", l.entries, l.first)
	}
	return ""
}

func lostSubtree(err error) *copied { return &copied{loss: loss{subtrees: 1, first: err.Error()}} }

// tree copies the tree of a device. Damage of the source is a loss, not an error.
func (c *copier) tree(block uint64) (Node, loss, error) {
	if n, ok := c.known(block); ok {
		return n, loss{}, nil
	}
	got, err := c.copy(block, 0)
	if err != nil {
		return Node{}, loss{}, err
	}
	if n, ok := c.roots[block]; ok {
		return n, got.loss, nil
	}
	n, err := c.b.writeTree(got.parts)
	switch {
	case err != nil:
	case got.loss.any():
		c.roots[block] = n
	default:
		c.keep(block, n)
	}
	return n, got.loss, err
}

// copy copies what is below a block of the source.
func (c *copier) copy(block uint64, depth int) (*copied, error) {
	if n, ok := c.known(block); ok {
		return &copied{parts: []*part{{node: n}}}, nil
	}
	if m, ok := c.memo[block]; ok {
		if m.busy {
			return lostSubtree(fmt.Errorf("metadata block %d: it is below itself", block)), nil
		}
		return m, nil
	}
	if block >= uint64(len(c.done)) {
		return lostSubtree(fmt.Errorf("metadata block %d: there are only %d", block, len(c.done))), nil
	}
	if depth > maxHeight {
		return lostSubtree(fmt.Errorf("metadata block %d: the tree has more than %d levels", block, maxHeight)), nil
	}
	r, err := c.mappingNode(block)
	if c.stop != nil {
		return nil, c.stop
	}
	m := &copied{busy: true}
	c.memo[block] = m
	switch {
	case err != nil:
		*m = *lostSubtree(err)
		return m, nil
	case r.leaf:
		err = c.copyLeaf(m, r, block)
	default:
		keys, blocks := contentOf(r)
		err = c.copyBranch(m, keys, blocks, depth)
	}
	m.busy = false
	if err == nil && !m.loss.any() && len(m.parts) == 1 && m.parts[0].written() {
		c.keep(block, m.parts[0].node)
	}
	return m, err
}

// copyLeaf copies a leaf. One that is too short for a place below a branch is kept unwritten: it may be the whole tree of a device,
// or be merged with its neighbours.
func (c *copier) copyLeaf(m *copied, r rawNode, block uint64) error {
	entries := make([]Entry, 0, r.n)
	for i := range r.n {
		e := r.mapping(i)
		if e.Data >= c.b.o.DataBlocks {
			m.loss.add(loss{entries: 1, first: fmt.Sprintf("metadata block %d: virtual block %d maps to data block %d of %d", block, e.Virtual, e.Data, c.b.o.DataBlocks)})
			continue
		}
		entries = append(entries, e)
	}
	m.parts = split(0, entries, nil)
	return c.writeLegal(m.parts)
}

// copyBranch copies an internal node.
func (c *copier) copyBranch(m *copied, keys, blocks []uint64, depth int) error {
	var lists [][]*part
	height := 0
	for i, block := range blocks {
		kid, err := c.copy(block, depth+1)
		if err != nil {
			return err
		}
		m.loss.add(kid.loss)
		lo, hi := childRange(keys, i)
		parts, lost, err := c.within(kid.parts, lo, hi)
		if err != nil {
			return err
		}
		if lost > 0 {
			m.loss.add(loss{entries: lost, first: fmt.Sprintf("metadata block %d: it holds virtual blocks that its parent does not give it, where nothing finds them", block)})
		}
		if len(parts) > 0 {
			lists = append(lists, parts)
			height = max(height, parts[0].heightOf())
		}
	}
	var kids []*part
	for _, list := range lists {
		for _, p := range list {
			for p.heightOf() < height { // only in a tree that no kernel wrote
				p = &part{height: p.heightOf() + 1, kids: []*part{p}}
			}
			kids = append(kids, p)
		}
	}
	var err error
	if m.parts, err = c.b.group(height+1, kids); err != nil {
		return err
	}
	return c.writeLegal(m.parts)
}

// writeLegal writes the parts that can have a place below a branch, so that all who use them share them.
func (c *copier) writeLegal(parts []*part) error {
	for _, p := range parts {
		if p.size() < minMappings {
			continue
		}
		if _, err := c.b.writePart(p); err != nil {
			return err
		}
	}
	return nil
}

// within takes away what lies outside of lo..hi, and says how many mappings that were.
func (c *copier) within(parts []*part, lo, hi uint64) (kept []*part, lost uint64, err error) {
	for _, p := range parts {
		if p.first() >= lo && p.last() <= hi {
			kept = append(kept, p)
			continue
		}
		list, err := c.b.cut(p, lo, hi)
		if err != nil {
			return nil, 0, err
		}
		lost += p.mapped()
		for _, q := range list {
			lost -= q.mapped()
		}
		kept = append(kept, list...)
	}
	return kept, lost, nil
}

// cut returns the mappings of lo..hi of a part.
func (b *Builder) cut(p *part, lo, hi uint64) ([]*part, error) {
	switch first, last := p.first(), p.last(); {
	case first >= lo && last <= hi:
		return []*part{p}, nil
	case last < lo || first > hi:
		return nil, nil
	}
	content, err := b.open(p)
	if err != nil {
		return nil, err
	}
	if content.height == 0 {
		var entries []Entry
		for _, e := range content.entries {
			if e.Virtual >= lo && e.Virtual <= hi {
				entries = append(entries, e)
			}
		}
		return split(0, entries, nil), nil
	}
	var kids []*part
	for _, kid := range content.kids {
		list, err := b.cut(kid, lo, hi)
		if err != nil {
			return nil, err
		}
		kids = append(kids, list...)
	}
	return b.group(content.height, kids)
}

// rebuiltDetails makes details for a device that has none. Its snapshot time is the pool's time: every mapping that any snapshot may
// share is older than that, so the kernel copies before it writes. A lower one would let it overwrite blocks of other devices.
// When the device was made is not known; the time of its newest mapping is the best guess.
func rebuiltDetails(root Node, o Options) thinmeta.Details {
	return thinmeta.Details{MappedBlocks: root.Mapped(), TransactionID: o.TransactionID, CreationTime: root.Newest(), SnapshotTime: max(o.Time, root.Newest())}
}
