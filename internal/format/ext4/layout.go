package ext4

// Place and magic of the primary superblock. Bytes from the start of the device.
const (
	SuperOffset = 1024
	SuperSize   = 1024
	SuperMagic  = 0xEF53
)

// Offsets of superblock fields, in bytes from the start of the superblock.
const (
	SBInodesCount       = 0x00  // u32
	SBBlocksCountLo     = 0x04  // u32
	SBReservedBlocksLo  = 0x08  // u32
	SBFreeBlocksLo      = 0x0C  // u32
	SBFreeInodes        = 0x10  // u32
	SBFirstDataBlock    = 0x14  // u32
	SBLogBlockSize      = 0x18  // u32, block size = 1024 << n
	SBLogClusterSize    = 0x1C  // u32
	SBBlocksPerGroup    = 0x20  // u32
	SBClustersPerGroup  = 0x24  // u32
	SBInodesPerGroup    = 0x28  // u32
	SBMountTime         = 0x2C  // u32
	SBWriteTime         = 0x30  // u32
	SBMountCount        = 0x34  // u16
	SBMagic             = 0x38  // u16
	SBState             = 0x3A  // u16
	SBErrors            = 0x3C  // u16
	SBLastCheck         = 0x40  // u32
	SBCreatorOS         = 0x48  // u32
	SBRevLevel          = 0x4C  // u32
	SBFirstIno          = 0x54  // u32
	SBInodeSize         = 0x58  // u16
	SBBlockGroupNr      = 0x5A  // u16
	SBFeatureCompat     = 0x5C  // u32
	SBFeatureIncompat   = 0x60  // u32
	SBFeatureROCompat   = 0x64  // u32
	SBUUID              = 0x68  // 16 bytes
	SBVolumeName        = 0x78  // 16 bytes
	SBLastMounted       = 0x88  // 64 bytes
	SBReservedGDTBlocks = 0xCE  // u16
	SBJournalInum       = 0xE0  // u32
	SBJournalDev        = 0xE4  // u32
	SBLastOrphan        = 0xE8  // u32
	SBHashSeed          = 0xEC  // 4 x u32
	SBDefHashVersion    = 0xFC  // u8
	SBDescSize          = 0xFE  // u16
	SBFirstMetaBG       = 0x104 // u32
	SBMkfsTime          = 0x108 // u32
	SBBlocksCountHi     = 0x150 // u32
	SBReservedBlocksHi  = 0x154 // u32
	SBFreeBlocksHi      = 0x158 // u32
	SBMinExtraIsize     = 0x15C // u16
	SBWantExtraIsize    = 0x15E // u16
	SBFlags             = 0x160 // u32
	SBMMPInterval       = 0x166 // u16
	SBMMPBlock          = 0x168 // u64
	SBLogGroupsPerFlex  = 0x174 // u8
	SBChecksumType      = 0x175 // u8, 1 = crc32c
	SBErrorCount        = 0x194 // u32
	SBUserQuotaInum     = 0x240 // u32
	SBGroupQuotaInum    = 0x244 // u32
	SBBackupBGs         = 0x24C // 2 x u32
	SBProjectQuotaInum  = 0x26C // u32
	SBChecksumSeed      = 0x270 // u32
	SBWriteTimeHi       = 0x274 // u8
	SBMountTimeHi       = 0x275 // u8
	SBMkfsTimeHi        = 0x276 // u8
	SBLastCheckHi       = 0x277 // u8
	SBOrphanFileInum    = 0x280 // u32
	SBChecksum          = 0x3FC // u32
)

// Values of the state and flags fields of the superblock.
const (
	StateValid  = 1 // unmounted cleanly
	StateErrors = 2 // errors were detected
	StateOrphan = 4 // orphans are being recovered

	SuperFlagSignedHash   = 1 // directory hashes take characters as signed
	SuperFlagUnsignedHash = 2 // directory hashes take characters as unsigned
)

// Offsets of fields of a group descriptor. Fields from GDBlockBitmapHi on exist when the descriptor has 64 bytes.
const (
	GDBlockBitmapLo   = 0x00 // u32
	GDInodeBitmapLo   = 0x04 // u32
	GDInodeTableLo    = 0x08 // u32
	GDFreeBlocksLo    = 0x0C // u16
	GDFreeInodesLo    = 0x0E // u16
	GDUsedDirsLo      = 0x10 // u16
	GDFlags           = 0x12 // u16
	GDBlockBitmapCSLo = 0x18 // u16
	GDInodeBitmapCSLo = 0x1A // u16
	GDItableUnusedLo  = 0x1C // u16
	GDChecksum        = 0x1E // u16
	GDBlockBitmapHi   = 0x20 // u32
	GDInodeBitmapHi   = 0x24 // u32
	GDInodeTableHi    = 0x28 // u32
	GDFreeBlocksHi    = 0x2C // u16
	GDFreeInodesHi    = 0x2E // u16
	GDUsedDirsHi      = 0x30 // u16
	GDItableUnusedHi  = 0x32 // u16
	GDBlockBitmapCSHi = 0x38 // u16
	GDInodeBitmapCSHi = 0x3A // u16

	DescSizeMin = 32 // without the 64bit feature
)

// Group flags.
const (
	GroupInodeUninit = 1 // inode bitmap and table were never written: every inode of the group is free
	GroupBlockUninit = 2 // block bitmap was never written
	GroupInodeZeroed = 4 // the inode table was zeroed
)

// Offsets of inode fields. Fields from InodeExtraIsize on exist when inodes are larger than 128 bytes and i_extra_isize reaches them.
const (
	InodeMode       = 0x00 // u16
	InodeUIDLo      = 0x02 // u16
	InodeSizeLo     = 0x04 // u32
	InodeAtime      = 0x08 // u32
	InodeCtime      = 0x0C // u32
	InodeMtime      = 0x10 // u32
	InodeDtime      = 0x14 // u32
	InodeGIDLo      = 0x18 // u16
	InodeLinks      = 0x1A // u16
	InodeBlocksLo   = 0x1C // u32
	InodeFlags      = 0x20 // u32
	InodeVersionLo  = 0x24 // u32
	InodeBlock      = 0x28 // 60 bytes: 15 block numbers, an extent tree root, or inline data
	InodeGeneration = 0x64 // u32
	InodeFileACLLo  = 0x68 // u32
	InodeSizeHi     = 0x6C // u32
	InodeBlocksHi   = 0x74 // u16
	InodeFileACLHi  = 0x76 // u16
	InodeUIDHi      = 0x78 // u16
	InodeGIDHi      = 0x7A // u16
	InodeChecksumLo = 0x7C // u16
	InodeExtraIsize = 0x80 // u16
	InodeChecksumHi = 0x82 // u16
	InodeCtimeExtra = 0x84 // u32: 30 bits nanoseconds, 2 bits of epoch
	InodeMtimeExtra = 0x88 // u32
	InodeAtimeExtra = 0x8C // u32
	InodeCrtime     = 0x90 // u32
	InodeCrtimeExt  = 0x94 // u32
	InodeVersionHi  = 0x98 // u32
	InodeProjID     = 0x9C // u32

	InodeBlockLen    = 60  // bytes of the field at InodeBlock
	InodeGoodOldSize = 128 // bytes of the oldest inode form; extra fields and in-inode attributes follow
)

// Inode flags.
const (
	FlagSync        = 0x8
	FlagImmutable   = 0x10
	FlagAppend      = 0x20
	FlagEncrypt     = 0x800
	FlagIndex       = 0x1000 // hash-tree directory
	FlagHugeFile    = 0x40000
	FlagExtents     = 0x80000
	FlagVerity      = 0x100000
	FlagEAInode     = 0x200000 // the inode holds the value of an extended attribute
	FlagInlineData  = 0x10000000
	FlagProjInherit = 0x20000000
	FlagCasefold    = 0x40000000
)

// File types of i_mode.
const (
	ModeTypeMask = 0xF000
	ModeFIFO     = 0x1000
	ModeChar     = 0x2000
	ModeDir      = 0x4000
	ModeBlock    = 0x6000
	ModeRegular  = 0x8000
	ModeSymlink  = 0xA000
	ModeSocket   = 0xC000
)

// Well-known inode numbers.
const (
	InoBad     = 1
	InoRoot    = 2
	InoResize  = 7
	InoJournal = 8
)

// Directory entries: {inode u32, rec_len u16, name_len u8, file_type u8, name}. Entries begin at multiples of 4.
const (
	DirentInode   = 0
	DirentRecLen  = 4
	DirentNameLen = 6
	DirentType    = 7
	DirentName    = 8
	DirentHeader  = 8  // bytes before the name
	DirentMin     = 12 // bytes of the smallest entry

	DirTailSize = 12   // with metadata_csum: {0 u32, 12 u16, 0 u8, 0xDE u8, checksum u32} ends each leaf block
	DirTailType = 0xDE // file_type of that tail

	// With dirdata the high 4 bits of file_type say which data records follow the name. Each record begins with a length
	// byte that counts itself; one zero byte stands between name and records.
	DirdataLUFID    = 0x10 // big-endian FID; the record has 17 bytes
	DirdataMask     = 0xF0
	DirTypeMask     = 0x0F
	DirdataLUFIDLen = 17
)

// File types in directory entries.
const (
	TypeUnknown = 0
	TypeRegular = 1
	TypeDir     = 2
	TypeChar    = 3
	TypeBlock   = 4
	TypeFIFO    = 5
	TypeSocket  = 6
	TypeSymlink = 7
)

// Extent trees. A node is {magic u16, entries u16, max u16, depth u16, generation u32} and entries of 12 bytes.
const (
	ExtentMagic      = 0xF30A
	ExtentHeaderSize = 12
	ExtentEntrySize  = 12
	ExtentMaxDepth   = 5
	ExtentMaxLen     = 32768 // lengths above it are unwritten extents of length - ExtentMaxLen
)

// Extended attributes. In an inode: magic u32 then entries; value offsets count from the first entry. In a block: a header of 32
// bytes {magic, refcount, blocks, hash, checksum}, then entries; value offsets count from the start of the block.
// An entry is {name_len u8, index u8, value_offs u16, value_inum u32, value_size u32, hash u32, name}, padded to 4.
const (
	XattrMagic       = 0xEA020000
	XattrBlockHeader = 32
	XattrEntrySize   = 16 // bytes before the name
	XattrPad         = 4

	XattrHdrRefcount = 4
	XattrHdrBlocks   = 8
	XattrHdrHash     = 12
	XattrHdrChecksum = 16

	XattrIndexUser     = 1
	XattrIndexACL      = 2 // system.posix_acl_access
	XattrIndexACLDef   = 3 // system.posix_acl_default
	XattrIndexTrusted  = 4
	XattrIndexLustre   = 5
	XattrIndexSecurity = 6
	XattrIndexSystem   = 7

	// XattrMaxValue bounds a value kept in an inode of its own (the kernel's own bound).
	XattrMaxValue = 1 << 24
)

// Multi-mount protection block.
const (
	MMPMagic    = 0x004D4D50
	MMPSeqClean = 0xFF4D4D50 // nobody has it open
	MMPSeqFsck  = 0xE24D4D50 // e2fsck has it open
	MMPSeqMax   = 0xE24D4D4F // highest sequence of a mounted file system
	MMPSeq      = 4          // u32
	MMPTime     = 8          // u64, seconds
	MMPNode     = 16         // 64 bytes
	MMPDevice   = 80         // 32 bytes
	MMPInterval = 112        // u16, seconds
	MMPChecksum = 1020       // u32
)
