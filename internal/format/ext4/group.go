package ext4

import "fmt"

// GroupDesc is a decoded group descriptor.
type GroupDesc struct {
	Group       uint32
	Offset      int64 // byte at which the descriptor lies
	BlockBitmap uint64
	InodeBitmap uint64
	InodeTable  uint64
	FreeBlocks  uint32
	FreeInodes  uint32
	UsedDirs    uint32
	ItableUn    uint32 // inodes at the end of the table that were never used
	Flags       uint16

	BlockBitmapSum uint32
	InodeBitmapSum uint32
	Checksum       uint16
}

// DecodeGroup decodes a descriptor of 32 bytes, or of 64 and more.
func DecodeGroup(raw []byte) GroupDesc {
	u16 := func(off int) uint32 { return uint32(le.Uint16(raw[off:])) }
	u32 := func(off int) uint64 { return uint64(le.Uint32(raw[off:])) }
	d := GroupDesc{BlockBitmap: u32(GDBlockBitmapLo), InodeBitmap: u32(GDInodeBitmapLo), InodeTable: u32(GDInodeTableLo),
		FreeBlocks: u16(GDFreeBlocksLo), FreeInodes: u16(GDFreeInodesLo), UsedDirs: u16(GDUsedDirsLo), ItableUn: u16(GDItableUnusedLo),
		Flags: uint16(u16(GDFlags)), BlockBitmapSum: u16(GDBlockBitmapCSLo), InodeBitmapSum: u16(GDInodeBitmapCSLo),
		Checksum: uint16(u16(GDChecksum))}
	if len(raw) >= 64 {
		d.BlockBitmap |= u32(GDBlockBitmapHi) << 32
		d.InodeBitmap |= u32(GDInodeBitmapHi) << 32
		d.InodeTable |= u32(GDInodeTableHi) << 32
		d.FreeBlocks |= u16(GDFreeBlocksHi) << 16
		d.FreeInodes |= u16(GDFreeInodesHi) << 16
		d.UsedDirs |= u16(GDUsedDirsHi) << 16
		d.ItableUn |= u16(GDItableUnusedHi) << 16
		d.BlockBitmapSum |= u16(GDBlockBitmapCSHi) << 16
		d.InodeBitmapSum |= u16(GDInodeBitmapCSHi) << 16
	}
	return d
}

// HasSuper says whether a group holds a copy of the superblock and, without meta_bg, of the group descriptors.
func (s *Superblock) HasSuper(group uint32) bool {
	switch {
	case group == 0:
		return true
	case s.Compat&CompatSparseSuper2 != 0:
		return group == s.BackupGroups[0] || group == s.BackupGroups[1]
	case group == 1 || s.ROCompat&ROCompatSparseSuper == 0:
		return true
	case group&1 == 0:
		return false
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < uint64(group) {
			n *= base
		}
		if n == uint64(group) {
			return true
		}
	}
	return false
}

// GroupFirstBlock gives the first block of a group.
func (s *Superblock) GroupFirstBlock(group uint32) uint64 {
	return uint64(s.FirstDataBlock) + uint64(group)*uint64(s.BlocksPerGroup)
}

// DescBlock gives the block that holds part number index of the group descriptor table (BlockSize/DescSize descriptors each).
func (s *Superblock) DescBlock(index uint32) uint64 {
	return s.descBlock(index, uint64(s.FirstDataBlock))
}

// descBlock does the same for the table that follows a copy of the superblock in block super.
func (s *Superblock) descBlock(index uint32, super uint64) uint64 {
	if s.Incompat&IncompatMetaBG == 0 || index < s.FirstMetaBG {
		return super + 1 + uint64(index)
	}
	group := uint64(index) * uint64(s.BlockSize/s.DescSize)
	block := uint64(s.FirstDataBlock) + group*uint64(s.BlocksPerGroup)
	if s.HasSuper(uint32(group)) {
		block++
	}
	return block
}

// chooseDescriptors decides whose group descriptors are used when the superblock is a copy: the primary ones if the first of them
// can be true, because copies are rarely kept up to date; else those behind the copy.
func (fs *FS) chooseDescriptors() {
	s := &fs.sb
	fs.descFrom = uint64(s.FirstDataBlock)
	if s.Offset == SuperOffset {
		return
	}
	raw := make([]byte, s.DescSize)
	if err := fs.readAt(raw, fs.offset(s.DescBlock(0))); err == nil {
		if d := DecodeGroup(raw); fs.BlockOK(d.InodeTable) && fs.BlockOK(d.InodeBitmap) && fs.sums.Group(0, raw) == d.Checksum {
			return
		}
	}
	fs.descFrom = uint64(s.Offset) / uint64(s.BlockSize)
}

// loadDescriptors reads the whole table into memory if it is not too large. A part that cannot be read stays zero, so that its
// groups are reported when they are used.
func (fs *FS) loadDescriptors() {
	s := &fs.sb
	perBlock := s.BlockSize / s.DescSize
	blocks := (uint64(fs.groups) + uint64(perBlock) - 1) / uint64(perBlock)
	if blocks*uint64(s.BlockSize) > maxDescCache || blocks > fs.limit {
		return
	}
	desc := make([]byte, blocks*uint64(s.BlockSize))
	for i := range blocks {
		at := s.descBlock(uint32(i), fs.descFrom)
		part := desc[i*uint64(s.BlockSize):][:s.BlockSize]
		if err := fs.ReadBlock(at, part); err != nil {
			clear(part)
			Report(fs.note).fs(KindGroupDesc, fs.offset(at), "group descriptors %d to %d cannot be read: %v", i*uint64(perBlock),
				min((i+1)*uint64(perBlock), uint64(fs.groups))-1, err)
		}
	}
	fs.desc = desc
}

// descRaw gives the raw descriptor of a group and its place. The bytes must not be changed.
func (fs *FS) descRaw(group uint32) ([]byte, int64, error) {
	s := &fs.sb
	if group >= fs.groups {
		return nil, 0, fmt.Errorf("group %d of %d: %w", group, fs.groups, ErrPastEnd)
	}
	perBlock := s.BlockSize / s.DescSize
	within := (group % perBlock) * s.DescSize
	at := fs.offset(s.descBlock(group/perBlock, fs.descFrom)) + int64(within)
	if fs.desc != nil {
		return fs.desc[uint64(group)*uint64(s.DescSize):][:s.DescSize], at, nil
	}
	raw := make([]byte, s.DescSize)
	if err := fs.readAt(raw, at); err != nil {
		return nil, at, fmt.Errorf("descriptor of group %d: %w", group, err)
	}
	return raw, at, nil
}

// Group gives the descriptor of a group. It fails when there is no such group or its descriptor cannot be read.
func (fs *FS) Group(group uint32) (GroupDesc, error) {
	raw, at, err := fs.descRaw(group)
	if err != nil {
		return GroupDesc{}, err
	}
	d := DecodeGroup(raw)
	d.Group, d.Offset = group, at
	return d, nil
}

// RawGroup gives a copy of the descriptor as it is on disk, DescSize bytes, and the byte at which it lies.
func (fs *FS) RawGroup(group uint32) ([]byte, int64, error) {
	raw, at, err := fs.descRaw(group)
	if err != nil {
		return nil, 0, err
	}
	return append([]byte(nil), raw...), at, nil
}

// usesUninit says whether groups may be marked as never written.
func (s *Superblock) usesUninit() bool { return s.ROCompat&(ROCompatGDTCsum|ROCompatMetadataCsum) != 0 }

// InodeBitmap reads the inode bitmap of a group into buf (one block): bit i%8 of byte i/8 says that inode i of the group is in use.
// The bitmap of a group that was never written is all zero.
func (fs *FS) InodeBitmap(group uint32, buf []byte) error {
	d, err := fs.Group(group)
	if err != nil {
		return err
	}
	if fs.sb.usesUninit() && d.Flags&GroupInodeUninit != 0 {
		clear(buf[:fs.sb.BlockSize])
		return nil
	}
	return fs.bitmapBlock(d.InodeBitmap, buf, group, "inode")
}

// BlockBitmap reads the block bitmap of a group into buf (one block). It is not meaningful when the group has GroupBlockUninit.
func (fs *FS) BlockBitmap(group uint32, buf []byte) error {
	d, err := fs.Group(group)
	if err != nil {
		return err
	}
	return fs.bitmapBlock(d.BlockBitmap, buf, group, "block")
}

// bitmapBlock reads a bitmap from a block number that is checked first.
func (fs *FS) bitmapBlock(block uint64, buf []byte, group uint32, what string) error {
	if !fs.BlockOK(block) {
		return fmt.Errorf("%s bitmap of group %d at block %d: %w", what, group, block, ErrPastEnd)
	}
	if err := fs.ReadBlock(block, buf); err != nil {
		return fmt.Errorf("%s bitmap of group %d: %w", what, group, err)
	}
	return nil
}
