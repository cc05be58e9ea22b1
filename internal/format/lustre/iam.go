package lustre

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// IAM is Lustre's index inside an ldiskfs file: block 0 is the root, below it index blocks, below those leaves. Records of
// the form "lfix" have a fixed size. Keys sort as bytes.
const (
	iamRootMagic     = 0xbedabb1ed // u64 at the begin of the root
	iamLeafMagic     = 0x1976      // u16 at the begin of a leaf
	iamIdleMagic     = 0x7903      // u16 at the begin of a table of idle blocks
	iamLvarRootMagic = 0xb01dface  // u32 at the begin of a root of the form "lvar"
	iamLvarLeafMagic = 0x1973      // u16 at the begin of a leaf of that form
	iamRootHeader    = 16
	iamLeafHeader    = 4
)

// IAMKind says what a block of an IAM file is.
type IAMKind uint8

// Kinds of blocks. An index block has no magic and cannot be told from garbage by itself.
const (
	IAMOther IAMKind = iota
	IAMRootBlock
	IAMLeafBlock
	IAMIdleBlock
	IAMVariableRoot
	IAMVariableLeaf
)

// IAMBlockKind recognises a block by its magic.
func IAMBlockKind(block []byte) IAMKind {
	if len(block) < 8 {
		return IAMOther
	}
	switch {
	case binary.LittleEndian.Uint64(block) == iamRootMagic:
		return IAMRootBlock
	case binary.LittleEndian.Uint32(block) == iamLvarRootMagic:
		return IAMVariableRoot
	}
	switch binary.LittleEndian.Uint16(block) {
	case iamLeafMagic:
		return IAMLeafBlock
	case iamIdleMagic:
		return IAMIdleBlock
	case iamLvarLeafMagic:
		return IAMVariableLeaf
	}
	return IAMOther
}

// IAMShape is what all blocks of one index share: sizes in bytes of keys, records and block pointers.
type IAMShape struct {
	Key, Record, Pointer int
}

// Shapes of the indexes that are read here.
var (
	ShapeOI  = IAMShape{Key: FIDSize, Record: 8, Pointer: 4}
	ShapeFLD = IAMShape{Key: 8, Record: 24, Pointer: 4}
	// ShapeTrace is that of lfsck_namespace and its sub-files: a FID and a byte of flags.
	ShapeTrace = IAMShape{Key: FIDSize, Record: 1, Pointer: 4}
)

// slot is the size of an entry in the root and in index blocks, entry that of a record with its key in a leaf.
func (s IAMShape) slot() int  { return s.Key + s.Pointer }
func (s IAMShape) entry() int { return s.Key + s.Record }

// LeafCapacity is how many records fit in a leaf.
func (s IAMShape) LeafCapacity(blockSize int) int { return (blockSize - iamLeafHeader) / s.entry() }

// nodeLimit and rootLimit are the limits that a server expects in the headers. They count the header's own slot.
func (s IAMShape) nodeLimit(blockSize int) int { return blockSize / s.slot() }

func (s IAMShape) rootLimit(blockSize int) int {
	n := (blockSize - iamRootHeader) / s.slot()
	if n == s.nodeLimit(blockSize) {
		n--
	}
	return n
}

// IAMRoot is the header of block 0.
type IAMRoot struct {
	Shape IAMShape
	// Levels is the number of levels of index blocks between root and leaves.
	Levels int
	// Idle is the block number of the first table of idle blocks, 0 for none.
	Idle uint32
}

// DecodeIAMRoot reads the header of block 0.
func DecodeIAMRoot(block []byte) (IAMRoot, error) {
	if len(block) < iamRootHeader+8 {
		return IAMRoot{}, fmt.Errorf("decode IAM root: %d bytes", len(block))
	}
	if m := binary.LittleEndian.Uint64(block); m != iamRootMagic {
		return IAMRoot{}, fmt.Errorf("decode IAM root: magic 0x%x, want 0x%x", m, uint64(iamRootMagic))
	}
	u := func(at int) int { return int(binary.LittleEndian.Uint16(block[at:])) }
	r := IAMRoot{Shape: IAMShape{Key: u(8), Record: u(10), Pointer: u(12)}, Levels: int(block[14])}
	r.Idle = binary.LittleEndian.Uint32(block[iamRootHeader+4:])
	s := r.Shape
	switch {
	case s.Key < 1 || s.Pointer != 4 && s.Pointer != 8 || s.entry() > len(block)/3 || s.slot() > len(block)/3:
		return IAMRoot{}, fmt.Errorf("decode IAM root: sizes of key %d, record %d, pointer %d are impossible", s.Key, s.Record, s.Pointer)
	case r.Levels > iamMaxLevels:
		return IAMRoot{}, fmt.Errorf("decode IAM root: %d levels, possible are %d", r.Levels, iamMaxLevels)
	}
	return r, nil
}

// iamMaxLevels bounds the depth: three levels of blocks of 4 KiB hold more records than a target has inodes.
const iamMaxLevels = 5

// IAMPointer is one entry of the root or of an index block: from Key on, records are found below Block.
type IAMPointer struct {
	Key   []byte // shares the block's memory
	Block uint64
}

// Pointers gives the entries of the root (root = true) or of an index block. The key of the first one is not used in a search.
func (s IAMShape) Pointers(block []byte, root bool) ([]IAMPointer, error) {
	gap, limit := 0, s.nodeLimit(len(block))
	if root {
		gap, limit = iamRootHeader, s.rootLimit(len(block))
	}
	if len(block) < gap+4 {
		return nil, fmt.Errorf("decode IAM index block: %d bytes", len(block))
	}
	if l := int(binary.LittleEndian.Uint16(block[gap:])); l != limit {
		return nil, fmt.Errorf("decode IAM index block: limit %d, want %d", l, limit)
	}
	count := int(binary.LittleEndian.Uint16(block[gap+2:]))
	if count < 2 || count > limit {
		return nil, fmt.Errorf("decode IAM index block: count %d, possible are 2 to %d", count, limit)
	}
	out := make([]IAMPointer, 0, count-1)
	for i := 1; i < count; i++ {
		at := gap + i*s.slot()
		p := IAMPointer{Key: block[at : at+s.Key : at+s.Key]}
		if s.Pointer == 8 {
			p.Block = binary.LittleEndian.Uint64(block[at+s.Key:])
		} else {
			p.Block = uint64(binary.LittleEndian.Uint32(block[at+s.Key:]))
		}
		out = append(out, p)
	}
	return out, nil
}

// Child gives the block below the root or an index block in which a key belongs.
func (s IAMShape) Child(block []byte, root bool, key []byte) (uint64, error) {
	ps, err := s.Pointers(block, root)
	if err != nil {
		return 0, err
	}
	at := 0
	for i := 1; i < len(ps) && bytes.Compare(ps[i].Key, key) <= 0; i++ {
		at = i
	}
	return ps[at].Block, nil
}

// Records calls fn with each record of a leaf until fn returns false. Key and record share the block's memory. Records out of
// order are given too and reported. The error says that the block is no leaf.
func (s IAMShape) Records(block []byte, fn func(key, record []byte) bool) ([]Problem, error) {
	if len(block) < iamLeafHeader || binary.LittleEndian.Uint16(block) != iamLeafMagic {
		return nil, fmt.Errorf("decode IAM leaf: no magic 0x%x", iamLeafMagic)
	}
	var ps problems
	count := int(binary.LittleEndian.Uint16(block[2:]))
	if most := s.LeafCapacity(len(block)); count > most {
		ps.add("count", 2, "%d records, there is room for %d", count, most)
		count = most
	}
	var before []byte
	for i := range count {
		at := iamLeafHeader + i*s.entry()
		key := block[at : at+s.Key : at+s.Key]
		if before != nil && bytes.Compare(before, key) >= 0 {
			ps.add("order", at, "key %x does not come after %x", key, before)
		}
		before = key
		if !fn(key, block[at+s.Key:at+s.entry():at+s.entry()]) {
			break
		}
	}
	return ps, nil
}

// leafPlace finds the number of the record with the key, or where it belongs.
func (s IAMShape) leafPlace(block, key []byte) (place, count int, found bool, err error) {
	if len(key) != s.Key {
		return 0, 0, false, fmt.Errorf("IAM key has %d bytes, want %d", len(key), s.Key)
	}
	if len(block) < iamLeafHeader || binary.LittleEndian.Uint16(block) != iamLeafMagic {
		return 0, 0, false, fmt.Errorf("the block is no IAM leaf")
	}
	count = int(binary.LittleEndian.Uint16(block[2:]))
	if count > s.LeafCapacity(len(block)) {
		return 0, 0, false, fmt.Errorf("the IAM leaf says that it has %d records, there is room for %d", count, s.LeafCapacity(len(block)))
	}
	for place < count {
		at := iamLeafHeader + place*s.entry()
		if c := bytes.Compare(block[at:at+s.Key], key); c >= 0 {
			return place, count, c == 0, nil
		}
		place++
	}
	return place, count, false, nil
}
