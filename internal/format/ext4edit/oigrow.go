package ext4edit

import (
	"errors"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// iamNode is a block of an index file on the way from the root to a leaf.
type iamNode struct {
	logical uint64
	block   uint64 // physical
	buf     []byte
}

// iamFile is an index file that is being changed: the way to the leaf of a key, root first and leaf last.
type iamFile struct {
	e     *Edit
	in    *ext4.Inode
	at    *place
	shape lustre.IAMShape
	path  []iamNode
}

// iamOpen goes the way to the leaf in which a key belongs.
func (e *Edit) iamOpen(ino uint32, shape lustre.IAMShape, key []byte) (*iamFile, error) {
	in, err := e.inode(ino)
	if err != nil {
		return nil, err
	}
	if !in.IsRegular() || in.IsInline() {
		return nil, invalid("inode %d is no index file", ino)
	}
	p, err := e.places(in)
	if err != nil {
		return nil, err
	}
	f := &iamFile{e: e, in: in, at: p, shape: shape}
	n, err := f.node(0)
	if err != nil {
		return nil, err
	}
	if lustre.IAMBlockKind(n.buf) == lustre.IAMVariableRoot {
		return nil, fmt.Errorf("index in inode %d has records of variable size: %w", ino, ErrUnsupported)
	}
	root, err := lustre.DecodeIAMRoot(n.buf)
	if err != nil {
		return nil, damaged("index in inode %d: %v", ino, err)
	}
	if root.Shape != shape {
		return nil, fmt.Errorf("index in inode %d has shape %+v, not %+v: %w", ino, root.Shape, shape, ErrUnsupported)
	}
	f.path = []iamNode{n}
	for level := 0; level <= root.Levels; level++ {
		next, err := shape.Child(n.buf, level == 0, key)
		if err != nil {
			return nil, damaged("index in inode %d: %v", ino, err)
		}
		if slices.ContainsFunc(f.path, func(o iamNode) bool { return o.logical == next }) {
			return nil, damaged("index in inode %d leads from block %d back to it", ino, next)
		}
		if n, err = f.node(next); err != nil {
			return nil, err
		}
		f.path = append(f.path, n)
	}
	if lustre.IAMBlockKind(n.buf) != lustre.IAMLeafBlock {
		return nil, damaged("index in inode %d has no leaf in block %d", ino, n.block)
	}
	return f, nil
}

// node reads one block of the file.
func (f *iamFile) node(logical uint64) (iamNode, error) {
	if logical >= uint64(f.at.blocks) || (logical+1)*uint64(f.e.over.size) > f.in.Size {
		return iamNode{}, damaged("index in inode %d names block %d of %d", f.in.Number, logical, f.at.blocks)
	}
	block, err := f.at.at(uint32(logical))
	if err != nil {
		return iamNode{}, err
	}
	buf, err := f.e.change(block)
	return iamNode{logical, block, buf}, err
}

// leaf is the last node of the way.
func (f *iamFile) leaf() *iamNode { return &f.path[len(f.path)-1] }

// put writes a node.
func (f *iamFile) put(n *iamNode, buf []byte) error {
	n.buf = buf
	return f.e.over.write(n.block, buf)
}

// sound makes an error of package lustre about a block one of a damaged structure.
func (f *iamFile) sound(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lustre.ErrIAMTall):
		return fmt.Errorf("index in inode %d: %w: %w", f.in.Number, ErrNeedsSplit, err)
	}
	return damaged("index in inode %d: %v", f.in.Number, err)
}

// grow splits the leaf, and above it what has no room for one more pointer, as a server does. The way then leads to the half in which
// the key belongs.
func (f *iamFile) grow(key []byte) error {
	if err := f.room(len(f.path)-2, key); err != nil {
		return err
	}
	low, high, pivot, err := f.shape.Split(f.leaf().buf)
	if err != nil {
		return f.sound(err)
	}
	return f.divide(len(f.path)-1, low, high, pivot, key)
}

// room makes sure that the node at a place of the way has room for one more pointer.
func (f *iamFile) room(i int, key []byte) error {
	full, err := f.shape.NodeFull(f.path[i].buf, i == 0)
	if err != nil || !full {
		return f.sound(err)
	}
	if i == 0 {
		return f.raise()
	}
	levels := len(f.path)
	if err := f.room(i-1, key); err != nil {
		return err
	}
	i += len(f.path) - levels // the root may have got a level below it
	low, high, pivot, err := f.shape.SplitNode(f.path[i].buf)
	if err != nil {
		return f.sound(err)
	}
	return f.divide(i, low, high, pivot, key)
}

// divide writes the two halves of a node, the new one to a new block, and enters that in the node above. The way goes on through the
// half of the key.
func (f *iamFile) divide(i int, low, high, pivot, key []byte) error {
	more, err := f.newNode()
	if err != nil {
		return err
	}
	above, err := f.shape.InsertPointer(f.path[i-1].buf, i == 1, pivot, more.logical)
	if err != nil {
		return f.sound(err)
	}
	if err := errors.Join(f.put(&more, high), f.put(&f.path[i-1], above), f.put(&f.path[i], low)); err != nil {
		return err
	}
	if slices.Compare(key, pivot) >= 0 {
		f.path[i] = more
	}
	return nil
}

// raise puts a level below the root.
func (f *iamFile) raise() error {
	if _, _, err := f.shape.Raise(f.path[0].buf, 1); err != nil {
		return f.sound(err) // before a block is taken
	}
	more, err := f.newNode()
	if err != nil {
		return err
	}
	root, node, err := f.shape.Raise(f.path[0].buf, more.logical)
	if err != nil {
		return f.sound(err)
	}
	if err := errors.Join(f.put(&more, node), f.put(&f.path[0], root)); err != nil {
		return err
	}
	f.path = slices.Insert(f.path, 1, more)
	return nil
}

// newNode takes a block for a node: an idle one of the file, or a new one at its end.
func (f *iamFile) newNode() (iamNode, error) {
	root, err := lustre.DecodeIAMRoot(f.path[0].buf)
	if err != nil {
		return iamNode{}, f.sound(err)
	}
	if root.Idle != 0 {
		return f.idle(uint64(root.Idle))
	}
	logical, block, err := f.e.appendBlock(f.in)
	if err != nil {
		return iamNode{}, err
	}
	f.at, err = f.e.places(f.in)
	return iamNode{uint64(logical), block, nil}, err
}

// idle takes the last block of the first table of idle blocks, or the table's own when it lists none. The block must be what a server
// leaves there, and nothing of the index may lead to it.
func (f *iamFile) idle(first uint64) (iamNode, error) {
	table, err := f.node(first)
	if err != nil {
		return table, err
	}
	t, err := lustre.DecodeIAMIdle(table.buf)
	if err != nil {
		return table, f.sound(err)
	}
	if len(t.Blocks) == 0 {
		if err := f.unused(first); err != nil {
			return table, err
		}
		if t.Next != 0 {
			next, err := f.node(uint64(t.Next))
			if err == nil && lustre.IAMBlockKind(next.buf) != lustre.IAMIdleBlock {
				err = damaged("index in inode %d has no table of idle blocks in block %d", f.in.Number, t.Next)
			}
			if err != nil {
				return table, err
			}
		}
		buf := slices.Clone(f.path[0].buf)
		lustre.SetIAMIdle(buf, t.Next)
		return table, f.put(&f.path[0], buf)
	}
	last := uint64(t.Blocks[len(t.Blocks)-1])
	t.Blocks = t.Blocks[:len(t.Blocks)-1]
	n, err := f.node(last)
	if err != nil {
		return n, err
	}
	if empty, _ := f.shape.Records(n.buf, func(_, _ []byte) bool { return false }); lustre.IAMBlockKind(n.buf) != lustre.IAMLeafBlock || n.buf[2]|n.buf[3] != 0 {
		return n, damaged("index in inode %d lists block %d as idle, which is no empty leaf (%v)", f.in.Number, last, empty)
	}
	if err := f.unused(last); err != nil {
		return n, err
	}
	buf := slices.Clone(table.buf)
	short, err := t.Encode(len(buf))
	if err != nil {
		return n, f.sound(err)
	}
	copy(buf, short[:4]) // the count; the rest of the table stays, as a server leaves it
	return n, f.put(&table, buf)
}

// unused makes sure that no pointer of the index leads to a block. It reads the root and every index block, and those only.
func (f *iamFile) unused(logical uint64) error {
	seen := map[uint64]bool{0: true}
	level := []iamNode{f.path[0]}
	for depth := len(f.path) - 1; depth > 0; depth-- {
		var below []iamNode
		for _, n := range level {
			ps, err := f.shape.Pointers(n.buf, n.logical == 0)
			if err != nil {
				return f.sound(err)
			}
			for _, p := range ps {
				if p.Block == logical || seen[p.Block] {
					return damaged("index in inode %d lists block %d as idle or twice, and uses it", f.in.Number, p.Block)
				}
				seen[p.Block] = true
				if depth == 1 {
					continue
				}
				child, err := f.node(p.Block)
				if err != nil {
					return err
				}
				below = append(below, child)
			}
		}
		level = below
	}
	return nil
}
