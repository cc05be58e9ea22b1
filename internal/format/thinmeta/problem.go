package thinmeta

import (
	"errors"
	"fmt"
)

// ErrDamaged is wrapped by every error that says "the metadata is damaged here", as opposed to an I/O error.
var ErrDamaged = errors.New("thin metadata is damaged")

// ProblemKind names one sort of damage. The values are stable and may be stored.
type ProblemKind string

// Problems of the superblock and of single blocks.
const (
	SuperblockChecksum ProblemKind = "superblock-checksum" // the checksum of block 0 is wrong
	SuperblockInvalid  ProblemKind = "superblock-invalid"  // magic, version, flags, block number or sizes are impossible
	NodeChecksum       ProblemKind = "node-checksum"       // the checksum of a btree node is wrong, or the block cannot be read
	NodeInvalid        ProblemKind = "node-invalid"        // header, order of keys, a value, depth, a cycle, or two uses of one block
	BitmapChecksum     ProblemKind = "bitmap-checksum"     // a bitmap block has a wrong checksum or number, or lies outside
	IndexChecksum      ProblemKind = "index-checksum"      // the index block of the metadata space map is damaged
)

// Problems between structures that can be read.
const (
	DetailsMissing     ProblemKind = "details-missing"       // the mapping tree has the device, the details tree has not
	MappingMissing     ProblemKind = "mapping-missing"       // the details tree has the device, the mapping tree has not
	MappedBlocksWrong  ProblemKind = "mapped-blocks-wrong"   // Want: counted, Have: what the details say
	DataRefcountLow    ProblemKind = "data-refcount-low"     // the kernel will hand out a data block that is in use: corruption
	DataRefcountHigh   ProblemKind = "data-refcount-high"    // a data block that will never be free; harmless
	DataBlockLeaked    ProblemKind = "data-block-leaked"     // in use for the space map, mapped by no device; harmless
	MetadataRefcntLow  ProblemKind = "metadata-refcount-low" // the kernel will overwrite a metadata block that is in use
	MetadataRefcntHigh ProblemKind = "metadata-refcount-high"
	MetadataLeaked     ProblemKind = "metadata-block-leaked"
	SpaceMapTotal      ProblemKind = "space-map-total" // number of used blocks in the superblock; Block 0: data, 1: metadata
	SpaceMapIndex      ProblemKind = "space-map-index" // an index entry hides free blocks from the kernel; Block: that of the bitmap
	TimeWrong          ProblemKind = "time-wrong"      // the kernel will take shared data blocks for unshared ones and write into them
)

// Things that a user wants to know and that need not be damage.
const (
	NeedsCheck         ProblemKind = "needs-check"           // the kernel had to abort a transaction
	OutOfDataSpace     ProblemKind = "out-of-data-space"     // no data block is free
	OutOfMetadataSpace ProblemKind = "out-of-metadata-space" // no more is free than the reserve the kernel keeps for itself
	HeldRoot           ProblemKind = "held-root"             // a metadata snapshot is held
	TransactionID      ProblemKind = "transaction-id"        // the pool's owner has set one; pools made with dmsetup have 0
)

// String gives the stable name.
func (k ProblemKind) String() string { return string(k) }

// NoDevice is Problem.Device when a problem belongs to no device.
const NoDevice = -1

// Problem is one thing that is wrong.
type Problem struct {
	Kind  ProblemKind
	Block uint64 // metadata block; data block for the kinds that begin with "data-"
	Count uint64 // number of blocks beginning with Block; 0 counts as 1
	// Device is the id of the device, NoDevice if it belongs to none.
	Device int64
	Want   uint64 // what it should be, where that is a number
	Have   uint64 // what it is
	// Consequence says that the problem may be no more than the shadow of another one in the same report: counts that come out
	// wrong because a part of a tree could not be read, or anything at all below a bad superblock.
	Consequence bool
	Text        string // one line, English
}

// BlockError says that a block cannot be used. It wraps ErrDamaged, unless the operating system could not read it.
type BlockError struct {
	Kind  ProblemKind
	Block uint64
	Text  string
	Err   error // of the operating system, or ErrDamaged
}

func (e *BlockError) Error() string { return fmt.Sprintf("metadata block %d: %s", e.Block, e.Text) }

// Unwrap gives ErrDamaged or the error of the operating system.
func (e *BlockError) Unwrap() error { return e.Err }

// maxProblems is how many problems of one kind a report lists; the others are counted.
const maxProblems = 1000

// problemList collects problems within bounds.
type problemList struct {
	list  []Problem
	kinds map[ProblemKind]int
	more  int
	// consequence marks everything that is added: what the superblock says cannot be trusted.
	consequence bool
}

func (l *problemList) add(p Problem) {
	if p.Count == 0 {
		p.Count = 1
	}
	if l.kinds == nil {
		l.kinds = map[ProblemKind]int{}
	}
	if l.kinds[p.Kind]++; l.kinds[p.Kind] > maxProblems {
		l.more++
		return
	}
	p.Consequence = p.Consequence || l.consequence
	l.list = append(l.list, p)
}

// block adds a problem of one metadata block.
func (l *problemList) block(kind ProblemKind, block uint64, format string, args ...any) {
	l.add(Problem{Kind: kind, Block: block, Device: NoDevice, Text: fmt.Sprintf(format, args...)})
}
