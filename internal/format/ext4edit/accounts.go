package ext4edit

import (
	"fettle/internal/format/ext4"
)

// Bits says what a bitmap has for a run of blocks.
type Bits uint8

// What a run of blocks can be marked as.
const (
	BitsFree Bits = iota
	BitsUsed
	BitsMixed
)

// Marked says how the block bitmaps have n blocks from the given one on.
func (e *Edit) Marked(from, n uint64) (Bits, error) {
	if n == 0 || n > e.over.limit || from < uint64(e.sb.FirstDataBlock) || from > e.over.limit-n {
		return 0, invalid("%d blocks from %d on", n, from)
	}
	used := uint64(0)
	err := e.perGroup(from, n, func(g uint32, bit, n int) error {
		buf, err := e.blockBits(g)
		if err != nil {
			return err
		}
		for i := bit; i < bit+n; i++ {
			if getBit(buf, i) {
				used++
			}
		}
		return nil
	})
	switch used {
	case 0:
		return BitsFree, err
	case n:
		return BitsUsed, err
	}
	return BitsMixed, err
}

// Mark makes the block bitmaps say that blocks are in use, or free. Counts stay as they are: see SetGroupCounts. Metadata is never
// marked as free. Whether a file has the blocks is for the caller to know.
func (e *Edit) Mark(from, n uint64, used bool) error {
	return e.do(func() error {
		if _, err := e.Marked(from, n); err != nil {
			return err
		}
		return e.perGroup(from, n, func(g uint32, bit, n int) error {
			d, err := e.group(g)
			if err != nil {
				return err
			}
			if err := e.loadBlocks(d); err != nil {
				return err
			}
			for i := bit; i < bit+n; i++ {
				if used {
					setBit(d.blocks, i)
					continue
				}
				if meta, err := e.isMeta(e.sb.GroupFirstBlock(g) + uint64(i)); err != nil || meta {
					return firstOf(err, invalid("metadata is not free"))
				}
				clearBit(d.blocks, i)
			}
			return e.putGroup(d)
		})
	}, "mark %d blocks from %d on", n, from)
}

// perGroup calls fn for the part of a run of blocks that lies in each group.
func (e *Edit) perGroup(from, n uint64, fn func(g uint32, bit, n int) error) error {
	for n > 0 {
		g, bit := e.groupOf(from)
		part := min(n, uint64(e.groupBlocks(g)-bit))
		if err := fn(g, bit, int(part)); err != nil {
			return err
		}
		from, n = from+part, n-part
	}
	return nil
}

// blockBits gives the block bitmap of a group, also of one that was never written.
func (e *Edit) blockBits(g uint32) ([]byte, error) {
	d, err := e.group(g)
	if err != nil {
		return nil, err
	}
	if d.Flags&ext4.GroupBlockUninit != 0 {
		buf, _, err := e.freshBits(g)
		return buf, err
	}
	err = e.loadBlocks(d)
	return d.blocks, err
}

// ReleaseInode marks an inode as free that holds nothing: no mode and no links. Counts stay as they are.
func (e *Edit) ReleaseInode(ino uint32) error {
	return e.do(func() error {
		used, err := e.InUse(ino)
		if err != nil {
			return err
		}
		in, err := e.view.Inode(ino)
		if err != nil {
			return err
		}
		if !used || ino < e.sb.FirstIno || !in.IsFree() {
			return invalid("the inode is free already, or holds something")
		}
		d, err := e.group((ino - 1) / e.sb.InodesPerGroup)
		if err != nil {
			return err
		}
		if err := e.loadInodes(d); err != nil {
			return err
		}
		clearBit(d.inodes, int((ino-1)%e.sb.InodesPerGroup))
		return e.putGroup(d)
	}, "mark inode %d as free", ino)
}

// deletedInode reads an inode that is marked as free, and was deleted.
func (e *Edit) deletedInode(ino uint32) (*ext4.Inode, error) {
	used, err := e.InUse(ino)
	if err != nil {
		return nil, err
	}
	in, err := e.view.Inode(ino)
	if err != nil {
		return nil, err
	}
	if used || ino < e.sb.FirstIno || in.Dtime() == 0 {
		return nil, invalid("inode %d was not deleted", ino)
	}
	return in, nil
}

// DeletedLinks gives the link count that is left in an inode that was deleted: marked as free, with the time of it.
func (e *Edit) DeletedLinks(ino uint32) (uint16, error) {
	in, err := e.deletedInode(ino)
	if err != nil {
		return 0, err
	}
	return in.Links, nil
}

// DropLinks takes it away, so that nobody takes the inode for one in use.
func (e *Edit) DropLinks(ino uint32) error {
	return e.do(func() error {
		in, err := e.deletedInode(ino)
		if err != nil {
			return err
		}
		le.PutUint16(in.Raw[ext4.InodeLinks:], 0)
		return e.putInode(in)
	}, "take the links of the deleted inode %d", ino)
}

// GroupCounts is what a group says about itself.
type GroupCounts struct {
	FreeBlocks, FreeInodes, Dirs uint32
}

// GroupCounts reads the counts of a group.
func (e *Edit) GroupCounts(g uint32) (GroupCounts, error) {
	d, err := e.group(g)
	if err != nil {
		return GroupCounts{}, err
	}
	return GroupCounts{d.FreeBlocks, d.FreeInodes, d.UsedDirs}, nil
}

// SetGroupCounts sets the counts of a group. The superblock's do not follow: see SetFree.
func (e *Edit) SetGroupCounts(g uint32, c GroupCounts) error {
	return e.do(func() error {
		d, err := e.group(g)
		if err != nil {
			return err
		}
		if uint64(c.FreeBlocks) > uint64(e.groupBlocks(g)) || c.FreeInodes > e.sb.InodesPerGroup || c.Dirs > e.sb.InodesPerGroup-c.FreeInodes {
			return invalid("%d free blocks, %d free inodes and %d directories", c.FreeBlocks, c.FreeInodes, c.Dirs)
		}
		d.FreeBlocks, d.FreeInodes, d.UsedDirs = c.FreeBlocks, c.FreeInodes, c.Dirs
		if e.usesUninit() && d.ItableUn > d.FreeInodes { // e2fsck refuses more that were never used than free ones
			d.ItableUn = d.FreeInodes
		}
		return e.putGroup(d)
	}, "set the counts of group %d", g)
}

// Free reads the superblock's numbers of free blocks and inodes.
func (e *Edit) Free() (blocks uint64, inodes uint32, err error) {
	block, off := e.superAt()
	buf, err := e.over.read(block)
	if err != nil {
		return 0, 0, err
	}
	raw := buf[off : off+ext4.SuperSize]
	blocks = uint64(le.Uint32(raw[ext4.SBFreeBlocksLo:]))
	if e.sb.Incompat&ext4.Incompat64bit != 0 {
		blocks |= uint64(le.Uint32(raw[ext4.SBFreeBlocksHi:])) << 32
	}
	return blocks, le.Uint32(raw[ext4.SBFreeInodes:]), nil
}

// SetFree sets them.
func (e *Edit) SetFree(blocks uint64, inodes uint32) error {
	return e.do(func() error {
		if blocks > e.sb.Blocks || inodes > e.sb.Inodes {
			return invalid("%d free blocks and %d free inodes", blocks, inodes)
		}
		return e.changeSuper(func(raw []byte) error {
			le.PutUint32(raw[ext4.SBFreeBlocksLo:], uint32(blocks))
			if e.sb.Incompat&ext4.Incompat64bit != 0 {
				le.PutUint32(raw[ext4.SBFreeBlocksHi:], uint32(blocks>>32))
			}
			le.PutUint32(raw[ext4.SBFreeInodes:], inodes)
			return nil
		})
	}, "set the superblock's counts")
}
