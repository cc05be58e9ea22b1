package thinbuild

import (
	"cmp"
	"encoding/binary"

	"fettle/internal/format/thinmeta"
)

// Each transaction of the kernel writes a new index of the metadata space map and new bitmaps, never over those of the transaction
// before, so a disk holds the space maps of many transactions. Blocks are handed out in ascending order, beginning with the lowest
// free one each time the pool is activated. A pair of roots that is in use by some space map belonged together once; and of two space maps
// the later one is that of a later activation, or has the higher number.

// maxStates is how many space maps are looked at.
const maxStates = 1 << 15

// state is one space map of the metadata that was found.
type state struct {
	index   uint64 // its index block
	bitmaps []uint64
	blocks  uint64 // it counts
	// resumed says that blocks behind the index are in use: the pool was activated again after they were written.
	resumed bool
}

// compare says which space map was written later, as far as can be told: positive when st was.
func (st *state) compare(other *state) int {
	switch {
	case st == other || st == nil || other == nil:
		return 0
	case st.resumed != other.resumed && st.resumed:
		return 1
	case st.resumed != other.resumed:
		return -1
	}
	return cmp.Compare(st.index, other.index)
}

// findStates looks at every block for the index of a space map, and keeps those whose bitmaps are still there.
func findStates(s *source) ([]state, error) {
	var out []state
	for block := uint64(1); block < s.f.Blocks() && len(out) < maxStates; block++ {
		if block%256 == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
		if !s.hasChecksum(block, thinmeta.KindIndex) {
			continue
		}
		st := state{index: block, blocks: s.f.Blocks()}
		for i := range (st.blocks + thinmeta.BitsPerBitmap - 1) / thinmeta.BitsPerBitmap {
			st.bitmaps = append(st.bitmaps, binary.LittleEndian.Uint64(s.buf[bitmapHeader+i*indexSize:]))
		}
		if s.judge(&st) {
			out = append(out, st)
		}
	}
	return out, nil
}

// hasChecksum reads a block and says whether it is of that kind. The block is in s.buf.
func (s *source) hasChecksum(block uint64, kind thinmeta.Kind) bool {
	if err := s.f.ReadBlock(s.buf, block); err != nil {
		return false
	}
	le := binary.LittleEndian
	return thinmeta.Checksum(kind, s.buf) == le.Uint32(s.buf) && le.Uint64(s.buf[8:]) == block
}

// judge says whether the bitmaps of a space map are all there and count the map's own blocks.
func (s *source) judge(st *state) bool {
	if s.count(st, st.index) == 0 {
		return false
	}
	for i, block := range st.bitmaps {
		if s.count(st, block) == 0 {
			return false
		}
		if !s.hasChecksum(block, thinmeta.KindBitmap) {
			return false
		}
		first := uint64(i) * thinmeta.BitsPerBitmap
		for j := uint64(0); j < thinmeta.BitsPerBitmap && first+j < st.blocks && !st.resumed; j++ {
			st.resumed = first+j > st.index && bitsOf(s.buf, j) != 0
		}
	}
	return true
}

// inUse lists the candidates that a space map counts once, as the root of a tree is. They are in the order of their blocks.
func (s *source) inUse(st *state, list []rootCandidate) []rootCandidate {
	var out []rootCandidate
	have, ok := len(st.bitmaps), false // the bitmap in s.buf, and whether it is one
	for _, c := range list {
		i := int(c.block / thinmeta.BitsPerBitmap)
		if i >= len(st.bitmaps) {
			break
		}
		if i != have {
			have, ok = i, s.hasChecksum(st.bitmaps[i], thinmeta.KindBitmap)
		}
		if ok && bitsOf(s.buf, c.block%thinmeta.BitsPerBitmap) == 1 {
			out = append(out, c)
		}
	}
	return out
}

// count is how often a space map says that a block is referred to, 3 for three times and more; 0 also when it cannot be read.
func (s *source) count(st *state, block uint64) int {
	i := block / thinmeta.BitsPerBitmap
	if block >= st.blocks || !s.hasChecksum(st.bitmaps[i], thinmeta.KindBitmap) {
		return 0
	}
	return bitsOf(s.buf, block%thinmeta.BitsPerBitmap)
}

// bitsOf is count i of a bitmap block.
func bitsOf(b []byte, i uint64) int {
	raw := b[bitmapHeader+i/4] >> (i % 4 * 2) & 3
	return int(raw>>1 | raw&1<<1)
}
