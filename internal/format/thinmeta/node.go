package thinmeta

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Flags and header of a btree node: struct node_header of the kernel's persistent-data library.
const (
	nodeHeader   = 32
	flagInternal = 1
	flagLeaf     = 2
)

// maxHeight is how many levels a btree has at most: the kernel keeps a stack of 64 nodes.
const maxHeight = 64

// Sizes of the values in the leaves of the trees, in bytes.
const (
	sizeBlock   = 8  // mapping tree, both levels
	sizeDetails = 24 // details tree
	sizeIndex   = 16 // bitmaps of the data space map
	sizeCount   = 4  // reference counts
)

// node is a btree node that was found good. It refers to the bytes of its block.
type node struct {
	b    []byte
	leaf bool
	n    int
	vals []byte // the values, beginning with the first
	size int    // of a value
}

func (nd *node) key(i int) uint64 { return binary.LittleEndian.Uint64(nd.b[nodeHeader+8*i:]) }

// val gives a value of 8 bytes: the block of a child, or a mapping.
func (nd *node) val(i int) uint64 { return binary.LittleEndian.Uint64(nd.vals[8*i:]) }

// raw gives the bytes of a value.
func (nd *node) raw(i int) []byte { return nd.vals[nd.size*i : nd.size*(i+1)] }

// claimedMask gives the mask with which the checksum of the block would be right: one of the four, or none of them.
func claimedMask(b []byte) uint32 {
	return crc32.Checksum(b[4:BlockSize], castagnoli) ^ 0xffffffff ^ binary.LittleEndian.Uint32(b)
}

// parseNode checks the header and the order of the keys; the checksum was checked before. valueSize is that of a leaf of the tree.
// Nodes with few entries are not damage: removals leave them.
func parseNode(b []byte, block uint64, valueSize int) (node, *BlockError) {
	le := binary.LittleEndian
	flags, n, most, size := le.Uint32(b[4:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	bad := func(format string, args ...any) (node, *BlockError) {
		return node{}, damagedBlock(NodeInvalid, block, fmt.Sprintf(format, args...))
	}
	if nr := le.Uint64(b[8:]); nr != block {
		return bad("btree node says it is block %d", nr)
	}
	if flags != flagInternal && flags != flagLeaf {
		return bad("btree node has flags %#x: neither internal nor leaf", flags)
	}
	if flags == flagInternal {
		valueSize = sizeBlock
	}
	if int64(size) != int64(valueSize) {
		return bad("btree node has values of %d bytes, not %d", size, valueSize)
	}
	if most > uint32(MaxEntries(valueSize)) || most%3 != 0 {
		return bad("btree node says it has room for %d entries", most)
	}
	if n > most {
		return bad("btree node has %d entries, but room for %d", n, most)
	}
	if flags == flagInternal && n == 0 {
		return bad("internal btree node has no entries")
	}
	nd := node{b: b, leaf: flags == flagLeaf, n: int(n), size: valueSize}
	nd.vals = b[nodeHeader+8*int(most) : nodeHeader+(8+valueSize)*int(most)]
	for i := 1; i < nd.n; i++ {
		if nd.key(i) <= nd.key(i-1) {
			return bad("keys of a btree node are out of order: %d after %d", nd.key(i), nd.key(i-1))
		}
	}
	return nd, nil
}

// readNode reads and checks one node. The node refers to buf.
func (f *File) readNode(block uint64, valueSize int, buf []byte) (node, error) {
	if err := f.readBlock(buf, block); err != nil {
		return node{}, err
	}
	if claimedMask(buf) != maskNode {
		return node{}, damagedBlock(NodeChecksum, block, "wrong checksum in a btree node")
	}
	nd, bad := parseNode(buf, block, valueSize)
	if bad != nil {
		return node{}, bad
	}
	return nd, nil
}

// decodeDetails takes the details of a device from a value of the details tree.
func decodeDetails(b []byte) Details {
	le := binary.LittleEndian
	return Details{MappedBlocks: le.Uint64(b), TransactionID: le.Uint64(b[8:]), CreationTime: le.Uint32(b[16:]), SnapshotTime: le.Uint32(b[20:])}
}

// A mapping is a data block and the time when it was mapped.
const (
	timeBits = 24
	timeMask = 1<<timeBits - 1
)

// nodeNumber gives the block number that a good node says it has, which is the block it was read from.
func nodeNumber(nd *node) uint64 { return binary.LittleEndian.Uint64(nd.b[8:]) }
