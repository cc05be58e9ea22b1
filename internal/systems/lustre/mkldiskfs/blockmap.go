package mkldiskfs

import (
	"fmt"

	"fettle/internal/format/ext4"
)

// PutFile writes the content of a file and gives its map. ino and generation are those of its inode.
func (im *Image) PutFile(ino, generation uint32, data []byte) (Map, error) {
	runs, err := im.AllocBlocks(im.Group(ino), (len(data)+BlockSize-1)/BlockSize)
	if err != nil {
		return Map{}, err
	}
	if err := im.writeRuns(runs, data); err != nil {
		return Map{}, err
	}
	return im.MapRuns(ino, generation, runs, uint64(len(data)))
}

// MapRuns gives the map of a file whose blocks are the runs in order, without holes.
func (im *Image) MapRuns(ino, generation uint32, runs []Run, size uint64) (Map, error) {
	m := Map{Size: size}
	for _, r := range runs {
		m.Used += uint64(r.Blocks)
	}
	if im.opt.Extents {
		return m, im.extents(&m, ino, generation, runs)
	}
	return m, im.indirect(&m, ino, runs)
}

// putIndirect writes one block of block numbers and returns its number.
func (im *Image) putIndirect(m *Map, ino uint32, list []uint32) (uint32, error) {
	runs, err := im.AllocBlocks(im.Group(ino), 1)
	if err != nil {
		return 0, err
	}
	m.Used++
	b := make([]byte, BlockSize)
	for i, n := range list {
		le.PutUint32(b[4*i:], n)
	}
	return uint32(runs[0].First), im.WriteBlock(runs[0].First, b)
}

// indirect maps by 12 direct blocks, then one, two and three levels of indirect ones.
func (im *Image) indirect(m *Map, ino uint32, runs []Run) error {
	var list []uint32
	for _, r := range runs {
		for i := range r.Blocks {
			list = append(list, uint32(r.First)+uint32(i))
		}
	}
	const per = BlockSize / 4
	put := func(slot int, block uint32) { le.PutUint32(m.Block[4*slot:], block) }
	for i := range min(12, len(list)) {
		put(i, list[i])
	}
	list = list[min(12, len(list)):]
	span := per
	for level := 1; level <= 3 && len(list) > 0; level++ {
		n := min(span, len(list))
		below := list[:n]
		for range level {
			var above []uint32
			for len(below) > 0 {
				k := min(per, len(below))
				b, err := im.putIndirect(m, ino, below[:k])
				if err != nil {
					return err
				}
				above, below = append(above, b), below[k:]
			}
			below = above
		}
		put(11+level, below[0])
		list = list[n:]
		span *= per
	}
	if len(list) > 0 {
		return fmt.Errorf("a file of %d blocks is too long to be mapped by blocks", m.Used)
	}
	return nil
}

// extent is one entry of a tree: a run, or in an inner node the block of the node below.
type extent struct {
	logical  uint32
	physical uint64
	blocks   int
}

// extents maps by a tree of extents, with the root in the inode.
func (im *Image) extents(m *Map, ino, generation uint32, runs []Run) error {
	m.Flags |= ext4.FlagExtents
	var list []extent
	logical := uint32(0)
	for _, r := range runs {
		for at := 0; at < r.Blocks; at += ext4.ExtentMaxLen {
			n := min(ext4.ExtentMaxLen, r.Blocks-at)
			first := r.First + uint64(at)
			last := len(list) - 1
			if last >= 0 && list[last].physical+uint64(list[last].blocks) == first && list[last].blocks+n <= ext4.ExtentMaxLen {
				list[last].blocks += n
			} else {
				list = append(list, extent{logical, first, n})
			}
			logical += uint32(n)
		}
	}
	const per = (BlockSize - ext4.ExtentHeaderSize - 4) / ext4.ExtentEntrySize
	depth := 0
	for ; len(list) > 4; depth++ {
		var above []extent
		for len(list) > 0 {
			n := min(per, len(list))
			place, err := im.AllocBlocks(im.Group(ino), 1)
			if err != nil {
				return err
			}
			m.Used++
			b := make([]byte, BlockSize)
			putExtents(b, depth, per, list[:n])
			if im.opt.MetadataCsum {
				at := ext4.ExtentHeaderSize + per*ext4.ExtentEntrySize
				le.PutUint32(b[at:], ext4.CRC32C(im.inodeSeed(ino, generation), b[:at]))
			}
			if err := im.WriteBlock(place[0].First, b); err != nil {
				return err
			}
			above = append(above, extent{logical: list[0].logical, physical: place[0].First})
			list = list[n:]
		}
		list = above
	}
	putExtents(m.Block[:], depth, 4, list)
	return nil
}

// putExtents writes one node of an extent tree. depth 0 is a leaf.
func putExtents(b []byte, depth, limit int, list []extent) {
	le.PutUint16(b, ext4.ExtentMagic)
	le.PutUint16(b[2:], uint16(len(list)))
	le.PutUint16(b[4:], uint16(limit))
	le.PutUint16(b[6:], uint16(depth))
	for i, e := range list {
		p := b[ext4.ExtentHeaderSize+i*ext4.ExtentEntrySize:]
		le.PutUint32(p, e.logical)
		if depth > 0 {
			le.PutUint32(p[4:], uint32(e.physical))
			le.PutUint16(p[8:], uint16(e.physical>>32))
			continue
		}
		le.PutUint16(p[4:], uint16(e.blocks))
		le.PutUint16(p[6:], uint16(e.physical>>32))
		le.PutUint32(p[8:], uint32(e.physical))
	}
}
