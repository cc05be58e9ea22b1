package thinbuild

import (
	"context"
	"encoding/binary"
	"fmt"

	"fettle/internal/format/thinmeta"
)

// maxHeight is how many levels a tree may have. The kernel's own limit is 64; a legal tree needs 11.
const maxHeight = 64

// source reads nodes of the metadata that is rewritten.
type source struct {
	ctx   context.Context
	f     *thinmeta.File
	buf   []byte // one block
	reads uint64
	stop  error // set once the context has ended
}

func newSource(ctx context.Context, f *thinmeta.File) source {
	return source{ctx: ctx, f: f, buf: make([]byte, thinmeta.BlockSize)}
}

// node reads a node. It is good until the next call.
func (s *source) node(block uint64) (rawNode, error) {
	if s.reads%256 == 0 && s.stop == nil {
		s.stop = s.ctx.Err()
	}
	s.reads++
	if s.stop != nil {
		return rawNode{}, s.stop
	}
	if err := s.f.ReadBlock(s.buf, block); err != nil {
		return rawNode{}, err
	}
	r, err := parseNode(s.buf, block)
	if err != nil {
		return r, fmt.Errorf("metadata block %d: %w", block, err)
	}
	return r, nil
}

// mappingNode reads a node of a mapping tree.
func (s *source) mappingNode(block uint64) (rawNode, error) {
	r, err := s.node(block)
	if err == nil && r.valueSize != mappingSize {
		err = fmt.Errorf("metadata block %d: its values have %d bytes, those of mappings have %d", block, r.valueSize, mappingSize)
	}
	return r, err
}

// childRange is the keys that child i of an internal node may have; both ends are included.
func childRange(keys []uint64, i int) (lo, hi uint64) {
	hi = 1<<64 - 1
	if i+1 < len(keys) {
		hi = keys[i+1] - 1
	}
	return keys[i], hi
}

// contentOf copies keys and child blocks of an internal node, so that the buffer can be used for the children.
func contentOf(r rawNode) (keys, blocks []uint64) {
	keys, blocks = make([]uint64, r.n), make([]uint64, r.n)
	for i := range r.n {
		keys[i], blocks[i] = r.key(i), r.u64(i)
	}
	return keys, blocks
}

// deviceTrees is what the two trees over devices say.
type deviceTrees struct {
	roots   map[uint32]uint64
	details map[uint32]thinmeta.Details
	lost    []string // parts of either tree that cannot be read
}

// readDevices reads the tree of device roots and the tree of details. Each node is visited once: in these trees nothing is shared.
func (s *source) readDevices(mappingRoot, detailsRoot uint64) (deviceTrees, error) {
	t := deviceTrees{roots: map[uint32]uint64{}, details: map[uint32]thinmeta.Details{}}
	gap := func(tree string) func(uint64, error) {
		return func(lo uint64, err error) {
			if len(t.lost) < 16 {
				t.lost = append(t.lost, fmt.Sprintf("the %s tree from device %d on: %v", tree, lo, err))
			}
		}
	}
	w := smallWalk{source: s, valueSize: mappingSize, seen: map[uint64]bool{}, gap: gap("mapping"), entry: func(id uint32, v []byte) {
		t.roots[id] = binary.LittleEndian.Uint64(v)
	}}
	w.walk(mappingRoot, 0, thinmeta.MaxDevice, 0)
	w = smallWalk{source: s, valueSize: detailsSize, seen: map[uint64]bool{}, gap: gap("details"), entry: func(id uint32, v []byte) {
		t.details[id] = getDetails(v)
	}}
	w.walk(detailsRoot, 0, thinmeta.MaxDevice, 0)
	return t, s.stop
}

func getDetails(v []byte) thinmeta.Details {
	le := binary.LittleEndian
	return thinmeta.Details{MappedBlocks: le.Uint64(v), TransactionID: le.Uint64(v[8:]), CreationTime: le.Uint32(v[16:]), SnapshotTime: le.Uint32(v[20:])}
}

// smallWalk goes through a tree over devices.
type smallWalk struct {
	*source
	valueSize int
	seen      map[uint64]bool
	entry     func(id uint32, value []byte)
	gap       func(lo uint64, err error)
}

// walk gives the entries below block whose keys lie in lo..hi, where a search would find them.
func (w *smallWalk) walk(block, lo, hi uint64, depth int) {
	if depth > maxHeight || w.seen[block] {
		w.gap(lo, fmt.Errorf("metadata block %d: it is referred to twice, or too deep", block))
		return
	}
	w.seen[block] = true
	r, err := w.node(block)
	if err == nil && r.leaf && r.valueSize != w.valueSize {
		err = fmt.Errorf("metadata block %d: its values have %d bytes, not %d", block, r.valueSize, w.valueSize)
	}
	if err != nil {
		w.gap(lo, err)
		return
	}
	if r.leaf {
		for i := range r.n {
			if k := r.key(i); k >= lo && k <= hi {
				w.entry(uint32(k), r.value(i))
			}
		}
		return
	}
	keys, blocks := contentOf(r)
	for i := range keys {
		from, to := childRange(keys, i)
		if from, to = max(from, lo), min(to, hi); from <= to {
			w.walk(blocks[i], from, to, depth+1)
		}
	}
}
