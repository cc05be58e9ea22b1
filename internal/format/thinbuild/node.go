package thinbuild

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fettle/internal/format/thinmeta"
)

// Layout of a btree node (persistent-data/dm-btree-internal.h): a header of 32 bytes, then room for maxEntries keys, then the values.
const (
	nodeHeader   = 32
	flagInternal = 1
	flagLeaf     = 2

	mappingSize = 8  // value of both levels of the mapping tree, and of every internal node
	detailsSize = 24 // value of the details tree
	indexSize   = 16 // index entry of a bitmap
	countSize   = 4  // value of a tree of reference counts
)

// maxMappings is how many entries a leaf of mappings, or an internal node, has room for; minMappings how many one has that is not a root.
var (
	maxMappings = thinmeta.MaxEntries(mappingSize)
	minMappings = maxMappings / 3
)

// rawNode is a btree node as it lies in a block. Values stay in the block.
type rawNode struct {
	leaf      bool
	n, max    int
	valueSize int
	b         []byte
}

func (r rawNode) key(i int) uint64 { return binary.LittleEndian.Uint64(r.b[nodeHeader+8*i:]) }
func (r rawNode) value(i int) []byte {
	at := nodeHeader + 8*r.max + r.valueSize*i
	return r.b[at : at+r.valueSize]
}
func (r rawNode) u64(i int) uint64 { return binary.LittleEndian.Uint64(r.value(i)) }

// mapping is entry i of a leaf of mappings.
func (r rawNode) mapping(i int) Entry {
	v := r.u64(i)
	return Entry{Virtual: r.key(i), Data: v >> 24, Time: uint32(v & 0xffffff)}
}

// parseNode reads a node and checks everything that the block alone tells: checksum, place, sizes and order of the keys.
func parseNode(b []byte, block uint64) (rawNode, error) {
	le := binary.LittleEndian
	r := rawNode{b: b}
	if thinmeta.Checksum(thinmeta.KindNode, b) != le.Uint32(b) {
		return r, errors.New("its checksum is wrong, or it is no tree node")
	}
	if at := le.Uint64(b[8:]); at != block {
		return r, fmt.Errorf("it says that it is block %d", at)
	}
	n, max, size := le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	// Each factor is bounded before they are multiplied.
	if size == 0 || size > thinmeta.BlockSize || max > thinmeta.BlockSize || max%3 != 0 || nodeHeader+uint64(max)*uint64(8+size) > thinmeta.BlockSize {
		return r, fmt.Errorf("it claims room for %d entries with values of %d bytes", max, size)
	}
	if n > max {
		return r, fmt.Errorf("it claims %d entries and has room for %d", n, max)
	}
	r.n, r.max, r.valueSize = int(n), int(max), int(size)
	switch le.Uint32(b[4:]) {
	case flagInternal:
		if size != mappingSize || n == 0 {
			return r, fmt.Errorf("it is internal, with %d entries of %d bytes", n, size)
		}
	case flagLeaf:
		r.leaf = true
	default:
		return r, fmt.Errorf("it is neither leaf nor internal (flags %#x)", le.Uint32(b[4:]))
	}
	for i := 1; i < r.n; i++ {
		if r.key(i) <= r.key(i-1) {
			return r, fmt.Errorf("its keys do not ascend (%d after %d)", r.key(i), r.key(i-1))
		}
	}
	return r, nil
}

// beginNode clears b and writes the header of a node. The caller sets keys and values, then calls seal.
func beginNode(b []byte, leaf bool, block uint64, n, valueSize int) rawNode {
	clear(b[:thinmeta.BlockSize])
	r := rawNode{leaf: leaf, n: n, max: thinmeta.MaxEntries(valueSize), valueSize: valueSize, b: b}
	le := binary.LittleEndian
	le.PutUint32(b[4:], flagInternal)
	if leaf {
		le.PutUint32(b[4:], flagLeaf)
	}
	le.PutUint64(b[8:], block)
	le.PutUint32(b[16:], uint32(n))
	le.PutUint32(b[20:], uint32(r.max))
	le.PutUint32(b[24:], uint32(valueSize))
	return r
}

func (r rawNode) setKey(i int, key uint64) { binary.LittleEndian.PutUint64(r.b[nodeHeader+8*i:], key) }
func (r rawNode) setU64(i int, v uint64)   { binary.LittleEndian.PutUint64(r.value(i), v) }

// seal writes the checksum of a finished block.
func seal(kind thinmeta.Kind, b []byte) {
	binary.LittleEndian.PutUint32(b, thinmeta.Checksum(kind, b))
}
