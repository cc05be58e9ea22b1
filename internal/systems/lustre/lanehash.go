package lustre

import (
	"cmp"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
)

// hashTree says which hashes each leaf of a hash-tree directory may have. A name elsewhere is listed, and not found by name.
type hashTree struct {
	version uint8
	spans   []hashSpan // by logical block
}

// hashSpan is a leaf: hashes from from on, up to but not including to. The lowest bit of to says that hashes of to itself begin in this leaf.
type hashSpan struct {
	block    uint32
	from, to uint64
}

// hashTree reads the inner blocks of a directory, given all its blocks. Of a tree that is damaged it says so and gives nil, as of one
// whose hashes are not known here.
func (r *runner) hashTree(in *ext4.Inode, blocks []ext4.DirBlock) *hashTree {
	w := hashWalk{r: r, blocks: blocks, met: map[uint32]bool{0: true}}
	root := w.read(0)
	if w.bad != "" {
		return w.end(in)
	}
	s := r.t.fs.Super()
	levels := ext4.DxMaxLevels - 1
	if s.HasIncompat(ext4.IncompatLargeDir) {
		levels++
	}
	if int(root.Levels) > levels {
		w.bad = fmt.Sprintf("%d levels", root.Levels)
		return w.end(in)
	}
	w.tree.version = s.DirHashVersion(root.HashVersion)
	if w.node(0, &root, int(root.Levels), 0, 1<<32); w.bad != "" {
		return w.end(in)
	}
	if len(w.met) != len(blocks) {
		w.bad = fmt.Sprintf("its tree has %d blocks, the directory %d", len(w.met), len(blocks))
		return w.end(in)
	}
	if _, _, ok := ext4.NameHash(w.tree.version, s.HashSeed, []byte("a")); !ok {
		return nil
	}
	slices.SortFunc(w.tree.spans, func(a, b hashSpan) int { return cmp.Compare(a.block, b.block) })
	return &w.tree
}

// hashWalk is one walk over the inner blocks.
type hashWalk struct {
	r      *runner
	blocks []ext4.DirBlock
	met    map[uint32]bool
	tree   hashTree
	bad    string // what is wrong; the walk ends with it
}

// end tells what is wrong: there is no tree to compare names with.
func (w *hashWalk) end(in *ext4.Inode) *hashTree {
	w.r.note(ext4.Problem{Kind: ext4.KindHtree, Inode: in.Number, Offset: -1, Text: fmt.Sprintf("inode %d: hash tree of the directory: %s", in.Number, w.bad)})
	return nil
}

// read decodes an inner block. What is wrong with it is in bad.
func (w *hashWalk) read(logical uint32) ext4.DxNode {
	fs := w.r.t.fs
	i, ok := slices.BinarySearchFunc(w.blocks, logical, func(b ext4.DirBlock, l uint32) int { return cmp.Compare(b.Logical, l) })
	if !ok {
		w.bad = fmt.Sprintf("block %d is not there", logical)
		return ext4.DxNode{}
	}
	buf := make([]byte, fs.Super().BlockSize)
	if err := fs.ReadBlock(w.blocks[i].Physical, buf); err != nil {
		w.bad = err.Error() // the sweep over the blocks decides whether that ends the check
		return ext4.DxNode{}
	}
	decode := fs.DxInner
	if logical == 0 {
		decode = fs.DxRoot
	}
	n, err := decode(buf)
	switch {
	case err != nil:
		w.bad = fmt.Sprintf("block %d: %v", logical, err)
	case n.Limit != fs.Super().DxLimit(n.CountAt):
		w.bad = fmt.Sprintf("block %d has room for %d entries, not %d", logical, fs.Super().DxLimit(n.CountAt), n.Limit)
	}
	return n
}

// node goes through the entries of an inner block with so many levels of inner blocks below it.
func (w *hashWalk) node(logical uint32, n *ext4.DxNode, levels int, from, to uint64) {
	for i, e := range n.Entries {
		lo, hi := from, to
		if i > 0 {
			lo = uint64(e.Hash)
		}
		if i+1 < len(n.Entries) {
			hi = uint64(n.Entries[i+1].Hash)
		}
		switch {
		case lo > hi || lo < from || hi > to:
			w.bad = fmt.Sprintf("block %d: hash %#x of entry %d is out of order", logical, e.Hash, i)
		case w.met[e.Block]:
			w.bad = fmt.Sprintf("block %d: entry %d leads to block %d, as another one does", logical, i, e.Block)
		}
		if w.bad != "" {
			return
		}
		if w.met[e.Block] = true; levels == 0 {
			w.tree.spans = append(w.tree.spans, hashSpan{e.Block, lo, hi})
			continue
		}
		child := w.read(e.Block)
		if w.bad != "" {
			return
		}
		if w.node(e.Block, &child, levels-1, lo, hi); w.bad != "" {
			return
		}
	}
}

// hashed compares the leaf in which a name lies with that in which a search looks for it.
func (r *runner) hashed(d *dirState, e ext4.Dirent) {
	if e.Name[0] == '.' && (len(e.Name) == 1 || len(e.Name) == 2 && e.Name[1] == '.') {
		return
	}
	h, _, ok := ext4.NameHash(d.tree.version, r.t.fs.Super().HashSeed, e.Name)
	i, found := slices.BinarySearchFunc(d.tree.spans, e.Logical, func(s hashSpan, l uint32) int { return cmp.Compare(s.block, l) })
	if !ok {
		return
	}
	if found {
		s, hash := d.tree.spans[i], uint64(h)
		if hash >= s.from&^1 && (hash < s.to || s.to&1 == 1 && hash == s.to&^1) {
			return
		}
	}
	r.note(ext4.Problem{Kind: ext4.KindHtree, Inode: d.ino, Offset: e.At,
		Text: fmt.Sprintf("inode %d: the name %q lies in block %d of the directory, where a search by its hash %#x does not look", d.ino, e.Name, e.Logical, h)})
}
