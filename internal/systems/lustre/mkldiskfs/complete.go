package mkldiskfs

import (
	"encoding/binary"
	"fmt"

	"fettle/internal/format/ext4"
)

// putJournal writes an empty journal, inode 8.
func (im *Image) putJournal() error {
	runs, err := im.AllocBlocks(0, journalBlocks)
	if err != nil {
		return err
	}
	// struct journal_superblock_s, version 2: magic, type, sequence; block size, length, first block, next sequence, no start.
	b := make([]byte, BlockSize)
	for i, v := range []uint32{0xc03b3998, 4, 0, BlockSize, journalBlocks, 1, 1, 0} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
	copy(b[48:], im.uuid[:])
	binary.BigEndian.PutUint32(b[64:], 1) // users
	if err := im.WriteBlock(runs[0].First, b); err != nil {
		return err
	}
	in := &Inode{Mode: ext4.ModeRegular | 0o600, Links: 1}
	if in.Map, err = im.MapRuns(ext4.InoJournal, 0, runs, journalBlocks*BlockSize); err != nil {
		return err
	}
	im.journal = in.Map.Block
	return im.PutInode(ext4.InoJournal, in)
}

// Close completes the image, see Finish, and closes its file.
func (im *Image) Close() error {
	if err := im.Finish(); err != nil {
		return im.abandon(err)
	}
	if err := im.f.Close(); err != nil {
		return fmt.Errorf("complete image: %w", err)
	}
	return nil
}

// Finish writes what is still in memory: inode table, bitmaps, descriptors and superblocks. The image is complete after it, and nothing may
// be put into it any more; its file stays open.
func (im *Image) Finish() error {
	if err := im.flushWindow(); err != nil {
		return err
	}
	if err := im.f.Truncate(int64(im.geo.blocks()) * BlockSize); err != nil {
		return fmt.Errorf("complete image: %w", err)
	}
	im.trimDescs()
	descs := make([]byte, im.geo.descs*BlockSize)
	var freeBlocks, freeInodes uint64
	for g := range im.geo.groups {
		fb, fi, err := im.putGroup(g, descs[g*im.geo.descSize:(g+1)*im.geo.descSize])
		if err != nil {
			return err
		}
		freeBlocks, freeInodes = freeBlocks+fb, freeInodes+fi
	}
	for g := range im.geo.groups {
		if !hasSuper(g) {
			continue
		}
		at := int64(im.geo.first(g)) * BlockSize
		if g == 0 {
			at += ext4.SuperOffset
		}
		if _, err := im.f.WriteAt(im.super(g, freeBlocks, freeInodes), at); err != nil {
			return fmt.Errorf("write superblock %d of %s: %w", g, im.f.Name(), err)
		}
		if err := im.WriteBlock(im.geo.first(g)+1, descs[:(im.geo.groups*im.geo.descSize+BlockSize-1)/BlockSize*BlockSize]); err != nil {
			return err
		}
	}
	return nil
}

// trimDescs gives back the blocks that were kept for descriptors of groups that an image did not grow to.
func (im *Image) trimDescs() {
	need := (im.geo.groups*im.geo.descSize + BlockSize - 1) / BlockSize
	for g := range im.geo.groups {
		if !hasSuper(g) {
			continue
		}
		for i := 1 + need; i < 1+im.geo.descs; i++ {
			im.blocks[g].unset(i)
		}
	}
}

// putGroup writes the bitmaps of a group and fills its descriptor.
func (im *Image) putGroup(g int, desc []byte) (freeBlocks, freeInodes uint64, err error) {
	blocks, inodes := &im.blocks[g], &im.inodes[g]
	last := -1 // the last inode in use
	for i := range blocksPerGroup {
		if !blocks.has(i) {
			freeBlocks++
		}
		switch {
		case i >= im.geo.perGroup:
			inodes.set(i) // padding
		case inodes.has(i):
			last = i
		default:
			freeInodes++
		}
	}
	// A freed inode at the end still has content, which a reader must not take for never written.
	if end := int(im.next) - 2 - g*im.geo.perGroup; end > last {
		last = min(end, im.geo.perGroup-1)
	}
	if err := im.WriteBlock(im.geo.blockBitmap(g), blocks[:]); err != nil {
		return 0, 0, err
	}
	if err := im.WriteBlock(im.geo.inodeBitmap(g), inodes[:]); err != nil {
		return 0, 0, err
	}
	put32 := func(lo, hi int, v uint64) {
		le.PutUint32(desc[lo:], uint32(v))
		if len(desc) > hi {
			le.PutUint32(desc[hi:], uint32(v>>32))
		}
	}
	put32(ext4.GDBlockBitmapLo, ext4.GDBlockBitmapHi, im.geo.blockBitmap(g))
	put32(ext4.GDInodeBitmapLo, ext4.GDInodeBitmapHi, im.geo.inodeBitmap(g))
	put32(ext4.GDInodeTableLo, ext4.GDInodeTableHi, im.geo.inodeTable(g))
	le.PutUint16(desc[ext4.GDFreeBlocksLo:], uint16(freeBlocks))
	le.PutUint16(desc[ext4.GDFreeInodesLo:], uint16(freeInodes))
	le.PutUint16(desc[ext4.GDUsedDirsLo:], uint16(im.dirs[g]))
	le.PutUint16(desc[ext4.GDItableUnusedLo:], uint16(im.geo.perGroup-1-last))
	flags := uint16(ext4.GroupInodeZeroed)
	if last < 0 {
		flags |= ext4.GroupInodeUninit
	}
	le.PutUint16(desc[ext4.GDFlags:], flags)
	im.sumGroup(g, desc, blocks[:], inodes[:im.geo.perGroup/8])
	return freeBlocks, freeInodes, nil
}

// sumGroup puts the checksums of bitmaps and descriptor into a descriptor.
func (im *Image) sumGroup(g int, desc, blocks, inodes []byte) {
	var num [4]byte
	le.PutUint32(num[:], uint32(g))
	if !im.opt.MetadataCsum {
		crc := ext4.CRC16(ext4.CRC16(0xffff, im.uuid[:]), num[:])
		crc = ext4.CRC16(crc, desc[:ext4.GDChecksum])
		if len(desc) > 32 {
			crc = ext4.CRC16(crc, desc[32:])
		}
		le.PutUint16(desc[ext4.GDChecksum:], crc)
		return
	}
	b, i := ext4.CRC32C(im.sum, blocks), ext4.CRC32C(im.sum, inodes)
	le.PutUint16(desc[ext4.GDBlockBitmapCSLo:], uint16(b))
	le.PutUint16(desc[ext4.GDInodeBitmapCSLo:], uint16(i))
	if len(desc) > 32 {
		le.PutUint16(desc[ext4.GDBlockBitmapCSHi:], uint16(b>>16))
		le.PutUint16(desc[ext4.GDInodeBitmapCSHi:], uint16(i>>16))
	}
	crc := ext4.CRC32C(ext4.CRC32C(im.sum, num[:]), desc)
	le.PutUint16(desc[ext4.GDChecksum:], uint16(crc))
}

// super gives the superblock of a group.
func (im *Image) super(g int, freeBlocks, freeInodes uint64) []byte {
	b := make([]byte, ext4.SuperSize)
	u32 := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	u16 := func(at int, v uint16) { le.PutUint16(b[at:], v) }
	total := im.geo.blocks()
	u32(ext4.SBInodesCount, uint32(im.geo.groups*im.geo.perGroup))
	u32(ext4.SBBlocksCountLo, uint32(total))
	u32(ext4.SBFreeBlocksLo, uint32(freeBlocks))
	u32(ext4.SBFreeInodes, uint32(freeInodes))
	u32(ext4.SBLogBlockSize, 2)
	u32(ext4.SBLogClusterSize, 2)
	u32(ext4.SBBlocksPerGroup, blocksPerGroup)
	u32(ext4.SBClustersPerGroup, blocksPerGroup)
	u32(ext4.SBInodesPerGroup, uint32(im.geo.perGroup))
	u32(ext4.SBWriteTime, im.opt.Time)
	u16(ext4.SBMountCount+2, 0xffff) // never checked because of the number of mounts
	u16(ext4.SBMagic, ext4.SuperMagic)
	u16(ext4.SBState, ext4.StateValid)
	u16(ext4.SBErrors, 1)
	u32(ext4.SBLastCheck, im.opt.Time)
	u32(ext4.SBRevLevel, 1)
	u32(ext4.SBFirstIno, firstInode)
	u16(ext4.SBInodeSize, uint16(im.geo.inodeSize))
	u16(ext4.SBBlockGroupNr, uint16(g))
	compat, incompat, ro := im.features()
	u32(ext4.SBFeatureCompat, compat)
	u32(ext4.SBFeatureIncompat, incompat)
	u32(ext4.SBFeatureROCompat, ro)
	copy(b[ext4.SBUUID:], im.uuid[:])
	copy(b[ext4.SBVolumeName:ext4.SBVolumeName+16], im.opt.Label)
	u32(ext4.SBJournalInum, ext4.InoJournal)
	copy(b[ext4.SBHashSeed:], im.hash[:])
	b[ext4.SBDefHashVersion] = ext4.HashHalfMD4
	// The map of the journal is kept here a second time: 15 words of it, size above 4 GiB, size.
	b[ext4.SBDefHashVersion+1] = 1
	const backup = ext4.SBMkfsTime + 4
	copy(b[backup:], im.journal[:])
	u32(backup+64, journalBlocks*BlockSize)
	if im.opt.Bit64 {
		u16(ext4.SBDescSize, uint16(im.geo.descSize))
	}
	u32(ext4.SBMkfsTime, im.opt.Time)
	u16(ext4.SBMinExtraIsize, extraISize)
	u16(ext4.SBWantExtraIsize, extraISize)
	u32(ext4.SBFlags, ext4.SuperFlagSignedHash)
	b[ext4.SBLogGroupsPerFlex] = 4
	if im.opt.MetadataCsum {
		b[ext4.SBChecksumType] = 1
		u32(ext4.SBChecksum, ext4.CRC32C(^uint32(0), b[:ext4.SBChecksum]))
	}
	return b
}

func (im *Image) features() (compat, incompat, ro uint32) {
	compat = ext4.CompatHasJournal | ext4.CompatExtAttr
	incompat = ext4.IncompatFiletype | ext4.IncompatFlexBG
	if !im.opt.NoDirdata {
		incompat |= ext4.IncompatDirdata
	}
	ro = ext4.ROCompatSparseSuper | ext4.ROCompatLargeFile | ext4.ROCompatHugeFile | ext4.ROCompatDirNlink | ext4.ROCompatExtraIsize
	if !im.opt.Linear {
		compat |= ext4.CompatDirIndex
	}
	if im.opt.Extents {
		incompat |= ext4.IncompatExtents
	}
	if im.opt.EAInode {
		incompat |= ext4.IncompatEAInode
	}
	if im.opt.Bit64 {
		incompat |= ext4.Incompat64bit
	}
	if im.opt.MetadataCsum {
		ro |= ext4.ROCompatMetadataCsum
	} else {
		ro |= ext4.ROCompatGDTCsum
	}
	return compat, incompat, ro
}
