package thinbuild

import (
	"cmp"
	"fmt"
	"slices"

	"fettle/internal/format/thinmeta"
)

// Edit maps a virtual block, or unmaps it.
type Edit struct {
	Entry
	Unmap bool // then only Virtual counts
}

// Change returns a tree that differs from root by the edits and shares every node with it that they do not touch, as when the kernel
// writes to a snapshot. Of several edits of one virtual block the last one holds; unmapping what is not mapped does nothing.
func (b *Builder) Change(root Node, edits ...Edit) (Node, error) {
	if root.b != b {
		return Node{}, fmt.Errorf("change a tree: its root is not a node of this builder")
	}
	list := slices.Clone(edits)
	slices.SortStableFunc(list, func(x, y Edit) int { return cmp.Compare(x.Virtual, y.Virtual) })
	last := list[:0]
	for i, e := range list {
		if i+1 == len(list) || list[i+1].Virtual != e.Virtual {
			last = append(last, e)
		}
	}
	parts, err := b.change(&part{node: root}, last)
	if err != nil {
		return Node{}, fmt.Errorf("change a tree: %w", err)
	}
	return b.writeTree(parts)
}

// part is a subtree in the making: a node that is written, or content that is not written yet. Parts are never changed once others
// can see them; node is set when the content is written, entries and kids when it is read.
type part struct {
	node    Node // node.b is nil when it is not written
	height  int  // of an unwritten part
	entries []Entry
	kids    []*part
}

func (p *part) written() bool { return p.node.b != nil }

func (p *part) heightOf() int {
	if p.written() {
		return int(p.node.b.infoOf(p.node.block).height)
	}
	return p.height
}

// size is the number of entries of the part's topmost node.
func (p *part) size() int {
	switch {
	case p.written():
		return int(p.node.b.infoOf(p.node.block).n)
	case p.height == 0:
		return len(p.entries)
	}
	return len(p.kids)
}

// first is the lowest key; the part is not empty.
func (p *part) first() uint64 {
	for !p.written() && p.height > 0 {
		p = p.kids[0]
	}
	if p.written() {
		return p.node.b.infoOf(p.node.block).first
	}
	return p.entries[0].Virtual
}

// last is the highest key; the part is not empty.
func (p *part) last() uint64 {
	for !p.written() && p.height > 0 {
		p = p.kids[len(p.kids)-1]
	}
	if p.written() {
		return p.node.b.infoOf(p.node.block).last
	}
	return p.entries[len(p.entries)-1].Virtual
}

// mapped is how many virtual blocks the part maps.
func (p *part) mapped() uint64 {
	if p.written() {
		return p.node.Mapped()
	}
	n := uint64(len(p.entries))
	for _, kid := range p.kids {
		n += kid.mapped()
	}
	return n
}

// open returns the content of a part as one that is not written.
func (b *Builder) open(p *part) (*part, error) {
	if !p.written() {
		return p, nil
	}
	var buf [thinmeta.BlockSize]byte
	if err := b.s.read(p.node.block, buf[:]); err != nil {
		return nil, err
	}
	r, err := parseNode(buf[:], p.node.block)
	if err != nil {
		return nil, fmt.Errorf("read back metadata block %d: %w", p.node.block, err)
	}
	out := &part{height: p.heightOf()}
	for i := range r.n {
		if r.leaf {
			out.entries = append(out.entries, r.mapping(i))
		} else {
			out.kids = append(out.kids, &part{node: Node{b, r.u64(i)}})
		}
	}
	return out, nil
}

// change returns what becomes of a subtree: parts of the same height that together hold its mappings, edited. The edits are sorted.
func (b *Builder) change(p *part, edits []Edit) ([]*part, error) {
	if len(edits) == 0 {
		return []*part{p}, nil
	}
	content, err := b.open(p)
	if err != nil {
		return nil, err
	}
	if content.height == 0 {
		entries := merge(content.entries, edits)
		if slices.Equal(entries, content.entries) {
			return []*part{p}, nil
		}
		return split(0, entries, nil), nil
	}
	var kids []*part
	same := true
	for i, kid := range content.kids {
		n := len(edits)
		if i+1 < len(content.kids) {
			next := content.kids[i+1].first()
			n, _ = slices.BinarySearchFunc(edits, next, func(e Edit, key uint64) int { return cmp.Compare(e.Virtual, key) })
		}
		list, err := b.change(kid, edits[:n])
		if err != nil {
			return nil, err
		}
		same = same && len(list) == 1 && list[0] == kid
		kids, edits = append(kids, list...), edits[n:]
	}
	if same {
		return []*part{p}, nil
	}
	return b.group(content.height, kids)
}

// merge applies edits to entries; both are sorted.
func merge(entries []Entry, edits []Edit) []Entry {
	out := make([]Entry, 0, len(entries)+len(edits))
	for len(entries) > 0 || len(edits) > 0 {
		if len(edits) == 0 || len(entries) > 0 && entries[0].Virtual < edits[0].Virtual {
			out, entries = append(out, entries[0]), entries[1:]
			continue
		}
		if len(entries) > 0 && entries[0].Virtual == edits[0].Virtual {
			entries = entries[1:]
		}
		if !edits[0].Unmap {
			out = append(out, edits[0].Entry)
		}
		edits = edits[1:]
	}
	return out
}

// split makes parts of that height from content, none fuller than a node; no part of nothing.
func split(height int, entries []Entry, kids []*part) []*part {
	var out []*part
	switch {
	case height == 0 && len(entries) > 0:
		for _, list := range halves(entries, maxMappings) {
			out = append(out, &part{entries: list})
		}
	case height > 0 && len(kids) > 0:
		for _, list := range halves(kids, maxMappings) {
			out = append(out, &part{height: height, kids: list})
		}
	}
	return out
}

// group makes parts of that height from the parts below.
func (b *Builder) group(height int, kids []*part) ([]*part, error) {
	kids, err := b.fill(kids)
	if err != nil {
		return nil, err
	}
	return split(height, nil, kids), nil
}

// fill merges parts that are less than a third full with their neighbours. All have the same height. Afterwards every part is legal
// below a branch, unless there is only one; then it may be short, and so may the only child of it, down to the leaf.
func (b *Builder) fill(list []*part) ([]*part, error) {
	var out []*part
	for _, p := range list {
		if p.size() == 0 {
			continue
		}
		if len(out) == 0 || p.size() >= minMappings && out[len(out)-1].size() >= minMappings {
			out = append(out, p)
			continue
		}
		left, err := b.open(out[len(out)-1])
		if err != nil {
			return nil, err
		}
		right, err := b.open(p)
		if err != nil {
			return nil, err
		}
		merged := split(0, slices.Concat(left.entries, right.entries), nil)
		if left.height > 0 {
			if merged, err = b.group(left.height, slices.Concat(left.kids, right.kids)); err != nil {
				return nil, err
			}
		}
		out = append(out[:len(out)-1], merged...)
	}
	return out, nil
}

// writeTree makes one tree of parts of the same height and writes what of it is not written.
func (b *Builder) writeTree(list []*part) (Node, error) {
	list, err := b.fill(list)
	if err != nil {
		return Node{}, err
	}
	for len(list) > 1 {
		if list, err = b.group(list[0].heightOf()+1, list); err != nil {
			return Node{}, err
		}
	}
	if len(list) == 0 {
		return b.Leaf(nil)
	}
	top := list[0]
	for top.heightOf() > 0 && top.size() == 1 {
		content, err := b.open(top)
		if err != nil {
			return Node{}, err
		}
		top = content.kids[0]
	}
	return b.writePart(top)
}

// writePart writes a part whose children are legal.
func (b *Builder) writePart(p *part) (n Node, err error) {
	if p.written() {
		return p.node, nil
	}
	if p.height == 0 {
		n, err = b.Leaf(p.entries)
	} else {
		kids := make([]Node, len(p.kids))
		for i, kid := range p.kids {
			if kids[i], err = b.writePart(kid); err != nil {
				return Node{}, err
			}
		}
		n, err = b.Branch(kids)
	}
	if err != nil {
		return Node{}, err
	}
	p.node, p.entries, p.kids = n, nil, nil
	return n, nil
}
