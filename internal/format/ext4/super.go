package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

var le = binary.LittleEndian

// Superblock is a decoded superblock. Counts are as the disk says; FS bounds them, and takes those of a copy when they cannot be true.
type Superblock struct {
	Offset int64  // where it was read from, in bytes; SuperOffset for the primary
	Raw    []byte // its 1024 bytes; not to be changed

	Inodes         uint32
	Blocks         uint64
	ReservedBlocks uint64
	FreeBlocks     uint64
	FreeInodes     uint32
	FirstDataBlock uint32
	BlockSize      uint32 // bytes
	ClusterSize    uint32 // bytes; differs from BlockSize with bigalloc only
	BlocksPerGroup uint32
	InodesPerGroup uint32
	InodeSize      uint32 // bytes
	DescSize       uint32 // bytes of a group descriptor
	FirstIno       uint32 // first inode number that is not reserved
	FirstMetaBG    uint32
	RevLevel       uint32
	GroupNr        uint16 // the group that this copy lies in

	Compat, Incompat, ROCompat uint32

	State    uint16
	Errors   uint16 // what the kernel does at errors: 1 continue, 2 remount read-only, 3 panic
	ErrCount uint32
	Flags    uint32

	UUID        [16]byte
	Label       string // up to the first NUL
	LastMounted string

	MountTime, WriteTime, CheckTime, MkfsTime int64 // seconds since 1970
	MountCount                                uint16

	JournalInum, JournalDev uint32
	LastOrphan              uint32 // head of the list of inodes to delete at the next mount
	OrphanFileInum          uint32
	HashSeed                [4]uint32
	HashVersion             uint8
	ReservedGDTBlocks       uint16
	BackupGroups            [2]uint32 // with sparse_super2
	LogGroupsPerFlex        uint8
	MinExtraIsize           uint16
	WantExtraIsize          uint16

	UserQuotaInum, GroupQuotaInum, ProjectQuotaInum uint32
	MMPBlock                                        uint64
	MMPInterval                                     uint16 // seconds
	ChecksumType                                    uint8
	ChecksumSeed                                    uint32 // as stored; Sums knows which seed applies
	Checksum                                        uint32
}

// HasCompat says whether every given compatible feature is set.
func (s *Superblock) HasCompat(bits uint32) bool { return s.Compat&bits == bits }

// HasIncompat says whether every given incompatible feature is set.
func (s *Superblock) HasIncompat(bits uint32) bool { return s.Incompat&bits == bits }

// HasROCompat says whether every given read-only compatible feature is set.
func (s *Superblock) HasROCompat(bits uint32) bool { return s.ROCompat&bits == bits }

// Dirdata says whether names may carry data records.
func (s *Superblock) Dirdata() bool { return s.Incompat&IncompatDirdata != 0 }

// Groups gives the number of block groups that the counts imply.
func (s *Superblock) Groups() uint64 {
	return (s.Blocks - uint64(s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup)
}

// countsText says what the counts are.
func (s *Superblock) countsText() string {
	return fmt.Sprintf("the superblock says %d blocks in groups of %d, and %d inodes, %d in each group", s.Blocks, s.BlocksPerGroup, s.Inodes, s.InodesPerGroup)
}

// DecodeSuper decodes the 1024 bytes of a superblock. It fails only when the magic is missing or the numbers that everything else
// is computed from cannot be true; the error says which.
func DecodeSuper(raw []byte) (*Superblock, error) {
	if len(raw) < SuperSize {
		return nil, fmt.Errorf("superblock: %d bytes, need %d", len(raw), SuperSize)
	}
	raw = raw[:SuperSize]
	u16 := func(off int) uint16 { return le.Uint16(raw[off:]) }
	u32 := func(off int) uint32 { return le.Uint32(raw[off:]) }
	if m := u16(SBMagic); m != SuperMagic {
		return nil, fmt.Errorf("superblock: magic is %#04x, not %#04x: %w", m, SuperMagic, ErrNotExt4)
	}
	s := &Superblock{Raw: raw, Inodes: u32(SBInodesCount), FreeInodes: u32(SBFreeInodes), FirstDataBlock: u32(SBFirstDataBlock),
		BlocksPerGroup: u32(SBBlocksPerGroup), InodesPerGroup: u32(SBInodesPerGroup), RevLevel: u32(SBRevLevel),
		GroupNr: u16(SBBlockGroupNr), Compat: u32(SBFeatureCompat), Incompat: u32(SBFeatureIncompat), ROCompat: u32(SBFeatureROCompat),
		State: u16(SBState), Errors: u16(SBErrors), ErrCount: u32(SBErrorCount), Flags: u32(SBFlags), MountCount: u16(SBMountCount),
		JournalInum: u32(SBJournalInum), JournalDev: u32(SBJournalDev), LastOrphan: u32(SBLastOrphan), OrphanFileInum: u32(SBOrphanFileInum),
		HashVersion: raw[SBDefHashVersion], ReservedGDTBlocks: u16(SBReservedGDTBlocks), LogGroupsPerFlex: raw[SBLogGroupsPerFlex],
		MinExtraIsize: u16(SBMinExtraIsize), WantExtraIsize: u16(SBWantExtraIsize), UserQuotaInum: u32(SBUserQuotaInum),
		GroupQuotaInum: u32(SBGroupQuotaInum), ProjectQuotaInum: u32(SBProjectQuotaInum), MMPBlock: le.Uint64(raw[SBMMPBlock:]),
		MMPInterval: u16(SBMMPInterval), ChecksumType: raw[SBChecksumType], ChecksumSeed: u32(SBChecksumSeed), Checksum: u32(SBChecksum),
		FirstMetaBG: u32(SBFirstMetaBG), BackupGroups: [2]uint32{u32(SBBackupBGs), u32(SBBackupBGs + 4)},
		Label: cString(raw[SBVolumeName:][:16]), LastMounted: cString(raw[SBLastMounted:][:64]), UUID: [16]byte(raw[SBUUID:])}
	for i := range s.HashSeed {
		s.HashSeed[i] = u32(SBHashSeed + 4*i)
	}
	seconds := func(lo, hi int) int64 { return int64(u32(lo)) | int64(raw[hi])<<32 }
	s.MountTime, s.WriteTime = seconds(SBMountTime, SBMountTimeHi), seconds(SBWriteTime, SBWriteTimeHi)
	s.CheckTime, s.MkfsTime = seconds(SBLastCheck, SBLastCheckHi), seconds(SBMkfsTime, SBMkfsTimeHi)
	hi := func(off int) uint64 { return 0 }
	if s.Incompat&Incompat64bit != 0 {
		hi = func(off int) uint64 { return uint64(u32(off)) << 32 }
	}
	s.Blocks = uint64(u32(SBBlocksCountLo)) | hi(SBBlocksCountHi)
	s.ReservedBlocks = uint64(u32(SBReservedBlocksLo)) | hi(SBReservedBlocksHi)
	s.FreeBlocks = uint64(u32(SBFreeBlocksLo)) | hi(SBFreeBlocksHi)
	return s, s.geometry()
}

// geometry decodes the sizes that everything else is computed from, and refuses those that no ext4 has.
func (s *Superblock) geometry() error {
	logBlock, logCluster := le.Uint32(s.Raw[SBLogBlockSize:]), le.Uint32(s.Raw[SBLogClusterSize:])
	if logBlock > 6 {
		return fmt.Errorf("superblock: block size 1024 << %d: %w", logBlock, ErrGeometry)
	}
	s.BlockSize = 1024 << logBlock
	s.ClusterSize = s.BlockSize
	if s.ROCompat&ROCompatBigalloc != 0 && logCluster >= logBlock && logCluster <= 20 {
		s.ClusterSize = 1024 << logCluster
	}
	s.InodeSize, s.FirstIno = InodeGoodOldSize, 11
	if s.RevLevel > 0 {
		s.InodeSize, s.FirstIno = uint32(le.Uint16(s.Raw[SBInodeSize:])), le.Uint32(s.Raw[SBFirstIno:])
	}
	s.DescSize = DescSizeMin
	if s.Incompat&Incompat64bit != 0 {
		s.DescSize = uint32(le.Uint16(s.Raw[SBDescSize:]))
	}
	powerOf2 := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	bits := 8 * s.BlockSize // one block of bitmap per group
	bad := ""
	switch {
	case s.InodeSize < InodeGoodOldSize || s.InodeSize > s.BlockSize || !powerOf2(s.InodeSize):
		bad = fmt.Sprintf("inode size %d", s.InodeSize)
	case s.DescSize < DescSizeMin || s.DescSize > s.BlockSize || !powerOf2(s.DescSize):
		bad = fmt.Sprintf("group descriptor size %d", s.DescSize)
	case s.BlocksPerGroup == 0 || uint64(s.BlocksPerGroup) > uint64(bits)*uint64(s.ClusterSize/s.BlockSize):
		bad = fmt.Sprintf("%d blocks per group", s.BlocksPerGroup)
	case s.InodesPerGroup == 0 || s.InodesPerGroup > bits || s.InodesPerGroup < s.BlockSize/s.InodeSize:
		bad = fmt.Sprintf("%d inodes per group", s.InodesPerGroup)
	case s.FirstDataBlock > 1 || (s.FirstDataBlock == 1) != (s.BlockSize == 1024 && s.ClusterSize == 1024):
		bad = fmt.Sprintf("first data block %d with blocks of %d bytes", s.FirstDataBlock, s.BlockSize)
	case s.Blocks <= uint64(s.FirstDataBlock) || s.Blocks > 1<<48:
		bad = fmt.Sprintf("%d blocks", s.Blocks)
	case s.Groups() > 1<<31:
		bad = fmt.Sprintf("%d groups", s.Groups())
	}
	if bad != "" {
		return fmt.Errorf("superblock: %s: %w", bad, ErrGeometry)
	}
	return nil
}

// cString cuts at the first NUL.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
