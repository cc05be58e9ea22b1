package mkldiskfs

import (
	"encoding/binary"
	"fmt"
)

// BlockSize is that of every image, as on real targets.
const BlockSize = 4096

// Options say what kind of image to make.
type Options struct {
	// Label is the volume name, such as "lab-MDT0000".
	Label string
	// Seed decides over UUID and hash seed.
	Seed uint64
	// Inodes is how many inodes there must be room for, reserved ones included.
	Inodes int
	// InodeSize in bytes: 256, 512, 1024 or 2048. 0 means 512.
	InodeSize int
	// InodesPerGroup is rounded up to whole blocks; 0 chooses by Inodes.
	InodesPerGroup int
	// Extents maps files by extents rather than by indirect blocks.
	Extents bool
	// MetadataCsum puts crc32c checksums everywhere, rather than crc16 ones in the group descriptors only.
	MetadataCsum bool
	// Bit64 makes group descriptors of 64 bytes.
	Bit64 bool
	// EAInode puts attributes that are too long for a block into inodes of their own.
	EAInode bool
	// Linear leaves directories of several blocks without a hash tree.
	Linear bool
	// Fragment leaves a free block after every few, so that maps become deep.
	Fragment bool
	// NoDirdata makes a file system whose names carry no FIDs: the feature is off.
	NoDirdata bool
	// Grow adds groups as inodes and blocks need them; Inodes is only where it begins then.
	Grow bool
	// Time is that of all inodes and of the superblock, in seconds since 1970.
	Time uint32
}

const (
	blocksPerGroup = 8 * BlockSize
	firstInode     = 11
	journalBlocks  = 1024
	extraISize     = 32
	maxGroups      = 1 << 16
)

// geometry is where things are in an image.
type geometry struct {
	groups    int
	most      int // groups that there may be
	perGroup  int // inodes
	inodeSize int
	table     int // blocks of one inode table
	descSize  int
	descs     int // blocks of all group descriptors
}

func (o Options) geometry() (geometry, error) {
	g := geometry{inodeSize: o.InodeSize, perGroup: o.InodesPerGroup, descSize: 32}
	if g.inodeSize == 0 {
		g.inodeSize = 512
	}
	if o.Bit64 {
		g.descSize = 64
	}
	switch g.inodeSize {
	case 256, 512, 1024, 2048:
	default:
		return g, fmt.Errorf("inodes of %d bytes: possible are 256, 512, 1024 and 2048", o.InodeSize)
	}
	if g.perGroup == 0 {
		g.perGroup = 32768
		if o.Inodes < 1<<17 {
			g.perGroup = 2048
		}
	}
	unit := max(BlockSize/g.inodeSize, 8)
	g.perGroup = min((g.perGroup+unit-1)/unit*unit, 32768)
	g.table = g.perGroup * g.inodeSize / BlockSize
	if o.Inodes < 1 {
		return g, fmt.Errorf("room for %d inodes: want at least one", o.Inodes)
	}
	// One group more than needed stays without inodes in use, as on most real targets.
	g.groups = (o.Inodes+firstInode+g.perGroup-1)/g.perGroup + 1
	g.most = g.groups
	if o.Grow {
		// Everything in a group lies behind the descriptors, so that there must be room for those of all groups from the beginning.
		g.groups, g.most = g.groups-1, min(maxGroups, 1<<32/g.perGroup-1)
	}
	g.descs = (g.most*g.descSize + BlockSize - 1) / BlockSize
	if g.groups > maxGroups || g.table > blocksPerGroup/2+blocksPerGroup/4 {
		return g, fmt.Errorf("%d inodes of %d bytes are too many for one image", o.Inodes, g.inodeSize)
	}
	return g, nil
}

func (g geometry) blocks() uint64 { return uint64(g.groups) * blocksPerGroup }

// hasSuper reports whether a group begins with a superblock and the descriptors (feature sparse_super).
func hasSuper(group int) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// first is the first block of a group; meta what lies there: the number of blocks that a superblock and descriptors take.
func (g geometry) first(group int) uint64 { return uint64(group) * blocksPerGroup }

func (g geometry) superBlocks(group int) int {
	if hasSuper(group) {
		return 1 + g.descs
	}
	return 0
}

// Blocks of a group's bitmaps and inode table, and of its first data block.
func (g geometry) blockBitmap(group int) uint64 { return g.first(group) + uint64(g.superBlocks(group)) }
func (g geometry) inodeBitmap(group int) uint64 { return g.blockBitmap(group) + 1 }
func (g geometry) inodeTable(group int) uint64  { return g.blockBitmap(group) + 2 }
func (g geometry) overhead(group int) int       { return g.superBlocks(group) + 2 + g.table }

// inodeAt is where an inode is: its group, its number in it, and its offset in the image.
func (g geometry) inodeAt(ino uint32) (group, index int, offset int64) {
	group, index = int(ino-1)/g.perGroup, int(ino-1)%g.perGroup
	return group, index, int64(g.inodeTable(group))*BlockSize + int64(index*g.inodeSize)
}

// bytes16 makes 16 bytes from a seed and a purpose (splitmix64), for UUIDs and hash seeds.
func bytes16(seed, purpose uint64) (out [16]byte) {
	for i := range 2 {
		x := seed + purpose*0x9e3779b97f4a7c15 + uint64(i+1)*0xbf58476d1ce4e5b9
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(out[8*i:], x^x>>31)
	}
	return out
}
