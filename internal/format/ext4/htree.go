package ext4

import (
	"errors"
	"fmt"
)

// Hash-tree directories. Block 0 is the root: '.', '..', then {reserved u32, hash version u8, info length u8, levels u8, flags u8},
// then entries {hash u32, block u32}. The first entry's hash is taken up by {limit u16, count u16}. Inner nodes begin with a false
// entry of 8 bytes with rec_len of the whole block. With metadata_csum {reserved u32, checksum u32} follows the last possible entry.
const (
	DxEntrySize   = 8
	DxInfoSize    = 8
	DxTailSize    = 8
	DxInfoVersion = 4          // u8, from the start of the info
	DxInfoLength  = 5          // u8
	DxInfoLevels  = 6          // u8
	DxBlockMask   = 0x0FFFFFFF // bits of an entry's block that count
	DxMaxLevels   = 2          // 3 levels of nodes with large_dir
)

// Hash versions of a hash-tree root. The unsigned forms of 0 to 2 follow from SuperFlagUnsignedHash.
const (
	HashLegacy           = 0
	HashHalfMD4          = 1
	HashTEA              = 2
	HashLegacyUnsigned   = 3
	HashHalfMD4Unsigned  = 4
	HashTEAUnsigned      = 5
	HashSipHash          = 6
	dxNodeCountAt        = 8
	dxRootDotDot         = 12 // where '..' lies
	dxFirstHashOfSubtree = 0
)

// ErrNoHtree says that a block is no hash-tree block.
var ErrNoHtree = errors.New("no hash-tree block")

// DxEntry says that names with a hash of at least Hash lie below Block. The lowest bit of Hash says that the block before ends with
// the same hash.
type DxEntry struct {
	Hash  uint32
	Block uint32 // logical block of the directory
}

// DxNode is a decoded hash-tree block.
type DxNode struct {
	Root        bool
	InfoAt      int   // root: offset of the info, behind '..' and its data records: 24, or 40 with a LUFID
	HashVersion uint8 // root: as on disk, see Superblock.Flags for signedness
	Levels      uint8 // root: levels of inner nodes below it
	CountAt     int   // offset of limit and count, which is that of the first entry
	Limit       int   // entries that have room
	Count       int   // entries in use, the first included
	Entries     []DxEntry
}

// DxRoot decodes block 0 of a hash-tree directory. The error says why it is none.
func (fs *FS) DxRoot(buf []byte) (DxNode, error) {
	bs := int(fs.sb.BlockSize)
	n := DxNode{Root: true}
	if len(buf) != bs {
		return n, fmt.Errorf("%d bytes: %w", len(buf), ErrNoHtree)
	}
	dotdot := buf[dxRootDotDot:]
	dot := buf[DirentNameLen] == 1 && buf[DirentName] == '.' && recLen(le.Uint16(buf[DirentRecLen:]), bs) == dxRootDotDot
	if !dot || dotdot[DirentNameLen] != 2 || string(dotdot[DirentName:DirentName+2]) != ".." ||
		recLen(le.Uint16(dotdot[DirentRecLen:]), bs) != bs-dxRootDotDot {
		return n, fmt.Errorf("'.' and '..' are not those of a root: %w", ErrNoHtree)
	}
	data := 0
	if flags := dotdot[DirentType] & DirdataMask; flags != 0 && fs.sb.Dirdata() {
		w := direntWalk{fs: fs}
		data = len(w.data(dotdot[DirentName+2:], flags, 0))
	}
	n.InfoAt = dxRootDotDot + DirentLen(2, data)
	n.CountAt = n.InfoAt + DxInfoSize
	if n.CountAt+DxEntrySize > bs {
		return n, fmt.Errorf("no room behind '..': %w", ErrNoHtree)
	}
	info := buf[n.InfoAt:]
	n.HashVersion, n.Levels = info[DxInfoVersion], info[DxInfoLevels]
	if le.Uint32(info) != 0 || info[DxInfoLength] != DxInfoSize || n.HashVersion > HashSipHash || n.Levels > DxMaxLevels {
		return n, fmt.Errorf("info at %d is %x: %w", n.InfoAt, info[:DxInfoSize], ErrNoHtree)
	}
	return n, n.decode(buf)
}

// DxInner decodes a node below the root.
func (fs *FS) DxInner(buf []byte) (DxNode, error) {
	bs := int(fs.sb.BlockSize)
	n := DxNode{CountAt: dxNodeCountAt}
	if len(buf) != bs || le.Uint32(buf) != 0 || recLen(le.Uint16(buf[DirentRecLen:]), bs) != bs || buf[DirentNameLen] != 0 {
		return n, fmt.Errorf("the false entry at its begin is missing: %w", ErrNoHtree)
	}
	return n, n.decode(buf)
}

// decode reads limit, count and entries.
func (n *DxNode) decode(buf []byte) error {
	n.Limit, n.Count = int(le.Uint16(buf[n.CountAt:])), int(le.Uint16(buf[n.CountAt+2:]))
	if n.Count < 1 || n.Count > n.Limit || n.CountAt+n.Limit*DxEntrySize > len(buf) {
		return fmt.Errorf("%d of %d entries in a block of %d bytes: %w", n.Count, n.Limit, len(buf), ErrNoHtree)
	}
	n.Entries = make([]DxEntry, n.Count)
	for i := range n.Entries {
		e := buf[n.CountAt+i*DxEntrySize:]
		n.Entries[i] = DxEntry{Hash: le.Uint32(e), Block: le.Uint32(e[4:]) & DxBlockMask}
	}
	n.Entries[0].Hash = dxFirstHashOfSubtree
	return nil
}

// DxLimit gives how many entries have room in a hash-tree block whose limit and count stand at countAt.
func (s *Superblock) DxLimit(countAt int) int {
	room := int(s.BlockSize) - countAt
	if s.ROCompat&ROCompatMetadataCsum != 0 {
		room -= DxTailSize
	}
	return room / DxEntrySize
}

// SignedHash says whether directory hashes take characters as signed.
func (s *Superblock) SignedHash() bool { return s.Flags&SuperFlagUnsignedHash == 0 }
