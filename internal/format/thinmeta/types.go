package thinmeta

import "hash/crc32"

// BlockSize is the size of every metadata block in bytes.
const BlockSize = 4096

// Facts of the format, as the kernel's dm-thin-metadata.c and persistent-data library have them.
const (
	Magic   = 27022010 // of the superblock
	Version = 2

	// Checksums are crc32c with these masks.
	maskSuperblock = 160774
	maskNode       = 121107
	maskBitmap     = 240779
	maskIndex      = 160478

	// FlagNeedsCheck is set in Superblock.Flags when the kernel had to abort a transaction.
	FlagNeedsCheck = 1

	// MaxDevice is the largest device id: ids have 24 bits.
	MaxDevice = 1<<24 - 1

	// BitsPerBitmap is how many blocks one bitmap block counts; MaxBitmaps how many of them the metadata space map can have.
	BitsPerBitmap = 16320
	MaxBitmaps    = 255
)

// Kind says what a metadata block is, which decides the mask of its checksum.
type Kind uint8

// The kinds of blocks that have a checksum.
const (
	KindSuperblock Kind = iota
	KindNode
	KindBitmap
	KindIndex
)

// Checksum is what the first four bytes of a block of that kind must hold. b has BlockSize bytes.
func Checksum(kind Kind, b []byte) uint32 {
	mask := [...]uint32{maskSuperblock, maskNode, maskBitmap, maskIndex}[kind]
	// The kernel's crc32c begins with all ones and does not invert the result; Go's inverts it.
	return crc32.Checksum(b[4:BlockSize], castagnoli) ^ 0xffffffff ^ mask
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MaxEntries is how many entries a btree node has room for when a value takes valueSize bytes: 252 for 8, 126 for 24.
func MaxEntries(valueSize int) int { return (BlockSize - 32) / (8 + valueSize) / 3 * 3 }

// SpaceMapRoot says where a space map is and what it sums up to.
type SpaceMapRoot struct {
	Blocks     uint64 // that it counts
	Allocated  uint64 // of them, with a count other than 0
	BitmapRoot uint64 // data: btree of index entries; metadata: the index block
	CountRoot  uint64 // btree of counts of 3 and more
}

// Superblock is block 0.
type Superblock struct {
	Checksum       uint32
	Flags          uint32
	BlockNr        uint64
	UUID           [16]byte
	Magic          uint64
	Version        uint32
	Time           uint32 // of the pool: counts snapshots that were made
	TransactionID  uint64 // of the pool's owner (LVM); dmsetup leaves it 0
	HeldRoot       uint64 // block of the metadata snapshot, 0 for none
	Data           SpaceMapRoot
	Metadata       SpaceMapRoot
	MappingRoot    uint64
	DetailsRoot    uint64
	DataBlockSize  uint32 // in sectors of 512 bytes
	MetaBlockSize  uint32 // in sectors: 8
	MetadataBlocks uint64
	Compat         uint32
	CompatRO       uint32
	Incompat       uint32
}

// Details is what the pool knows of one device.
type Details struct {
	MappedBlocks  uint64
	TransactionID uint64
	CreationTime  uint32 // pool time when it was made
	SnapshotTime  uint32 // pool time of its newest snapshot: mappings older than this are shared for the kernel
}

// Run is a range of virtual blocks of a device that maps to a range of data blocks, all mapped at one pool time.
type Run struct {
	Virtual, Data, Length uint64
	Time                  uint32
}
