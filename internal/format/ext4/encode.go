package ext4

import "fmt"

// PutDirent writes an entry with its data records to the begin of buf: Inode, Type, Flags, Name, Data and RecLen of d. blockSize is
// that of the file system. Bytes between what the entry needs and RecLen are left as they are. It fails when the entry does not fit.
func PutDirent(buf []byte, d Dirent, blockSize int) error {
	need := DirentLen(len(d.Name), len(d.Data))
	switch {
	case len(d.Name) == 0 || len(d.Name) > 255:
		return fmt.Errorf("entry %q: a name has 1 to 255 bytes", d.Name)
	case d.RecLen < need || d.RecLen > len(buf) || d.RecLen%4 != 0:
		return fmt.Errorf("entry %q: rec_len %d where %d bytes are needed and %d there", d.Name, d.RecLen, need, len(buf))
	case (d.Flags != 0) != (len(d.Data) > 0):
		return fmt.Errorf("entry %q: flags %#02x with %d bytes of data records", d.Name, d.Flags, len(d.Data))
	}
	clear(buf[:need])
	le.PutUint32(buf[DirentInode:], d.Inode)
	le.PutUint16(buf[DirentRecLen:], EncodeRecLen(d.RecLen, blockSize))
	buf[DirentNameLen], buf[DirentType] = byte(len(d.Name)), d.Type|d.Flags
	copy(buf[DirentName:], d.Name)
	if len(d.Data) > 0 {
		copy(buf[DirentName+len(d.Name)+1:], d.Data)
	}
	return nil
}

// LUFIDRecord gives the data record for a FID of 16 bytes, big-endian.
func LUFIDRecord(fid [16]byte) []byte { return append([]byte{DirdataLUFIDLen}, fid[:]...) }

// PutDirLeaf writes the false entry with the checksum to the end of a directory block that holds entries. Without metadata_csum it does
// nothing; the space then belongs to the last entry.
func (c *Sums) PutDirLeaf(ino, generation uint32, raw []byte) {
	if !c.Metadata {
		return
	}
	tail := raw[len(raw)-DirTailSize:]
	clear(tail)
	le.PutUint16(tail[DirentRecLen:], DirTailSize)
	tail[DirentType] = DirTailType
	le.PutUint32(tail[8:], c.DirLeaf(ino, generation, raw))
}

// PutDirNode writes the checksum into a hash-tree block whose limit and count stand at countAt. It fails when they leave no room.
func (c *Sums) PutDirNode(ino, generation uint32, raw []byte, countAt int) error {
	if !c.Metadata {
		return nil
	}
	off, sum, ok := c.DirNode(ino, generation, raw, countAt)
	if !ok {
		return fmt.Errorf("hash-tree block of inode %d has no room for a checksum", ino)
	}
	le.PutUint32(raw[off:], sum)
	return nil
}

// PutExtentTail writes the checksum into an extent tree block. It fails when its header leaves no room.
func (c *Sums) PutExtentTail(ino, generation uint32, raw []byte) error {
	if !c.Metadata {
		return nil
	}
	off, sum, ok := c.ExtentTail(ino, generation, raw)
	if !ok {
		return fmt.Errorf("extent tree block of inode %d has no room for a checksum", ino)
	}
	le.PutUint32(raw[off:], sum)
	return nil
}

// Put writes all fields of a descriptor but Checksum, which Sums.PutGroup computes, into raw: 32 bytes, or 64 and more. Fields that
// GroupDesc does not have stay as they are.
func (d *GroupDesc) Put(raw []byte) {
	put16 := func(v uint32, lo, hi int) {
		le.PutUint16(raw[lo:], uint16(v))
		if len(raw) >= 64 {
			le.PutUint16(raw[hi:], uint16(v>>16))
		}
	}
	put32 := func(v uint64, lo, hi int) {
		le.PutUint32(raw[lo:], uint32(v))
		if len(raw) >= 64 {
			le.PutUint32(raw[hi:], uint32(v>>32))
		}
	}
	put32(d.BlockBitmap, GDBlockBitmapLo, GDBlockBitmapHi)
	put32(d.InodeBitmap, GDInodeBitmapLo, GDInodeBitmapHi)
	put32(d.InodeTable, GDInodeTableLo, GDInodeTableHi)
	put16(d.FreeBlocks, GDFreeBlocksLo, GDFreeBlocksHi)
	put16(d.FreeInodes, GDFreeInodesLo, GDFreeInodesHi)
	put16(d.UsedDirs, GDUsedDirsLo, GDUsedDirsHi)
	put16(d.ItableUn, GDItableUnusedLo, GDItableUnusedHi)
	put16(d.BlockBitmapSum, GDBlockBitmapCSLo, GDBlockBitmapCSHi)
	put16(d.InodeBitmapSum, GDInodeBitmapCSLo, GDInodeBitmapCSHi)
	le.PutUint16(raw[GDFlags:], d.Flags)
}
