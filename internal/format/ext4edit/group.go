package ext4edit

import (
	"cmp"
	"slices"

	"fettle/internal/format/ext4"
)

// group is a descriptor that is about to change, with its bitmaps as far as they were asked for.
type group struct {
	ext4.GroupDesc
	raw    []byte
	blocks []byte // block bitmap, one block
	inodes []byte // inode bitmap, one block
}

// usesUninit says whether groups have checksums and may be marked as never written.
func (e *Edit) usesUninit() bool {
	return e.sb.ROCompat&(ext4.ROCompatGDTCsum|ext4.ROCompatMetadataCsum) != 0
}

// descAt gives the block and offset of a descriptor.
func (e *Edit) descAt(g uint32) (block uint64, off int) {
	per := e.sb.BlockSize / e.sb.DescSize
	return e.sb.DescBlock(g / per), int(g % per * e.sb.DescSize)
}

// group reads a descriptor from the overlay and checks it.
func (e *Edit) group(g uint32) (*group, error) {
	if g >= e.view.Groups() {
		return nil, damaged("group %d of %d", g, e.view.Groups())
	}
	block, off := e.descAt(g)
	if meta, err := e.isMeta(block); err != nil || !meta {
		return nil, firstOf(err, damaged("descriptor of group %d in block %d lies where none should be", g, block))
	}
	raw := make([]byte, e.sb.DescSize)
	if _, err := e.over.readInto(block, off, raw); err != nil {
		return nil, err
	}
	d := &group{GroupDesc: ext4.DecodeGroup(raw), raw: raw}
	d.Group = g
	if e.usesUninit() {
		if want := e.sums.Group(g, raw); want != d.Checksum {
			return nil, damaged("checksum of the descriptor of group %d is %#04x, should be %#04x", g, d.Checksum, want)
		}
	} else {
		d.Flags = 0 // without checksums flags mean nothing
	}
	if d.Flags&ext4.GroupInodeUninit != 0 && g == 0 {
		return nil, damaged("the first group is marked as never written")
	}
	return d, nil
}

// groupBlocks gives the blocks of a group; the last one may be shorter.
func (e *Edit) groupBlocks(g uint32) int {
	return int(min(uint64(e.sb.BlocksPerGroup), e.sb.Blocks-e.sb.GroupFirstBlock(g)))
}

// putGroup writes the descriptor, the bitmaps that were loaded, and all their checksums.
func (e *Edit) putGroup(d *group) error {
	if d.blocks != nil {
		if err := e.over.write(d.BlockBitmap, d.blocks); err != nil {
			return err
		}
	}
	if d.inodes != nil {
		if err := e.over.write(d.InodeBitmap, d.inodes); err != nil {
			return err
		}
	}
	flags := d.Flags
	if !e.usesUninit() {
		d.Flags = le.Uint16(d.raw[ext4.GDFlags:])
	}
	d.GroupDesc.Put(d.raw)
	d.Flags = flags
	e.sums.PutBitmaps(d.raw, d.blocks, d.inodes)
	e.sums.PutGroup(d.Group, d.raw)
	block, off := e.descAt(d.Group)
	return e.over.patch(block, off, d.raw)
}

// loadBlocks reads the block bitmap, or makes one when none was written yet.
func (e *Edit) loadBlocks(d *group) error {
	if d.blocks != nil {
		return nil
	}
	if d.Flags&ext4.GroupBlockUninit != 0 {
		return e.initBlocks(d)
	}
	buf, err := e.over.read(d.BlockBitmap)
	if err != nil {
		return err
	}
	if e.sums.Metadata {
		if want := mask(e.sums.BlockBitmap(buf), e.sb); want != d.BlockBitmapSum {
			return damaged("checksum of the block bitmap of group %d is %#08x, should be %#08x", d.Group, d.BlockBitmapSum, want)
		}
	}
	d.blocks = buf
	return nil
}

// loadInodes reads the inode bitmap, or makes one when none was written yet.
func (e *Edit) loadInodes(d *group) error {
	if d.inodes != nil {
		return nil
	}
	if d.Flags&ext4.GroupInodeUninit != 0 {
		return e.initInodes(d)
	}
	buf, err := e.over.read(d.InodeBitmap)
	if err != nil {
		return err
	}
	if e.sums.Metadata {
		if want := mask(e.sums.InodeBitmap(buf), e.sb); want != d.InodeBitmapSum {
			return damaged("checksum of the inode bitmap of group %d is %#08x, should be %#08x", d.Group, d.InodeBitmapSum, want)
		}
	}
	d.inodes = buf
	return nil
}

// mask cuts a bitmap's checksum to what a descriptor has room for.
func mask(sum uint32, s *ext4.Superblock) uint32 {
	if s.DescSize >= 64 {
		return sum
	}
	return sum & 0xFFFF
}

// initBlocks makes the block bitmap of a group that was never written: all free but its metadata, and set behind its end.
func (e *Edit) initBlocks(d *group) error {
	buf, free, err := e.freshBits(d.Group)
	if err != nil {
		return err
	}
	if uint64(d.FreeBlocks) != free {
		return damaged("group %d was never written, has %d blocks without metadata, and says that %d are free", d.Group, free, d.FreeBlocks)
	}
	d.blocks = buf
	d.Flags &^= ext4.GroupBlockUninit
	return nil
}

// freshBits is the block bitmap of a group in which no file has a block.
func (e *Edit) freshBits(g uint32) (bits []byte, free uint64, err error) {
	list, err := e.metadata()
	if err != nil {
		return nil, 0, err
	}
	bits = make([]byte, e.over.size)
	from, n := e.sb.GroupFirstBlock(g), uint64(e.groupBlocks(g))
	free = n
	at, _ := slices.BinarySearchFunc(list, from, func(s span, b uint64) int { return cmp.Compare(s.from+s.n, b+1) })
	for _, s := range list[at:] {
		if s.from >= from+n {
			break
		}
		for b := max(s.from, from); b < min(s.from+s.n, from+n); b++ {
			setBit(bits, int(b-from))
			free--
		}
	}
	for i := int(n); i < 8*len(bits); i++ {
		setBit(bits, i)
	}
	return bits, free, nil
}

// initInodes makes the inode bitmap of a group that was never written: all free, and set behind its end.
func (e *Edit) initInodes(d *group) error {
	buf := make([]byte, e.over.size)
	for i := int(e.sb.InodesPerGroup); i < 8*len(buf); i++ {
		setBit(buf, i)
	}
	if d.FreeInodes != e.sb.InodesPerGroup {
		return damaged("group %d was never written, has %d inodes, and says that %d are free", d.Group, e.sb.InodesPerGroup, d.FreeInodes)
	}
	d.inodes = buf
	d.ItableUn = e.sb.InodesPerGroup
	d.Flags &^= ext4.GroupInodeUninit
	return nil
}

func getBit(b []byte, i int) bool { return b[i/8]&(1<<(i%8)) != 0 }
func setBit(b []byte, i int)      { b[i/8] |= 1 << (i % 8) }
func clearBit(b []byte, i int)    { b[i/8] &^= 1 << (i % 8) }

// superAt gives the block that holds the primary superblock, and its offset in it.
func (e *Edit) superAt() (uint64, int) {
	return uint64(ext4.SuperOffset / e.over.size), ext4.SuperOffset % e.over.size
}

// changeSuper changes the primary superblock and its checksum.
func (e *Edit) changeSuper(fn func(raw []byte) error) error {
	block, off := e.superAt()
	buf, err := e.over.read(block)
	if err != nil {
		return err
	}
	raw := buf[off : off+ext4.SuperSize]
	if err := fn(raw); err != nil {
		return err
	}
	e.sums.PutSuper(raw)
	return e.over.write(block, buf)
}

// count adds to the superblock's numbers of free blocks and inodes.
func (e *Edit) count(blocks, inodes int) error {
	return e.changeSuper(func(raw []byte) error {
		free := int64(le.Uint32(raw[ext4.SBFreeBlocksLo:]))
		wide := e.sb.Incompat&ext4.Incompat64bit != 0
		if wide {
			free |= int64(le.Uint32(raw[ext4.SBFreeBlocksHi:])) << 32
		}
		nodes := int64(le.Uint32(raw[ext4.SBFreeInodes:])) + int64(inodes)
		free += int64(blocks)
		if free < 0 || uint64(free) > e.sb.Blocks || nodes < 0 || nodes > int64(e.sb.Inodes) {
			return damaged("the superblock counts would become %d free blocks and %d free inodes", free, nodes)
		}
		le.PutUint32(raw[ext4.SBFreeBlocksLo:], uint32(free))
		if wide {
			le.PutUint32(raw[ext4.SBFreeBlocksHi:], uint32(free>>32))
		}
		le.PutUint32(raw[ext4.SBFreeInodes:], uint32(nodes))
		return nil
	})
}
