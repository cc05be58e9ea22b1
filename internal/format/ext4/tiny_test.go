package ext4

import (
	"bytes"
	"strings"
	"testing"
)

// Numbers of the inodes of a tiny image.
const (
	tinyHtree  = 12 // hash-tree directory with LUFIDs, extents
	tinyMapped = 13 // file with direct and indirect blocks
	tinyTree   = 14 // file with an extent tree of depth 1
	tinyInline = 15 // inline directory
	tinyAttrs  = 16 // attributes in inode, in a block, and in inode 17
	tinyValue  = 17 // holds a value
	tinyLink   = 18 // short symbolic link

	tinyBlocks, tinyBS, tinyInodes, tinyInodeSize = 128, 1024, 32, 256
	tinyTable                                     = 5 // block of the inode table
)

// tinyImage makes a file system of 128 KiB by hand that has every structure this package reads, with metadata_csum and dirdata.
func tinyImage() []byte {
	img := make([]byte, tinyBlocks*tinyBS)
	sb := img[SuperOffset:][:SuperSize]
	put16 := func(b []byte, off int, v uint16) { le.PutUint16(b[off:], v) }
	put32 := func(b []byte, off int, v uint32) { le.PutUint32(b[off:], v) }
	for off, v := range map[int]uint32{SBInodesCount: tinyInodes, SBBlocksCountLo: tinyBlocks, SBFirstDataBlock: 1, SBBlocksPerGroup: 8192,
		SBClustersPerGroup: 8192, SBInodesPerGroup: tinyInodes, SBRevLevel: 1, SBFirstIno: 11, SBFeatureCompat: CompatDirIndex | CompatExtAttr,
		SBFeatureIncompat: IncompatFiletype | IncompatExtents | Incompat64bit | IncompatDirdata | IncompatInlineData | IncompatEAInode,
		SBFeatureROCompat: ROCompatMetadataCsum | ROCompatExtraIsize} {
		put32(sb, off, v)
	}
	put16(sb, SBMagic, SuperMagic)
	put16(sb, SBState, StateValid)
	put16(sb, SBInodeSize, tinyInodeSize)
	put16(sb, SBDescSize, 64)
	sb[SBChecksumType], sb[SBDefHashVersion] = 1, HashHalfMD4
	copy(sb[SBUUID:], "tiny image uuid.")
	copy(sb[SBVolumeName:], "tiny")
	s, err := DecodeSuper(sb)
	if err != nil {
		panic(err)
	}
	sums := newSums(s)
	block := func(n int) []byte { return img[n*tinyBS:][:tinyBS] }
	table := img[tinyTable*tinyBS:][: tinyInodes*tinyInodeSize : tinyInodes*tinyInodeSize]
	at := func(ino int) []byte { return table[(ino-1)*tinyInodeSize:][:tinyInodeSize] }
	make := func(ino int, mode uint16, flags, size uint32) []byte {
		in := at(ino)
		put16(in, InodeMode, mode|0o755)
		put16(in, InodeLinks, 1)
		put32(in, InodeFlags, flags)
		put32(in, InodeSizeLo, size)
		put32(in, InodeGeneration, uint32(ino)*3)
		put16(in, InodeExtraIsize, 32)
		return in
	}
	extents := func(node []byte, depth, most int, list ...[3]uint32) { // {logical, physical, length}
		put16(node, 0, ExtentMagic)
		put16(node, 2, uint16(len(list)))
		put16(node, 4, uint16(most))
		put16(node, 6, uint16(depth))
		for i, e := range list {
			x := node[ExtentHeaderSize+i*ExtentEntrySize:]
			put32(x, 0, e[0])
			if depth == 0 {
				put16(x, 4, uint16(e[2]))
				put32(x, 8, e[1])
			} else {
				put32(x, 4, e[1])
			}
		}
	}
	tinyDirs(img, s, &sums, make, extents, block)

	in := make(tinyMapped, ModeRegular, 0, 15*tinyBS)
	for i := range 12 {
		put32(in, InodeBlock+4*i, uint32(40+i))
		copy(block(40+i), bytes.Repeat([]byte{byte('a' + i)}, tinyBS))
	}
	put32(in, InodeBlock+48, 52)
	put32(block(52), 0, 60)
	put32(block(52), 8, 61) // a hole between
	copy(block(61), "end")

	in = make(tinyTree, ModeRegular, FlagExtents, 20*tinyBS)
	extents(in[InodeBlock:], 1, 4, [3]uint32{0, 62})
	extents(block(62), 0, 84, [3]uint32{0, 63, 2}, [3]uint32{10, 66, 3}, [3]uint32{15, 70, ExtentMaxLen + 2})
	copy(block(66), "ten")
	off, sum, _ := sums.ExtentTail(tinyTree, tinyTree*3, block(62))
	put32(block(62), off, sum)

	in = make(tinyAttrs, ModeRegular, 0, 0)
	put32(in, InodeFileACLLo, 80)
	put32(in, InodeGoodOldSize+32, XattrMagic)
	tinyXattrs(in[InodeGoodOldSize+36:], 0, tinyXattr{"lma", bytes.Repeat([]byte{9}, 24), 0}, tinyXattr{"big", bytes.Repeat([]byte{1}, 1500), tinyValue})
	put32(block(80), 0, XattrMagic)
	put32(block(80), XattrHdrRefcount, 1)
	put32(block(80), XattrHdrBlocks, 1)
	tinyXattrs(block(80), XattrBlockHeader, tinyXattr{"link", bytes.Repeat([]byte{5}, 301), 0})
	sums.PutXattrBlock(80, block(80))

	in = make(tinyValue, ModeRegular, FlagExtents|FlagEAInode, 1500)
	extents(in[InodeBlock:], 0, 4, [3]uint32{0, 81, 2})
	copy(img[81*tinyBS:], bytes.Repeat([]byte{1}, 1500))
	copy(make(tinyLink, ModeSymlink, 0, 6)[InodeBlock:], "target")

	tinySeal(img, &sums)
	return img
}

// tinySeal writes bitmaps, the group descriptor and all checksums.
func tinySeal(img []byte, sums *Sums) {
	block := func(n int) []byte { return img[n*tinyBS:][:tinyBS] }
	used := block(4)
	for i := range tinyBS {
		used[i] = 0xFF
	}
	clear(used[:tinyInodes/8])
	for ino := uint32(1); ino <= tinyInodes; ino++ {
		in := img[tinyTable*tinyBS+int(ino-1)*tinyInodeSize:][:tinyInodeSize]
		if le.Uint16(in[InodeMode:]) != 0 || ino < 11 {
			used[(ino-1)/8] |= 1 << ((ino - 1) % 8)
			sums.PutInode(ino, in)
		}
	}
	desc := img[2*tinyBS:][:64]
	le.PutUint32(desc[GDBlockBitmapLo:], 3)
	le.PutUint32(desc[GDInodeBitmapLo:], 4)
	le.PutUint32(desc[GDInodeTableLo:], tinyTable)
	sums.PutBitmaps(desc, block(3), used)
	sums.PutGroup(0, desc)
	sums.PutSuper(img[SuperOffset:][:SuperSize])
}

// tinyDirs makes the root, the hash-tree directory and the inline one.
func tinyDirs(img []byte, s *Superblock, sums *Sums, inode func(int, uint16, uint32, uint32) []byte,
	extents func([]byte, int, int, ...[3]uint32), block func(int) []byte) {
	leaf := func(n, ino int, names ...tinyName) {
		b := block(n)
		tinyEntries(b[:tinyBS-DirTailSize], names...)
		tail := b[tinyBS-DirTailSize:]
		le.PutUint16(tail[DirentRecLen:], DirTailSize)
		tail[DirentType] = DirTailType
		le.PutUint32(tail[8:], sums.DirLeaf(uint32(ino), uint32(ino)*3, b))
	}
	extents(inode(InoRoot, ModeDir, FlagExtents, tinyBS)[InodeBlock:], 0, 4, [3]uint32{0, 20, 1})
	leaf(20, InoRoot, tinyName{".", InoRoot, TypeDir, false}, tinyName{"..", InoRoot, TypeDir, false}, tinyName{"htree", tinyHtree, TypeDir, true},
		tinyName{"mapped", tinyMapped, TypeRegular, true}, tinyName{"tree", tinyTree, TypeRegular, false}, tinyName{"inline", tinyInline, TypeDir, false},
		tinyName{strings.Repeat("a", 255), tinyAttrs, TypeRegular, true}, tinyName{"link", tinyLink, TypeSymlink, true})

	extents(inode(tinyHtree, ModeDir, FlagExtents|FlagIndex, 3*tinyBS)[InodeBlock:], 0, 4, [3]uint32{0, 21, 3})
	root := block(21)
	tinyEntries(root, tinyName{".", tinyHtree, TypeDir, false}, tinyName{"..", InoRoot, TypeDir, true})
	root[40+DxInfoVersion], root[40+DxInfoLength] = HashHalfMD4, DxInfoSize
	le.PutUint16(root[48:], uint16(s.DxLimit(48)))
	le.PutUint16(root[50:], 2)
	le.PutUint32(root[52:], 1)
	le.PutUint32(root[56:], 0x80000000)
	le.PutUint32(root[60:], 2)
	off, sum, _ := sums.DirNode(tinyHtree, tinyHtree*3, root, 48)
	le.PutUint32(root[off:], sum)
	leaf(22, tinyHtree, tinyName{"one", tinyMapped, TypeRegular, true}, tinyName{"two", tinyTree, TypeRegular, true})
	leaf(23, tinyHtree, tinyName{"three", tinyAttrs, TypeRegular, true})

	in := inode(tinyInline, ModeDir, FlagInlineData, 80)
	le.PutUint32(in[InodeBlock:], InoRoot)
	tinyEntries(in[InodeBlock+4:InodeBlock+InodeBlockLen], tinyName{"in", tinyLink, TypeSymlink, true})
	le.PutUint32(in[InodeGoodOldSize+32:], XattrMagic)
	more := make([]byte, 24)
	tinyEntries(more, tinyName{"more", tinyLink, TypeSymlink, false})
	tinyXattrs(in[InodeGoodOldSize+36:], 0, tinyXattr{"data", more, 0})
	in[InodeGoodOldSize+36+1] = XattrIndexSystem
}

type tinyName struct {
	name string
	ino  uint32
	kind uint8
	fid  bool
}

// tinyEntries fills area with entries; the last one reaches to its end.
func tinyEntries(area []byte, names ...tinyName) {
	off := 0
	for i, n := range names {
		e := area[off:]
		le.PutUint32(e, n.ino)
		e[DirentNameLen], e[DirentType] = byte(len(n.name)), n.kind
		copy(e[DirentName:], n.name)
		size := DirentLen(len(n.name), 0)
		if n.fid {
			e[DirentType] |= DirdataLUFID
			size = DirentLen(len(n.name), DirdataLUFIDLen)
			rec := e[DirentName+len(n.name)+1:]
			rec[0], rec[6], rec[12] = DirdataLUFIDLen, 4, byte(n.ino)
		}
		if i == len(names)-1 {
			size = len(area) - off
		}
		le.PutUint16(e[DirentRecLen:], uint16(size))
		off += size
	}
}

type tinyXattr struct {
	name  string
	value []byte
	inode uint32
}

// tinyXattrs fills an attribute area whose first entry lies at off.
func tinyXattrs(area []byte, off int, list ...tinyXattr) {
	end := len(area)
	for _, x := range list {
		e := area[off:]
		e[0], e[1] = byte(len(x.name)), XattrIndexTrusted
		le.PutUint32(e[4:], x.inode)
		le.PutUint32(e[8:], uint32(len(x.value)))
		copy(e[XattrEntrySize:], x.name)
		if x.inode == 0 {
			end -= XattrValueLen(len(x.value))
			le.PutUint16(e[2:], uint16(end))
			copy(area[end:], x.value)
			le.PutUint32(e[12:], XattrEntryHash([]byte(x.name), x.value))
		}
		off += XattrEntryLen(len(x.name))
	}
}

// openTiny opens an image in memory.
func openTiny(t testing.TB, img []byte) *FS {
	t.Helper()
	fs, err := New(bytes.NewReader(img), int64(len(img)), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return fs
}
