package ext4

import "fmt"

// The Verify functions compare checksums and places and report what does not match. They return true when all is well. Without
// metadata_csum (and gdt_csum, for group descriptors) there is nothing to compare, and they return true.

// VerifySuper checks the checksum of the superblock in use.
func (fs *FS) VerifySuper(report Report) bool {
	if !fs.sums.Metadata {
		return true
	}
	ok := true
	if fs.sb.ChecksumType != 1 {
		ok = false
		report.fs(KindSuper, fs.sb.Offset+SBChecksumType, "checksum type is %d, not 1 (crc32c)", fs.sb.ChecksumType)
	}
	if sum := fs.sums.Super(fs.sb.Raw); sum != fs.sb.Checksum {
		ok = false
		report.fs(KindChecksum, fs.sb.Offset+SBChecksum, "checksum of the superblock is %#08x, should be %#08x", fs.sb.Checksum, sum)
	}
	return ok
}

// VerifyGroup checks the descriptor of a group: its checksum, and that bitmaps and inode table lie within the file system; without
// flex_bg, within the group.
func (fs *FS) VerifyGroup(group uint32, report Report) bool {
	raw, at, err := fs.descRaw(group)
	if err != nil {
		report.group(KindGroupDesc, group, 0, at, "%v", err)
		return false
	}
	ok, d, s := true, DecodeGroup(raw), &fs.sb
	if s.usesUninit() {
		if sum := fs.sums.Group(group, raw); sum != d.Checksum {
			ok = false
			report.group(KindChecksum, group, 0, at+GDChecksum, "checksum of the descriptor is %#04x, should be %#04x", d.Checksum, sum)
		}
	}
	place := func(what string, block, n uint64, off int) {
		if !fs.rangeOK(block, n) {
			ok = false
			report.group(KindGroupDesc, group, block, at+int64(off), "%s at block %d lies outside the file system", what, block)
		} else if first := s.GroupFirstBlock(group); s.Incompat&IncompatFlexBG == 0 && (block < first || block+n > first+s.BlocksIn(group)) {
			ok = false
			report.group(KindGroupDesc, group, block, at+int64(off), "%s at block %d lies outside the group, which no kernel accepts", what, block)
		}
	}
	place("block bitmap", d.BlockBitmap, 1, GDBlockBitmapLo)
	place("inode bitmap", d.InodeBitmap, 1, GDInodeBitmapLo)
	place("inode table", d.InodeTable, s.TableBlocks(), GDInodeTableLo)
	return ok
}

// TableBlocks gives the blocks of a group's inode table.
func (s *Superblock) TableBlocks() uint64 {
	return (uint64(s.InodesPerGroup)*uint64(s.InodeSize) + uint64(s.BlockSize) - 1) / uint64(s.BlockSize)
}

// VerifyBitmaps checks the checksums of a group's bitmaps, unless the group was never written. The error is that of reading.
func (fs *FS) VerifyBitmaps(group uint32, report Report) (ok bool, err error) {
	d, err := fs.Group(group)
	if err != nil {
		return false, err
	}
	buf := fs.take()
	defer fs.give(buf)
	ok = true
	check := func(what string, block uint64, uninit uint16, sum func([]byte) uint32, stored uint32) error {
		if !fs.sums.Metadata || d.Flags&uninit != 0 {
			return nil
		}
		if !fs.BlockOK(block) {
			ok = false
			report.group(KindBitmap, group, block, d.Offset, "%s bitmap at block %d lies outside the file system", what, block)
			return nil
		}
		if err := fs.bitmapBlock(block, *buf, group, what); err != nil {
			if !skippable(err) {
				return err
			}
			ok = false
			report.group(KindRead, group, block, fs.offset(block), "%v", err)
			return nil
		}
		if want := fs.sums.bitmapMask(sum(*buf)); want != stored {
			ok = false
			report.group(KindChecksum, group, block, fs.offset(block), "checksum of the %s bitmap is %#08x, should be %#08x", what, stored, want)
		}
		return nil
	}
	if err := check("block", d.BlockBitmap, GroupBlockUninit, fs.sums.BlockBitmap, d.BlockBitmapSum); err != nil {
		return false, err
	}
	err = check("inode", d.InodeBitmap, GroupInodeUninit, fs.sums.InodeBitmap, d.InodeBitmapSum)
	return ok && err == nil, err
}

// VerifyInode checks the checksum of an inode that is in use, and the size of its extra fields. Nothing is allocated when all is well.
func (fs *FS) VerifyInode(in *Inode, report Report) bool {
	ok := true
	if extra := int(in.ExtraIsize); extra%4 != 0 || len(in.Raw) > InodeGoodOldSize && InodeGoodOldSize+extra > len(in.Raw) {
		ok = false
		report.inode(KindInode, in.Number, 0, in.Offset+InodeExtraIsize, "size of the extra fields is %d", extra)
	}
	if !fs.sums.Metadata {
		return ok
	}
	if want, got := fs.sums.Inode(in.Number, in.Raw), fs.sums.StoredInode(in.Raw); want != got {
		ok = false
		report.inode(KindChecksum, in.Number, 0, in.Offset+InodeChecksumLo, "checksum is %#08x, should be %#08x", got, want)
	}
	return ok
}

// VerifyDirBlock checks the checksum of a directory block, whichever kind it is.
func (fs *FS) VerifyDirBlock(b DirBlock, buf []byte, report Report) bool {
	if !fs.sums.Metadata {
		return true
	}
	bad := func(off int, format string, args ...any) bool {
		report.inode(KindChecksum, b.Inode, b.Physical, fs.offset(b.Physical)+int64(off), "directory block %d: %s", b.Logical, fmt.Sprintf(format, args...))
		return false
	}
	n, err := fs.DxInner(buf)
	if err != nil && b.Logical == 0 {
		n, err = fs.DxRoot(buf)
	}
	if err == nil {
		off, sum, ok := fs.sums.DirNode(b.Inode, b.Generation, buf, n.CountAt)
		if !ok {
			return bad(n.CountAt, "limit %d leaves no room for a checksum", n.Limit)
		}
		if got := le.Uint32(buf[off:]); got != sum {
			return bad(off, "checksum of the hash-tree block is %#08x, should be %#08x", got, sum)
		}
		return true
	}
	at := len(buf) - DirTailSize
	tail := buf[at:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[DirentRecLen:]) != DirTailSize || tail[DirentNameLen] != 0 || tail[DirentType] != DirTailType {
		return bad(at, "the entry that holds its checksum is missing")
	}
	if got, sum := le.Uint32(tail[8:]), fs.sums.DirLeaf(b.Inode, b.Generation, buf); got != sum {
		return bad(at+8, "checksum is %#08x, should be %#08x", got, sum)
	}
	return true
}

// VerifyXattrBlock checks the checksum of the attribute block of an inode, which XattrBlock read into buf.
func (fs *FS) VerifyXattrBlock(in *Inode, buf []byte, report Report) bool {
	if !fs.sums.Metadata {
		return true
	}
	if got, want := le.Uint32(buf[XattrHdrChecksum:]), fs.sums.XattrBlock(in.FileACL, buf); got != want {
		report.inode(KindChecksum, in.Number, in.FileACL, fs.offset(in.FileACL)+XattrHdrChecksum,
			"checksum of attribute block %d is %#08x, should be %#08x", in.FileACL, got, want)
		return false
	}
	return true
}

// VerifyMap checks the checksums of the nodes of an inode's extent tree that lie in blocks of their own. The error is that of reading.
func (fs *FS) VerifyMap(in *Inode, report Report) (ok bool, err error) {
	if !fs.sums.Metadata || in.Flags&FlagExtents == 0 {
		return true, nil
	}
	buf := fs.take()
	defer fs.give(buf)
	ok = true
	var failed error
	err = in.MapBlocks(fs, func(block uint64) bool {
		var read bool
		if read, failed = fs.readFor(in.Number, block, *buf, "an extent tree node", nil); !read {
			ok = false // the walk reports it
			return failed == nil
		}
		off, sum, room := fs.sums.ExtentTail(in.Number, in.Generation, *buf)
		if !room {
			ok = false
			report.inode(KindExtentHeader, in.Number, block, fs.offset(block)+4, "extent tree node in block %d leaves no room for a checksum", block)
		} else if got := le.Uint32((*buf)[off:]); got != sum {
			ok = false
			report.inode(KindChecksum, in.Number, block, fs.offset(block)+int64(off), "checksum of extent tree node is %#08x, should be %#08x", got, sum)
		}
		return true
	}, report)
	if failed != nil {
		err = failed
	}
	return ok && err == nil, err
}
