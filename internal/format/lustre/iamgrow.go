package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// iamGrownLevels is how many levels of index blocks a server can follow: the root and these are the five of its path.
const iamGrownLevels = 4

// ErrIAMTall says that an index would get more levels than a server can follow.
var ErrIAMTall = errors.New("the IAM index cannot get more levels")

// Split divides a leaf in the middle, as a server does: low keeps the smaller keys, high is for a new block, and pivot is the first
// key of high. The block is left alone. A leaf whose keys do not ascend is an error.
func (s IAMShape) Split(block []byte) (low, high, pivot []byte, err error) {
	if _, _, _, err := s.leafPlace(block, make([]byte, s.Key)); err != nil {
		return nil, nil, nil, fmt.Errorf("split: %w", err)
	}
	count := int(binary.LittleEndian.Uint16(block[2:]))
	if count < 2 {
		return nil, nil, nil, fmt.Errorf("split: the IAM leaf has %d records", count)
	}
	ps, err := s.Records(block, func(_, _ []byte) bool { return true })
	if err != nil || len(ps) > 0 {
		return nil, nil, nil, fmt.Errorf("split: the IAM leaf is not sound: %v %v", err, ps)
	}
	at, end := iamLeafHeader+count/2*s.entry(), iamLeafHeader+count*s.entry()
	if low, err = s.Leaf(len(block), block[iamLeafHeader:at]); err != nil {
		return nil, nil, nil, err
	}
	high, err = s.Leaf(len(block), block[at:end])
	return low, high, bytes.Clone(block[at : at+s.Key]), err
}

// soundPointers is Pointers for changes: the keys, of which the first is not used, must ascend.
func (s IAMShape) soundPointers(block []byte, root bool) ([]IAMPointer, error) {
	ps, err := s.Pointers(block, root)
	if err != nil {
		return nil, err
	}
	for i := 2; i < len(ps); i++ {
		if bytes.Compare(ps[i-1].Key, ps[i].Key) >= 0 {
			return nil, fmt.Errorf("IAM index block: key %x does not come after %x", ps[i].Key, ps[i-1].Key)
		}
	}
	return ps, nil
}

// NodeFull tells whether the root (root = true) or an index block has no room for one more pointer.
func (s IAMShape) NodeFull(block []byte, root bool) (bool, error) {
	ps, err := s.soundPointers(block, root)
	if err != nil {
		return false, err
	}
	limit := s.nodeLimit(len(block))
	if root {
		limit = s.rootLimit(len(block))
	}
	return len(ps)+1 >= limit, nil
}

// InsertPointer gives a copy of the root or an index block with one more pointer, which must not be the first one: to child, for keys
// from key on. ErrIAMFull, or ErrIAMExists when the key has one.
func (s IAMShape) InsertPointer(block []byte, root bool, key []byte, child uint64) ([]byte, error) {
	ps, err := s.soundPointers(block, root)
	if err != nil {
		return nil, err
	}
	if full, err := s.NodeFull(block, root); err != nil || full {
		return nil, fmt.Errorf("insert pointer %x: %w", key, errors.Join(err, ErrIAMFull))
	}
	at := 1
	for at < len(ps) && bytes.Compare(ps[at].Key, key) < 0 {
		at++
	}
	if at < len(ps) && bytes.Equal(ps[at].Key, key) {
		return nil, fmt.Errorf("insert pointer %x: %w", key, ErrIAMExists)
	}
	now := append(append(append([]IAMPointer{}, ps[:at]...), IAMPointer{key, child}), ps[at:]...)
	return s.withPointers(block, root, now), nil
}

// withPointers gives a copy of the root or an index block with other pointers. What else the header holds stays.
func (s IAMShape) withPointers(block []byte, root bool, ps []IAMPointer) []byte {
	gap, limit := 0, s.nodeLimit(len(block))
	if root {
		gap, limit = iamRootHeader, s.rootLimit(len(block))
	}
	out := make([]byte, len(block))
	copy(out, block[:gap+s.slot()])
	s.putPointers(out, gap, limit, ps)
	return out
}

// SplitNode divides an index block that is not the root: high is for a new block, pivot is the key from which on it is to be used.
func (s IAMShape) SplitNode(block []byte) (low, high, pivot []byte, err error) {
	ps, err := s.soundPointers(block, false)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("split: %w", err)
	}
	if len(ps) < 2 {
		return nil, nil, nil, fmt.Errorf("split: the IAM index block has one pointer")
	}
	half := (len(ps) + 1) / 2
	empty := make([]byte, len(block))
	return s.withPointers(block, false, ps[:half]), s.withPointers(empty, false, ps[half:]), bytes.Clone(ps[half].Key), nil
}

// Raise puts a level of index blocks below the root: all pointers of the root go to node, which is for the new block child, and root
// leads there only. An index block has room for more pointers than the root. ErrIAMTall when there are as many levels as can be.
func (s IAMShape) Raise(block []byte, child uint64) (root, node []byte, err error) {
	head, err := DecodeIAMRoot(block)
	if err != nil {
		return nil, nil, err
	}
	ps, err := s.soundPointers(block, true)
	switch {
	case err != nil:
		return nil, nil, err
	case head.Levels >= iamGrownLevels:
		return nil, nil, fmt.Errorf("%d levels: %w", head.Levels, ErrIAMTall)
	case len(ps)+1 >= s.nodeLimit(len(block)):
		return nil, nil, fmt.Errorf("%d pointers of the IAM root do not leave room in an index block", len(ps))
	}
	node = s.withPointers(make([]byte, len(block)), false, ps)
	root = s.withPointers(block, true, []IAMPointer{{make([]byte, s.Key), child}})
	root[iamLevelsAt]++
	return root, node, nil
}

const (
	iamLevelsAt   = 14 // u8, in the root
	iamIdleHeader = 8  // of a table of idle blocks: magic u16, count u16, next table u32
)

// IAMIdle is a table of idle blocks: blocks of the file that were leaves and have nothing in them any more. The table's own block
// is idle as well, when its list is empty.
type IAMIdle struct {
	Next   uint32 // block of the next table, 0 for none
	Blocks []uint32
}

// DecodeIAMIdle reads such a table.
func DecodeIAMIdle(block []byte) (IAMIdle, error) {
	if IAMBlockKind(block) != IAMIdleBlock {
		return IAMIdle{}, fmt.Errorf("decode IAM table of idle blocks: no magic 0x%x", iamIdleMagic)
	}
	n := int(binary.LittleEndian.Uint16(block[2:]))
	if most := (len(block) - iamIdleHeader) / 4; n > most {
		return IAMIdle{}, fmt.Errorf("decode IAM table of idle blocks: %d blocks, there is room for %d", n, most)
	}
	t := IAMIdle{Next: binary.LittleEndian.Uint32(block[4:])}
	for i := range n {
		t.Blocks = append(t.Blocks, binary.LittleEndian.Uint32(block[iamIdleHeader+4*i:]))
	}
	return t, nil
}

// Encode gives the table as a block.
func (t IAMIdle) Encode(blockSize int) ([]byte, error) {
	if len(t.Blocks) > (blockSize-iamIdleHeader)/4 {
		return nil, fmt.Errorf("encode IAM table of idle blocks: %d do not fit", len(t.Blocks))
	}
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint16(b, iamIdleMagic)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(t.Blocks)))
	binary.LittleEndian.PutUint32(b[4:], t.Next)
	for i, n := range t.Blocks {
		binary.LittleEndian.PutUint32(b[iamIdleHeader+4*i:], n)
	}
	return b, nil
}

// SetIAMIdle makes a root say where the first table of idle blocks is, 0 for none.
func SetIAMIdle(root []byte, table uint32) {
	binary.LittleEndian.PutUint32(root[iamRootHeader+4:], table)
}
