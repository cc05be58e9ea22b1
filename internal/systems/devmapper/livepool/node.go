package livepool

import (
	"encoding/binary"
	"unsafe"

	"fettle/internal/format/thinmeta"
)

// A b-tree node as far as it is needed to find what it refers to: struct node_header of the kernel's persistent-data library, keys,
// values. Neither checksums nor keys are looked at: what is copied in vain does no harm.
const (
	nodeHeader   = 32
	nodeInternal = 1
	nodeLeaf     = 2
)

// node is a block seen as a b-tree node.
type node struct {
	b    []byte
	n    int // entries
	most int // that it has room for
	size int // of a value
}

// asNode gives false for a block that cannot be one.
func asNode(b []byte) (nd node, internal, ok bool) {
	le := binary.LittleEndian
	flags := le.Uint32(b[4:])
	n, most, size := le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	ok = (flags == nodeInternal || flags == nodeLeaf) && size >= 4 && size <= 64 && most <= thinmeta.BlockSize/8 && n <= most &&
		nodeHeader+int(most)*(8+int(size)) <= thinmeta.BlockSize
	if !ok {
		return node{}, false, false
	}
	return node{b, int(n), int(most), int(size)}, flags == nodeInternal, flags != nodeInternal || size == 8
}

func (nd node) key(i int) uint64 { return binary.LittleEndian.Uint64(nd.b[nodeHeader+8*i:]) }

// val gives a value of 8 bytes: the block of a child, or the root of a device's tree.
func (nd node) val(i int) uint64 {
	return binary.LittleEndian.Uint64(nd.b[nodeHeader+8*nd.most+nd.size*i:])
}

// find gives the last entry whose key is not more than key, -1 when there is none.
func (nd node) find(key uint64) int {
	lo, hi := 0, nd.n
	for lo < hi {
		if mid := (lo + hi) / 2; nd.key(mid) <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// blockBuffer gives room for one block where direct I/O wants it: at a multiple of its size in memory.
func blockBuffer() []byte {
	b := make([]byte, 2*thinmeta.BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (thinmeta.BlockSize - 1)
	return b[skip : skip+thinmeta.BlockSize : skip+thinmeta.BlockSize]
}
