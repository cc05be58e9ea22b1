package dmlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"fettle/internal/format/thinmeta"
)

var le = binary.LittleEndian

// thinPatch changes single fields of healthy thin metadata in place. Checksums are set anew, unless it is they that are damaged.
type thinPatch struct {
	f    *os.File
	used map[uint64]bool // metadata blocks that an injury has hit
}

func openPatch(path string) (*thinPatch, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("injure thin metadata: %w", err)
	}
	return &thinPatch{f, map[uint64]bool{}}, nil
}

func (t *thinPatch) read(block uint64) ([]byte, error) {
	b := make([]byte, thinmeta.BlockSize)
	if _, err := t.f.ReadAt(b, int64(block*thinmeta.BlockSize)); err != nil {
		return nil, fmt.Errorf("read metadata block %d: %w", block, err)
	}
	return b, nil
}

// write writes a block with a good checksum.
func (t *thinPatch) write(block uint64, kind thinmeta.Kind, b []byte) error {
	le.PutUint32(b, thinmeta.Checksum(kind, b))
	return t.raw(block, b)
}

func (t *thinPatch) raw(block uint64, b []byte) error {
	if _, err := t.f.WriteAt(b, int64(block*thinmeta.BlockSize)); err != nil {
		return fmt.Errorf("write metadata block %d: %w", block, err)
	}
	return nil
}

// super changes the superblock.
func (t *thinPatch) super(change func(b []byte)) error { return changeSuper(t.f, change) }

// Offsets of the superblock.
const (
	atFlags       = 4
	atMagic       = 32
	atTransaction = 48
	atHeldRoot    = 56
	atDataMap     = 64
	atMetaMap     = 192
	atMappingRoot = 320
	atDetailsRoot = 328
)

func (t *thinPatch) field(at int) (uint64, error) {
	b, err := t.read(0)
	if err != nil {
		return 0, err
	}
	return le.Uint64(b[at:]), nil
}

// btree nodes: header of 32 bytes, room for max keys, then the values.
type btreeNode struct {
	block uint64
	b     []byte
}

func (t *thinPatch) node(block uint64) (btreeNode, error) {
	b, err := t.read(block)
	return btreeNode{block, b}, err
}

func (n btreeNode) leaf() bool       { return le.Uint32(n.b[4:]) == 2 }
func (n btreeNode) entries() int     { return int(le.Uint32(n.b[16:])) }
func (n btreeNode) maxEntries() int  { return int(le.Uint32(n.b[20:])) }
func (n btreeNode) valueSize() int   { return int(le.Uint32(n.b[24:])) }
func (n btreeNode) key(i int) uint64 { return le.Uint64(n.b[32+8*i:]) }
func (n btreeNode) value(i int) []byte {
	return n.b[32+8*n.maxEntries()+i*n.valueSize():][:n.valueSize()]
}
func (n btreeNode) child(i int) uint64   { return le.Uint64(n.value(i)) }
func (n btreeNode) setEntries(count int) { le.PutUint32(n.b[16:], uint32(count)) }

// remove takes out an entry.
func (n btreeNode) remove(i int) {
	last := n.entries() - 1
	for k := i; k < last; k++ {
		le.PutUint64(n.b[32+8*k:], n.key(k+1))
		copy(n.value(k), n.value(k+1))
	}
	le.PutUint64(n.b[32+8*last:], 0)
	clear(n.value(last))
	n.setEntries(last)
}

// maxDepth bounds trees: no healthy one is nearly as deep.
const maxDepth = 12

var errNoKey = errors.New("no such key")

// find goes down a tree to the leaf that has a key.
func (t *thinPatch) find(root, key uint64) (btreeNode, int, error) {
	for range maxDepth {
		n, err := t.node(root)
		if err != nil {
			return n, 0, err
		}
		i := 0
		for i+1 < n.entries() && n.key(i+1) <= key {
			i++
		}
		if !n.leaf() {
			root = n.child(i)
			continue
		}
		if n.entries() == 0 || n.key(i) != key {
			return n, 0, fmt.Errorf("key %d in a tree: %w", key, errNoKey)
		}
		return n, i, nil
	}
	return btreeNode{}, 0, fmt.Errorf("key %d: the tree is too deep", key)
}

// counts is one of the two space maps.
type counts struct {
	t    *thinPatch
	at   int // offset of its root in the superblock
	data bool
}

func (t *thinPatch) dataCounts() counts { return counts{t, atDataMap, true} }
func (t *thinPatch) metaCounts() counts { return counts{t, atMetaMap, false} }

// entry finds the 16-byte index entry of the bitmap that has a block, and the block that the entry is in.
func (c counts) entry(block uint64) (holder btreeNode, kind thinmeta.Kind, entry []byte, err error) {
	root, err := c.t.field(c.at + 16)
	if err != nil {
		return holder, 0, nil, err
	}
	index := block / thinmeta.BitsPerBitmap
	if c.data {
		n, i, err := c.t.find(root, index)
		if err != nil {
			return n, 0, nil, err
		}
		return n, thinmeta.KindNode, n.value(i), nil
	}
	n, err := c.t.node(root)
	if err != nil {
		return n, 0, nil, err
	}
	return n, thinmeta.KindIndex, n.b[16+16*index:][:16], nil
}

// bits of a count in a bitmap: the high bit comes first, so 1 is stored as 2.
var bits = [4]byte{0, 2, 1, 3}

// get is the count of a block; 3 stands for 3 and more.
func (c counts) get(block uint64) (int, error) {
	_, _, e, err := c.entry(block)
	if err != nil {
		return 0, err
	}
	b, err := c.t.read(le.Uint64(e))
	if err != nil {
		return 0, err
	}
	i := block % thinmeta.BitsPerBitmap
	return int(bits[b[16+i/4]>>(2*(i%4))&3]), nil
}

// set sets a count of at most 2, and everything that is summed up from it.
func (c counts) set(block uint64, count int) error {
	old, err := c.get(block)
	if err != nil {
		return err
	}
	if old > 2 || count > 2 {
		return fmt.Errorf("block %d: counts above 2 are kept elsewhere", block)
	}
	holder, kind, e, err := c.entry(block)
	if err != nil {
		return err
	}
	bitmap := le.Uint64(e)
	b, err := c.t.read(bitmap)
	if err != nil {
		return err
	}
	i := block % thinmeta.BitsPerBitmap
	at, shift := 16+i/4, 2*(i%4)
	b[at] = b[at]&^(3<<shift) | bits[count]<<shift
	if err := c.t.write(bitmap, thinmeta.KindBitmap, b); err != nil {
		return err
	}
	change := 0
	switch {
	case old == 0 && count > 0:
		change = 1
	case old > 0 && count == 0:
		change = -1
	default:
		return nil
	}
	le.PutUint32(e[8:], uint32(int(le.Uint32(e[8:]))-change))
	if change < 0 {
		le.PutUint32(e[12:], min(le.Uint32(e[12:]), uint32(i)))
	}
	if err := c.t.write(holder.block, kind, holder.b); err != nil {
		return err
	}
	return c.t.super(func(b []byte) { le.PutUint64(b[c.at+8:], uint64(int64(le.Uint64(b[c.at+8:]))+int64(change))) })
}
