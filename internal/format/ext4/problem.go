package ext4

import "fmt"

// Kind names one sort of damage. The values are stable and may be stored.
type Kind string

// Problems of the file system as a whole and of groups.
const (
	KindSuper          Kind = "super"           // a field of the superblock has an impossible value; a bound was used instead
	KindSuperBackup    Kind = "super-backup"    // the primary superblock is unusable, a copy was taken
	KindTruncated      Kind = "truncated"       // the input ends before the file system does
	KindRead           Kind = "read-error"      // the operating system could not read; what depends on it was left out
	KindGroupDesc      Kind = "group-desc"      // a group descriptor points outside the file system
	KindChecksum       Kind = "checksum"        // a checksum does not match
	KindBitmap         Kind = "bitmap"          // a bitmap cannot be used
	KindInode          Kind = "inode-field"     // a field of an inode has an impossible value
	KindBlockRange     Kind = "block-range"     // a block number lies outside the file system
	KindBlockCycle     Kind = "block-cycle"     // a map block is its own ancestor, or a map holds more blocks than there are
	KindExtentHeader   Kind = "extent-header"   // a node of an extent tree has a bad header or the wrong depth
	KindExtentOrder    Kind = "extent-order"    // extents overlap or go backwards
	KindExtentLength   Kind = "extent-length"   // an extent of length 0, or past the largest logical block
	KindInline         Kind = "inline-data"     // inline data that cannot be read
	KindXattrHeader    Kind = "xattr-header"    // an attribute block or area has a bad header
	KindXattrEntry     Kind = "xattr-entry"     // an attribute entry passes the end of its area
	KindXattrValue     Kind = "xattr-value"     // an attribute value lies outside its area or among the entries
	KindXattrInode     Kind = "xattr-inode"     // the inode that holds a value cannot be used
	KindDirentRecLen   Kind = "dirent-rec-len"  // rec_len is too small, no multiple of 4, or passes the end; the rest of the block is lost
	KindDirentName     Kind = "dirent-name"     // a name of length 0, longer than its entry, or with a slash or NUL in it
	KindDirentInode    Kind = "dirent-inode"    // an entry names an inode that cannot exist
	KindDirdata        Kind = "dirdata"         // a data record behind a name is missing or passes the entry
	KindDirSize        Kind = "dir-size"        // blocks beyond a directory's size, or a hole in a directory
	KindHtree          Kind = "htree"           // a hash-tree root or node that cannot be used
	KindMMP            Kind = "mmp"             // the MMP block cannot be read
	KindFeatureMissing Kind = "feature-missing" // an inode uses a form whose feature is not set
)

// Problem is one fact about damage. Fields that do not apply are 0; Offset is -1 then.
type Problem struct {
	Kind   Kind
	Inode  uint32 // the inode in which it was met
	Group  uint32 // for groups, descriptors and bitmaps
	Block  uint64 // the physical block that is damaged or referred to
	Offset int64  // byte offset in the input, -1 if none
	Text   string // one plain sentence
}

// String gives kind and text on one line.
func (p Problem) String() string { return string(p.Kind) + ": " + p.Text }

// Report receives problems. A nil Report drops them. It is called from the goroutine that met the problem.
type Report func(Problem)

// inode reports a problem of an inode; off is a byte offset in the input or -1.
func (r Report) inode(kind Kind, ino uint32, block uint64, off int64, format string, args ...any) {
	if r == nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	if ino != 0 {
		text = fmt.Sprintf("inode %d: %s", ino, text)
	}
	r(Problem{Kind: kind, Inode: ino, Block: block, Offset: off, Text: text})
}

// group reports a problem of a block group.
func (r Report) group(kind Kind, group uint32, block uint64, off int64, format string, args ...any) {
	if r == nil {
		return
	}
	r(Problem{Kind: kind, Group: group, Block: block, Offset: off,
		Text: fmt.Sprintf("group %d: %s", group, fmt.Sprintf(format, args...))})
}

// fs reports a problem of the whole file system.
func (r Report) fs(kind Kind, off int64, format string, args ...any) {
	if r == nil {
		return
	}
	r(Problem{Kind: kind, Offset: off, Text: fmt.Sprintf(format, args...)})
}
