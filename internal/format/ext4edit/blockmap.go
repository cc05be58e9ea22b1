package ext4edit

import (
	"math"

	"fettle/internal/format/ext4"
)

// place is where the blocks of a file lie.
type place struct {
	extents []ext4.Extent // ascending
	blocks  uint32        // logical blocks up to the end of the last one
}

// maxExtents bounds the memory for the map of one directory or index.
const maxExtents = 1 << 20

// places reads the map of an inode. Whatever is wrong with it is an error, as are blocks that were never written.
func (e *Edit) places(in *ext4.Inode) (*place, error) {
	var f first
	p := &place{}
	err := in.Blocks(e.view, func(x ext4.Extent) bool {
		if len(p.extents) == maxExtents || x.Unwritten {
			f.report(ext4.Problem{Text: "the map of the inode has too many extents, or one that was never written"})
			return false
		}
		p.extents = append(p.extents, x)
		p.blocks = x.Logical + x.Length
		return true
	}, f.report)
	if err := firstOf(err, f.err); err != nil {
		return nil, err
	}
	return p, nil
}

// dirPlaces reads the map of a directory, which has no holes and ends where its size says.
func (e *Edit) dirPlaces(in *ext4.Inode) (*place, error) {
	p, err := e.places(in)
	if err != nil {
		return nil, err
	}
	next := uint32(0)
	for _, x := range p.extents {
		if x.Logical != next {
			return nil, damaged("directory %d has a hole at block %d", in.Number, next)
		}
		next += x.Length
	}
	if in.Size != uint64(next)*uint64(e.over.size) || next == 0 {
		return nil, damaged("directory %d has %d blocks and a size of %d bytes", in.Number, next, in.Size)
	}
	return p, nil
}

// at gives the physical block of a logical one.
func (p *place) at(logical uint32) (uint64, error) {
	lo, hi := 0, len(p.extents)
	for lo < hi {
		m := (lo + hi) / 2
		if x := p.extents[m]; logical < x.Logical {
			hi = m
		} else if logical >= x.Logical+x.Length {
			lo = m + 1
		} else {
			return x.Physical + uint64(logical-x.Logical), nil
		}
	}
	return 0, damaged("there is no block %d", logical)
}

// last gives the physical block behind the last one, as a goal for the next.
func (p *place) last() uint64 {
	if len(p.extents) == 0 {
		return 0
	}
	x := p.extents[len(p.extents)-1]
	return x.Physical + uint64(x.Length)
}

// appendBlock gives a directory one more block at its end, and writes its inode. The block's content is up to the caller.
func (e *Edit) appendBlock(in *ext4.Inode) (logical uint32, block uint64, err error) {
	p := &place{}
	if in.Size > 0 {
		if p, err = e.dirPlaces(in); err != nil {
			return 0, 0, err
		}
	}
	goal := p.last()
	if goal == 0 {
		goal = e.sb.GroupFirstBlock(in.Group)
	}
	size := in.Size + uint64(e.over.size)
	if size > math.MaxInt32 && e.sb.Incompat&ext4.IncompatLargeDir == 0 || size/uint64(e.over.size) > ext4.DxBlockMask {
		return 0, 0, ErrNoSpace
	}
	most := uint64(0)
	if in.Flags&ext4.FlagExtents == 0 {
		most = math.MaxUint32
	}
	if block, err = e.allocBlock(goal, most); err != nil {
		return 0, 0, err
	}
	if in.Flags&ext4.FlagExtents != 0 {
		err = e.mapExtent(in, p.blocks, block)
	} else {
		err = e.mapDirect(in, p.blocks, block)
	}
	if err == nil {
		err = e.addSectors(in, e.sectors())
	}
	if err != nil {
		return 0, 0, err
	}
	le.PutUint32(in.Raw[ext4.InodeSizeLo:], uint32(size))
	le.PutUint32(in.Raw[ext4.InodeSizeHi:], uint32(size>>32))
	e.touch(in, true)
	return p.blocks, block, e.putInode(in)
}

// mapDirect enters a block into a block map: direct, or through one to three levels of blocks that are made as needed.
func (e *Edit) mapDirect(in *ext4.Inode, logical uint32, block uint64) error {
	field := in.Raw[ext4.InodeBlock : ext4.InodeBlock+ext4.InodeBlockLen]
	if logical < 12 {
		return putSlot(field, int(logical), block)
	}
	per := uint64(e.over.size / 4)
	rest, span := uint64(logical)-12, per
	for level := 1; level <= 3; level++ {
		if rest < span {
			return e.mapBelow(in, field, 11+level, level, rest, block)
		}
		rest -= span
		span *= per
	}
	return ErrNoSpace
}

// mapBelow enters a block below slot number slot of a table of block numbers; levels of tables lie between. The table is changed in
// memory.
func (e *Edit) mapBelow(in *ext4.Inode, table []byte, slot, levels int, rest, block uint64) error {
	if levels == 0 {
		return putSlot(table, slot, block)
	}
	at := uint64(le.Uint32(table[4*slot:]))
	buf := make([]byte, e.over.size)
	var err error
	if at == 0 {
		if at, err = e.allocBlock(block, math.MaxUint32); err != nil {
			return err
		}
		if err = e.addSectors(in, e.sectors()); err != nil {
			return err
		}
		le.PutUint32(table[4*slot:], uint32(at))
	} else if buf, err = e.change(at); err != nil {
		return err
	}
	span := uint64(1)
	for range levels - 1 {
		span *= uint64(e.over.size / 4)
	}
	if err := e.mapBelow(in, buf, int(rest/span), levels-1, rest%span, block); err != nil {
		return err
	}
	return e.over.write(at, buf)
}

// putSlot enters a block number into a free slot.
func putSlot(table []byte, slot int, block uint64) error {
	if le.Uint32(table[4*slot:]) != 0 {
		return damaged("the map of blocks has a block behind the end")
	}
	le.PutUint32(table[4*slot:], uint32(block))
	return nil
}
