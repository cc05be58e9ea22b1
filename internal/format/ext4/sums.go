package ext4

import "hash/crc32"

// crcTable is for crc32c, the only checksum of metadata_csum.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues a crc32c without the inversions at begin and end, as ext4 uses it. A whole one begins with ^0.
func CRC32C(crc uint32, data []byte) uint32 { return ^crc32.Update(^crc, crcTable, data) }

// crc16Table is for the polynomial 0x8005, reflected, of gdt_csum.
var crc16Table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// CRC16 continues the crc16 that gdt_csum uses. A whole one begins with ^0.
func CRC16(crc uint16, data []byte) uint16 {
	for _, b := range data {
		crc = crc>>8 ^ crc16Table[byte(crc)^b]
	}
	return crc
}

// Sums computes the checksums of one file system. The zero bytes that stand for a checksum while it is computed are taken care
// of, so the data may hold the old one.
type Sums struct {
	Metadata  bool   // metadata_csum: crc32c everywhere
	GDT       bool   // gdt_csum: crc16 in group descriptors only
	Seed      uint32 // crc32c of the UUID, or the seed kept in the superblock
	uuid      [16]byte
	inodeSize int
	descSize  int
	perGroup  uint32 // inodes
	clusters  uint32 // clusters per group
}

func newSums(s *Superblock) Sums {
	c := Sums{Metadata: s.ROCompat&ROCompatMetadataCsum != 0, GDT: s.ROCompat&ROCompatGDTCsum != 0, uuid: s.UUID,
		inodeSize: int(s.InodeSize), descSize: int(s.DescSize), perGroup: s.InodesPerGroup,
		clusters: s.BlocksPerGroup / (s.ClusterSize / s.BlockSize)}
	c.Seed = CRC32C(^uint32(0), s.UUID[:])
	if s.Incompat&IncompatCsumSeed != 0 {
		c.Seed = s.ChecksumSeed
	}
	return c
}

var zero4 [4]byte

// Super gives the checksum of a superblock.
func (c *Sums) Super(raw []byte) uint32 { return CRC32C(^uint32(0), raw[:SBChecksum]) }

// MMP gives the checksum of an MMP block.
func (c *Sums) MMP(raw []byte) uint32 { return CRC32C(c.Seed, raw[:MMPChecksum]) }

// Group gives the checksum of a group descriptor: crc32c with metadata_csum, else crc16 with gdt_csum, else 0.
func (c *Sums) Group(group uint32, raw []byte) uint16 {
	var num [4]byte
	le.PutUint32(num[:], group)
	raw = raw[:c.descSize]
	after := raw[min(GDChecksum+2, len(raw)):]
	switch {
	case c.Metadata:
		crc := CRC32C(CRC32C(c.Seed, num[:]), raw[:GDChecksum])
		crc = CRC32C(crc, zero4[:2])
		return uint16(CRC32C(crc, after))
	case c.GDT:
		crc := CRC16(CRC16(^uint16(0), c.uuid[:]), num[:])
		return CRC16(CRC16(crc, raw[:GDChecksum]), after)
	}
	return 0
}

// InodeBitmap gives the checksum of an inode bitmap block.
func (c *Sums) InodeBitmap(bitmap []byte) uint32 { return CRC32C(c.Seed, bitmap[:c.perGroup/8]) }

// BlockBitmap gives the checksum of a block bitmap block.
func (c *Sums) BlockBitmap(bitmap []byte) uint32 { return CRC32C(c.Seed, bitmap[:c.clusters/8]) }

// bitmapMask cuts a bitmap checksum to what a descriptor stores.
func (c *Sums) bitmapMask(sum uint32) uint32 {
	if c.descSize >= 64 {
		return sum
	}
	return sum & 0xFFFF
}

// InodeSeed gives what the checksums of an inode's own blocks begin with.
func (c *Sums) InodeSeed(ino, generation uint32) uint32 {
	var num [8]byte
	le.PutUint32(num[:], ino)
	le.PutUint32(num[4:], generation)
	return CRC32C(c.Seed, num[:])
}

// inodeSumWide says whether an inode has room for the high half of its checksum.
func inodeSumWide(raw []byte) bool {
	return len(raw) > InodeGoodOldSize && le.Uint16(raw[InodeExtraIsize:]) >= InodeChecksumHi+2-InodeGoodOldSize
}

// Inode gives the checksum of an inode of InodeSize bytes. Only the low 16 bits are stored in inodes of 128 bytes.
func (c *Sums) Inode(ino uint32, raw []byte) uint32 {
	crc := c.InodeSeed(ino, le.Uint32(raw[InodeGeneration:]))
	crc = CRC32C(crc, raw[:InodeChecksumLo])
	crc = CRC32C(crc, zero4[:2])
	crc = CRC32C(crc, raw[InodeChecksumLo+2:InodeGoodOldSize])
	if len(raw) > InodeGoodOldSize {
		crc = CRC32C(crc, raw[InodeGoodOldSize:InodeChecksumHi])
		next := InodeChecksumHi
		if inodeSumWide(raw) {
			crc = CRC32C(crc, zero4[:2])
			next += 2
		}
		crc = CRC32C(crc, raw[next:])
	}
	if !inodeSumWide(raw) {
		crc &= 0xFFFF
	}
	return crc
}

// StoredInode gives the checksum that an inode holds.
func (c *Sums) StoredInode(raw []byte) uint32 {
	sum := uint32(le.Uint16(raw[InodeChecksumLo:]))
	if inodeSumWide(raw) {
		sum |= uint32(le.Uint16(raw[InodeChecksumHi:])) << 16
	}
	return sum
}

// PutInode writes the checksum into an inode. Without metadata_csum it does nothing.
func (c *Sums) PutInode(ino uint32, raw []byte) {
	if !c.Metadata {
		return
	}
	sum := c.Inode(ino, raw)
	le.PutUint16(raw[InodeChecksumLo:], uint16(sum))
	if inodeSumWide(raw) {
		le.PutUint16(raw[InodeChecksumHi:], uint16(sum>>16))
	}
}

// PutGroup writes the checksum into a group descriptor, if the file system has such.
func (c *Sums) PutGroup(group uint32, raw []byte) {
	if c.Metadata || c.GDT {
		le.PutUint16(raw[GDChecksum:], c.Group(group, raw))
	}
}

// PutBitmaps writes the checksums of bitmaps into a group descriptor; nil leaves one as it is. Call PutGroup after it.
func (c *Sums) PutBitmaps(raw, blockBitmap, inodeBitmap []byte) {
	put := func(sum uint32, lo, hi int) {
		le.PutUint16(raw[lo:], uint16(sum))
		if c.descSize >= 64 {
			le.PutUint16(raw[hi:], uint16(sum>>16))
		}
	}
	if !c.Metadata {
		return
	}
	if blockBitmap != nil {
		put(c.BlockBitmap(blockBitmap), GDBlockBitmapCSLo, GDBlockBitmapCSHi)
	}
	if inodeBitmap != nil {
		put(c.InodeBitmap(inodeBitmap), GDInodeBitmapCSLo, GDInodeBitmapCSHi)
	}
}

// PutSuper writes the checksum into a superblock, if the file system has such.
func (c *Sums) PutSuper(raw []byte) {
	if c.Metadata {
		le.PutUint32(raw[SBChecksum:], c.Super(raw))
	}
}

// XattrBlock gives the checksum of an attribute block at a block number.
func (c *Sums) XattrBlock(block uint64, raw []byte) uint32 {
	var num [8]byte
	le.PutUint64(num[:], block)
	crc := CRC32C(CRC32C(c.Seed, num[:]), raw[:XattrHdrChecksum])
	crc = CRC32C(crc, zero4[:])
	return CRC32C(crc, raw[XattrHdrChecksum+4:])
}

// PutXattrBlock writes the checksum into an attribute block, if the file system has such.
func (c *Sums) PutXattrBlock(block uint64, raw []byte) {
	if c.Metadata {
		le.PutUint32(raw[XattrHdrChecksum:], c.XattrBlock(block, raw))
	}
}

// ExtentTail gives where the checksum of an extent tree block lies, and what it should be. ok is false when the header leaves no
// room for it.
func (c *Sums) ExtentTail(ino, generation uint32, raw []byte) (off int, sum uint32, ok bool) {
	off = ExtentHeaderSize + ExtentEntrySize*int(le.Uint16(raw[4:]))
	if off > len(raw)-4 {
		return 0, 0, false
	}
	return off, CRC32C(c.InodeSeed(ino, generation), raw[:off]), true
}

// DirLeaf gives the checksum of a directory block that holds entries; it is stored at 4 bytes from the end.
func (c *Sums) DirLeaf(ino, generation uint32, raw []byte) uint32 {
	return CRC32C(c.InodeSeed(ino, generation), raw[:len(raw)-DirTailSize])
}

// DirNode gives where the checksum of a hash-tree block lies and what it should be; countAt is the offset of its limit and count.
// ok is false when limit and count leave no room for it.
func (c *Sums) DirNode(ino, generation uint32, raw []byte, countAt int) (off int, sum uint32, ok bool) {
	if countAt < 0 || countAt+4 > len(raw) {
		return 0, 0, false
	}
	limit, count := int(le.Uint16(raw[countAt:])), int(le.Uint16(raw[countAt+2:]))
	tail := countAt + limit*DxEntrySize
	if count > limit || tail+8 > len(raw) {
		return 0, 0, false
	}
	crc := CRC32C(c.InodeSeed(ino, generation), raw[:countAt+count*DxEntrySize])
	crc = CRC32C(crc, raw[tail:tail+4])
	return tail + 4, CRC32C(crc, zero4[:]), true
}
