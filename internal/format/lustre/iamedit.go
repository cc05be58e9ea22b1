package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What can stand against an edit of one leaf.
var (
	ErrIAMFull   = errors.New("the IAM leaf is full")
	ErrIAMExists = errors.New("the key is in the IAM leaf already")
	ErrIAMAbsent = errors.New("the key is not in the IAM leaf")
)

// Insert gives a copy of a leaf with one more record. The block is left alone.
func (s IAMShape) Insert(block, key, record []byte) ([]byte, error) {
	if len(record) != s.Record {
		return nil, fmt.Errorf("IAM record has %d bytes, want %d", len(record), s.Record)
	}
	place, count, found, err := s.leafPlace(block, key)
	switch {
	case err != nil:
		return nil, err
	case found:
		return nil, fmt.Errorf("insert %x: %w", key, ErrIAMExists)
	case count >= s.LeafCapacity(len(block)):
		return nil, fmt.Errorf("insert %x: %w", key, ErrIAMFull)
	}
	out := slices.Clone(block)
	at, end := iamLeafHeader+place*s.entry(), iamLeafHeader+count*s.entry()
	copy(out[at+s.entry():], block[at:end])
	copy(out[at:], key)
	copy(out[at+s.Key:], record)
	binary.LittleEndian.PutUint16(out[2:], uint16(count+1))
	return out, nil
}

// Replace gives a copy of a leaf in which the record of a key is another one.
func (s IAMShape) Replace(block, key, record []byte) ([]byte, error) {
	if len(record) != s.Record {
		return nil, fmt.Errorf("IAM record has %d bytes, want %d", len(record), s.Record)
	}
	place, _, found, err := s.leafPlace(block, key)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("replace %x: %w", key, ErrIAMAbsent)
	}
	out := slices.Clone(block)
	copy(out[iamLeafHeader+place*s.entry()+s.Key:], record)
	return out, nil
}

// Remove gives a copy of a leaf without the record of a key. A leaf that gets empty is left in the tree, which a server accepts.
func (s IAMShape) Remove(block, key []byte) ([]byte, error) {
	place, count, found, err := s.leafPlace(block, key)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("remove %x: %w", key, ErrIAMAbsent)
	}
	out := slices.Clone(block)
	at, end := iamLeafHeader+place*s.entry(), iamLeafHeader+count*s.entry()
	copy(out[at:end], block[at+s.entry():end])
	clear(out[end-s.entry() : end])
	binary.LittleEndian.PutUint16(out[2:], uint16(count-1))
	return out, nil
}

// IAMRecord is a record with its key.
type IAMRecord struct {
	Key, Record []byte
}

// Build makes a whole index from records in ascending order of their keys, as blocks in the order of the file. Like a server it
// begins with an all-zero record. Leaves are filled to fill of 256 parts (1 to 256), so that there is room for more.
func (s IAMShape) Build(blockSize, fill int, records []IAMRecord) ([][]byte, error) {
	if s.entry() > blockSize/3 || s.slot() > blockSize/3 || fill < 1 || fill > 256 {
		return nil, fmt.Errorf("build IAM index: shape %+v does not go with blocks of %d bytes filled to %d/256", s, blockSize, fill)
	}
	zero := IAMRecord{make([]byte, s.Key), make([]byte, s.Record)}
	if len(records) == 0 || !bytes.Equal(records[0].Key, zero.Key) {
		records = append([]IAMRecord{zero}, records...)
	}
	blocks := [][]byte{make([]byte, blockSize)}
	per := max(1, s.LeafCapacity(blockSize)*fill/256)
	var below []IAMPointer
	for len(records) > 0 {
		n := min(per, len(records))
		leaf, err := s.leaf(blockSize, records[:n])
		if err != nil {
			return nil, err
		}
		key := records[0].Key
		if len(below) > 0 && bytes.Compare(below[len(below)-1].Key, key) >= 0 {
			return nil, fmt.Errorf("build IAM index: keys are not in ascending order")
		}
		below = append(below, IAMPointer{key, uint64(len(blocks))})
		blocks = append(blocks, leaf)
		records = records[n:]
	}
	root, nodes, err := s.Index(blockSize, below, uint64(len(blocks)))
	if err != nil {
		return nil, err
	}
	blocks[0] = root
	return append(blocks, nodes...), nil
}

// Index makes the root and the index blocks over leaves that are written already: leaves says where they are and their first keys,
// in ascending order. The index blocks are to be written at block number next and those after it; the root is block 0.
func (s IAMShape) Index(blockSize int, leaves []IAMPointer, next uint64) (root []byte, nodes [][]byte, err error) {
	levels, below := 0, leaves
	for ; len(below)+1 > s.rootLimit(blockSize); levels++ {
		if levels == iamMaxLevels {
			return nil, nil, fmt.Errorf("build IAM index: too many records")
		}
		var above []IAMPointer
		for per := s.nodeLimit(blockSize) - 1; len(below) > 0; {
			n := min(per, len(below))
			node := make([]byte, blockSize)
			s.putPointers(node, 0, s.nodeLimit(blockSize), below[:n])
			above = append(above, IAMPointer{below[0].Key, next + uint64(len(nodes))})
			nodes = append(nodes, node)
			below = below[n:]
		}
		below = above
	}
	root = make([]byte, blockSize)
	binary.LittleEndian.PutUint64(root, iamRootMagic)
	binary.LittleEndian.PutUint16(root[8:], uint16(s.Key))
	binary.LittleEndian.PutUint16(root[10:], uint16(s.Record))
	binary.LittleEndian.PutUint16(root[12:], uint16(s.Pointer))
	root[14] = byte(levels)
	s.putPointers(root, iamRootHeader, s.rootLimit(blockSize), below)
	return root, nodes, nil
}

// Leaf makes a leaf of records that are laid side by side, each with its key before it, in ascending order.
func (s IAMShape) Leaf(blockSize int, records []byte) ([]byte, error) {
	n := len(records) / s.entry()
	if len(records)%s.entry() != 0 || n > s.LeafCapacity(blockSize) {
		return nil, fmt.Errorf("build IAM leaf: %d bytes of records do not fit in %d", len(records), blockSize)
	}
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint16(b, iamLeafMagic)
	binary.LittleEndian.PutUint16(b[2:], uint16(n))
	copy(b[iamLeafHeader:], records)
	return b, nil
}

// putPointers writes count, limit and entries of the root or an index block.
func (s IAMShape) putPointers(block []byte, gap, limit int, ps []IAMPointer) {
	binary.LittleEndian.PutUint16(block[gap:], uint16(limit))
	binary.LittleEndian.PutUint16(block[gap+2:], uint16(len(ps)+1))
	for i, p := range ps {
		at := gap + (i+1)*s.slot()
		copy(block[at:], p.Key)
		if s.Pointer == 8 {
			binary.LittleEndian.PutUint64(block[at+s.Key:], p.Block)
		} else {
			binary.LittleEndian.PutUint32(block[at+s.Key:], uint32(p.Block))
		}
	}
}

func (s IAMShape) leaf(blockSize int, records []IAMRecord) ([]byte, error) {
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint16(b, iamLeafMagic)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(records)))
	for i, r := range records {
		if len(r.Key) != s.Key || len(r.Record) != s.Record {
			return nil, fmt.Errorf("build IAM index: key of %d and record of %d bytes, want %d and %d", len(r.Key), len(r.Record), s.Key, s.Record)
		}
		if i > 0 && bytes.Compare(records[i-1].Key, r.Key) >= 0 {
			return nil, fmt.Errorf("build IAM index: keys are not in ascending order")
		}
		at := iamLeafHeader + i*s.entry()
		copy(b[at:], r.Key)
		copy(b[at+s.Key:], r.Record)
	}
	return b, nil
}
