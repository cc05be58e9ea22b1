package ext4edit

import (
	"errors"
	"slices"

	"fettle/internal/format/ext4"
)

// groupOf gives the group of a block and the block's place in it.
func (e *Edit) groupOf(block uint64) (g uint32, bit int) {
	n := block - uint64(e.sb.FirstDataBlock)
	return uint32(n / uint64(e.sb.BlocksPerGroup)), int(n % uint64(e.sb.BlocksPerGroup))
}

// blockInUse says what the bitmap says about a block, which must lie in the file system.
func (e *Edit) blockInUse(block uint64) (bool, error) {
	g, bit := e.groupOf(block)
	d, err := e.group(g)
	if err != nil {
		return false, err
	}
	if d.Flags&ext4.GroupBlockUninit != 0 {
		return e.isMeta(block)
	}
	if !e.sums.Metadata { // nothing of the bitmap has to be verified
		return e.bit(d.BlockBitmap, bit)
	}
	if err := e.loadBlocks(d); err != nil {
		return false, err
	}
	return getBit(d.blocks, bit), nil
}

// allocBlock marks a free block as in use: goal itself, or the next one behind it in its group, or one of the groups behind it.
// Groups that were never written come last, damaged ones are passed over. most is the highest block number that will do; 0
// means any. The block's content is undefined.
func (e *Edit) allocBlock(goal, most uint64) (uint64, error) {
	if !e.view.BlockOK(goal) {
		goal = uint64(e.sb.FirstDataBlock) + 1
	}
	start, bit := e.groupOf(goal)
	var passed error
	for _, uninit := range []bool{false, true} {
		for i := range e.view.Groups() {
			g := (start + i) % e.view.Groups()
			if most != 0 && e.sb.GroupFirstBlock(g) > most {
				continue
			}
			from := 0
			if i == 0 {
				from = bit
			}
			block, err := e.allocIn(g, from, most, uninit)
			switch {
			case err == nil && block != 0:
				return block, nil
			case errors.Is(err, ErrDamaged):
				passed = errors.Join(passed, err)
			case err != nil:
				return 0, err
			}
		}
		if !e.usesUninit() {
			break
		}
	}
	if passed != nil {
		return 0, errors.Join(ErrNoSpace, passed)
	}
	return 0, ErrNoSpace
}

// allocIn takes a block of one group, or none (0) when it has none or is not of the wanted kind.
func (e *Edit) allocIn(g uint32, from int, most uint64, uninit bool) (uint64, error) {
	d, err := e.group(g)
	if err != nil {
		return 0, err
	}
	if d.FreeBlocks == 0 || (d.Flags&ext4.GroupBlockUninit != 0) != uninit {
		return 0, nil
	}
	if err := e.loadBlocks(d); err != nil {
		return 0, err
	}
	n, first := e.groupBlocks(g), e.sb.GroupFirstBlock(g)
	for i := range n {
		bit := (from + i) % n
		if getBit(d.blocks, bit) {
			continue
		}
		block := first + uint64(bit)
		if most != 0 && block > most {
			continue
		}
		meta, err := e.isMeta(block)
		if err != nil {
			return 0, err
		}
		if meta || !e.view.BlockOK(block) {
			return 0, damaged("block %d is marked as free and holds metadata", block)
		}
		setBit(d.blocks, bit)
		e.fresh[block] = true
		d.FreeBlocks--
		if err := e.putGroup(d); err != nil {
			return 0, err
		}
		return block, e.count(-1, 0)
	}
	return 0, nil
}

// freeBlock marks a block as free. It must be in use, and no metadata of the file system. Whether a file has it is for the caller to
// know.
func (e *Edit) freeBlock(block uint64) error {
	if err := e.own(block); err != nil {
		return err
	}
	g, bit := e.groupOf(block)
	d, err := e.group(g)
	if err != nil {
		return err
	}
	if err := e.loadBlocks(d); err != nil {
		return err
	}
	if int(d.FreeBlocks) >= e.groupBlocks(g) {
		return damaged("group %d says that %d blocks are free", g, d.FreeBlocks)
	}
	clearBit(d.blocks, bit)
	d.FreeBlocks++
	if err := e.putGroup(d); err != nil {
		return err
	}
	return e.count(1, 0)
}

// allocInode takes the first free inode of a group or of those behind it. Inodes are taken from the lowest on, so that the part of a
// table that was never written stays at its end.
func (e *Edit) allocInode(start uint32, dir bool, not []uint32) (uint32, error) {
	var passed error
	for i := range e.view.Groups() {
		ino, err := e.allocInodeIn((start+i)%e.view.Groups(), dir, not)
		switch {
		case err == nil && ino != 0:
			return ino, nil
		case errors.Is(err, ErrDamaged):
			passed = errors.Join(passed, err)
		case err != nil:
			return 0, err
		}
	}
	if passed != nil {
		return 0, errors.Join(ErrNoSpace, passed)
	}
	return 0, ErrNoSpace
}

func (e *Edit) allocInodeIn(g uint32, dir bool, not []uint32) (uint32, error) {
	d, err := e.group(g)
	if err != nil || d.FreeInodes == 0 {
		return 0, err
	}
	if err := e.loadInodes(d); err != nil {
		return 0, err
	}
	per := e.sb.InodesPerGroup
	for bit := range per {
		ino := g*per + bit + 1
		if ino < e.sb.FirstIno || getBit(d.inodes, int(bit)) {
			continue
		}
		// One that was never used is not passed over: it would come into the part of the table that was, and nobody wrote it.
		if written := int64(per) - int64(d.ItableUn); (!e.usesUninit() || int64(bit) < written) && slices.Contains(not, ino) {
			continue
		}
		if ino > e.view.Inodes() {
			break
		}
		setBit(d.inodes, int(bit))
		d.FreeInodes--
		if dir {
			d.UsedDirs++
		}
		if d.UsedDirs > per {
			return 0, damaged("group %d says that it has %d directories", g, d.UsedDirs)
		}
		if e.usesUninit() {
			if d.ItableUn > per {
				return 0, damaged("group %d says that %d inodes were never used", g, d.ItableUn)
			}
			// More inodes that were never used than free ones, as after an edit by hand, are refused by e2fsck.
			d.ItableUn = min(d.ItableUn, per-bit-1, d.FreeInodes)
			// The kernel writes the block bitmap of a group together with its first inode.
			if err := e.loadBlocks(d); err != nil {
				return 0, err
			}
		}
		if err := e.putGroup(d); err != nil {
			return 0, err
		}
		return ino, e.count(0, -1)
	}
	return 0, nil
}

// releaseInode marks an inode as free.
func (e *Edit) releaseInode(ino uint32, dir bool) error {
	g, bit := (ino-1)/e.sb.InodesPerGroup, (ino-1)%e.sb.InodesPerGroup
	d, err := e.group(g)
	if err != nil {
		return err
	}
	if err := e.loadInodes(d); err != nil {
		return err
	}
	if !getBit(d.inodes, int(bit)) || d.FreeInodes >= e.sb.InodesPerGroup || dir && d.UsedDirs == 0 {
		return damaged("inode %d is marked as free, or the counts of group %d are wrong", ino, g)
	}
	clearBit(d.inodes, int(bit))
	d.FreeInodes++
	if dir {
		d.UsedDirs--
	}
	if err := e.putGroup(d); err != nil {
		return err
	}
	return e.count(0, 1)
}

// InUse says whether the inode bitmap of the edited file system marks an inode as in use.
func (e *Edit) InUse(ino uint32) (bool, error) {
	if ino == 0 || ino > e.view.Inodes() {
		return false, invalid("inode %d of %d", ino, e.view.Inodes())
	}
	d, err := e.group((ino - 1) / e.sb.InodesPerGroup)
	if err != nil || d.Flags&ext4.GroupInodeUninit != 0 {
		return false, err
	}
	at := int((ino - 1) % e.sb.InodesPerGroup)
	if !e.sums.Metadata { // nothing of the bitmap has to be verified
		return e.bit(d.InodeBitmap, at)
	}
	if err := e.loadInodes(d); err != nil {
		return false, err
	}
	return getBit(d.inodes, at), nil
}

// bit reads one bit of a bitmap.
func (e *Edit) bit(block uint64, at int) (bool, error) {
	var b [1]byte
	if _, err := e.over.readInto(block, at/8, b[:]); err != nil {
		return false, err
	}
	return getBit(b[:], at%8), nil
}
