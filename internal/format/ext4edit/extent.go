package ext4edit

import (
	"fettle/internal/format/ext4"
)

// Offsets within the header of an extent tree node, and within entries.
const (
	exEntries   = 2 // u16
	exMax       = 4 // u16
	exDepth     = 6 // u16
	exLen       = 4 // u16, in a leaf's entry
	exStartHi   = 6 // u16
	exStartLo   = 8 // u32
	exLeafLo    = 4 // u32, in an index entry
	exLeafHi    = 8 // u16
	exRootMax   = (ext4.InodeBlockLen - ext4.ExtentHeaderSize) / ext4.ExtentEntrySize
	exEntrySize = ext4.ExtentEntrySize
)

// node is a node of an extent tree on the way to the last leaf. Block 0 is the root in the inode.
type node struct {
	block uint64
	buf   []byte
}

// initExtents makes an empty node.
func initExtents(buf []byte, depth uint16) {
	clear(buf)
	le.PutUint16(buf, ext4.ExtentMagic)
	le.PutUint16(buf[exMax:], uint16((len(buf)-ext4.ExtentHeaderSize)/exEntrySize))
	le.PutUint16(buf[exDepth:], depth)
}

func (n node) entries() int     { return int(le.Uint16(n.buf[exEntries:])) }
func (n node) depth() int       { return int(le.Uint16(n.buf[exDepth:])) }
func (n node) full() bool       { return le.Uint16(n.buf[exEntries:]) >= le.Uint16(n.buf[exMax:]) }
func (n node) at(i int) []byte  { return n.buf[ext4.ExtentHeaderSize+i*exEntrySize:][:exEntrySize] }
func (n node) setEntries(c int) { le.PutUint16(n.buf[exEntries:], uint16(c)) }

// appendLeaf adds an extent of one block at the end, appendIndex a child node.
func (n node) appendLeaf(logical uint32, block uint64) {
	x := n.at(n.entries())
	le.PutUint32(x, logical)
	le.PutUint16(x[exLen:], 1)
	le.PutUint16(x[exStartHi:], uint16(block>>32))
	le.PutUint32(x[exStartLo:], uint32(block))
	n.setEntries(n.entries() + 1)
}

func (n node) appendIndex(logical uint32, block uint64) {
	x := n.at(n.entries())
	clear(x)
	le.PutUint32(x, logical)
	le.PutUint32(x[exLeafLo:], uint32(block))
	le.PutUint16(x[exLeafHi:], uint16(block>>32))
	n.setEntries(n.entries() + 1)
}

// lastPath reads the nodes from the root to the last leaf.
func (e *Edit) lastPath(in *ext4.Inode) ([]node, error) {
	path := []node{{0, in.Raw[ext4.InodeBlock : ext4.InodeBlock+ext4.InodeBlockLen]}}
	for {
		n := path[len(path)-1]
		room := (len(n.buf) - ext4.ExtentHeaderSize) / exEntrySize
		most, left := int(le.Uint16(n.buf[exMax:])), path[0].depth()-len(path)+1
		if le.Uint16(n.buf) != ext4.ExtentMagic || most > room || most == 0 || n.entries() > most || n.depth() != left || left > ext4.ExtentMaxDepth ||
			left > 0 && n.entries() == 0 {
			return nil, damaged("node of the extent tree of inode %d in block %d has a bad header", in.Number, n.block)
		}
		if left == 0 {
			return path, nil
		}
		x := n.at(n.entries() - 1)
		block := uint64(le.Uint32(x[exLeafLo:])) | uint64(le.Uint16(x[exLeafHi:]))<<32
		buf, err := e.change(block)
		if err != nil {
			return nil, err
		}
		if e.sums.Metadata {
			off, sum, ok := e.sums.ExtentTail(in.Number, in.Generation, buf)
			if !ok || le.Uint32(buf[off:]) != sum {
				return nil, damaged("checksum of the extent tree node of inode %d in block %d is wrong", in.Number, block)
			}
		}
		path = append(path, node{block, buf})
	}
}

// putNode writes a node with its checksum; the root stays in the inode, which the caller writes.
func (e *Edit) putNode(in *ext4.Inode, n node) error {
	if n.block == 0 {
		return nil
	}
	if err := e.sums.PutExtentTail(in.Number, in.Generation, n.buf); err != nil {
		return err
	}
	return e.over.write(n.block, n.buf)
}

// newNode allocates a node.
func (e *Edit) newNode(in *ext4.Inode, depth int, goal uint64) (node, error) {
	block, err := e.allocBlock(goal, 0)
	if err != nil {
		return node{}, err
	}
	n := node{block, make([]byte, e.over.size)}
	initExtents(n.buf, uint16(depth))
	return n, e.addSectors(in, e.sectors())
}

// mapExtent enters a block behind the last extent of an inode: it makes the last extent longer, or adds one, with new nodes where the
// last ones are full.
func (e *Edit) mapExtent(in *ext4.Inode, logical uint32, block uint64) error {
	path, err := e.lastPath(in)
	if err != nil {
		return err
	}
	leaf := path[len(path)-1]
	if k := leaf.entries(); k > 0 {
		x := leaf.at(k - 1)
		from, n := le.Uint32(x), uint32(le.Uint16(x[exLen:]))
		start := uint64(le.Uint16(x[exStartHi:]))<<32 | uint64(le.Uint32(x[exStartLo:]))
		if n == 0 || n > ext4.ExtentMaxLen || uint64(from)+uint64(n) > uint64(logical) {
			return damaged("the last extent of inode %d passes block %d", in.Number, logical)
		}
		if from+n == logical && start+uint64(n) == block && n < ext4.ExtentMaxLen {
			le.PutUint16(x[exLen:], uint16(n+1))
			return e.putNode(in, leaf)
		}
	}
	// The deepest node with room gets the new extent, or a new branch that leads to it.
	level := len(path) - 1
	for level >= 0 && path[level].full() {
		level--
	}
	if level < 0 {
		if path, err = e.deepen(in, path, block); err != nil {
			return err
		}
		level = 1 // the new node has more room than the root
	}
	for ; level < len(path)-1; level++ {
		n := path[level]
		below, err := e.newNode(in, n.depth()-1, block)
		if err != nil {
			return err
		}
		n.appendIndex(logical, below.block)
		if err := e.putNode(in, n); err != nil {
			return err
		}
		path[level+1] = below
	}
	path[level].appendLeaf(logical, block)
	return e.putNode(in, path[level])
}

// deepen moves the root's entries into a new node, the only one below the root then.
func (e *Edit) deepen(in *ext4.Inode, path []node, goal uint64) ([]node, error) {
	root := path[0]
	depth := root.depth()
	if depth == ext4.ExtentMaxDepth {
		return nil, ErrNoSpace
	}
	below, err := e.newNode(in, depth, goal)
	if err != nil {
		return nil, err
	}
	k := root.entries()
	copy(below.buf[ext4.ExtentHeaderSize:], root.buf[ext4.ExtentHeaderSize:ext4.ExtentHeaderSize+k*exEntrySize])
	below.setEntries(k)
	from := le.Uint32(root.at(0))
	initExtents(root.buf, uint16(depth+1))
	root.appendIndex(from, below.block)
	if err := e.putNode(in, below); err != nil {
		return nil, err
	}
	return append([]node{root, below}, path[1:]...), nil
}
