package ext4

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotExt4  = errors.New("no ext4 file system")
	ErrGeometry = errors.New("impossible value in the superblock")
	ErrPastEnd  = errors.New("past the end of the file system")
	ErrNoInode  = errors.New("no such inode number")
	ErrExtents  = errors.New("too many extents")
)

// maxDescCache bounds the memory for group descriptors, in bytes (262,144 groups of 64 bytes, a file system of 32 TiB). A larger
// table is read when asked for.
const maxDescCache = 16 << 20

// FS is an open file system. All methods may be called from several goroutines.
type FS struct {
	r      io.ReaderAt
	closer io.Closer
	name   string
	size   int64 // bytes of the input

	sb       Superblock
	sums     Sums
	groups   uint32
	inodes   uint32 // highest inode number that has a place
	limit    uint64 // first block number that cannot be read: past the file system or past the input
	desc     []byte // all descriptors, or nil when they are too many
	descFrom uint64 // block of the superblock whose group descriptors are used
	problems []Problem
	pool     sync.Pool // *[]byte of one block
}

// Open opens a device or image file for reading only, without changing its access time where that is permitted. It fails when the
// file cannot be read or holds no ext4; everything else that speaks against using it is in Refusals and Problems.
func Open(path string) (*FS, error) {
	f, size, err := openReadOnly(path)
	if err != nil {
		return nil, fmt.Errorf("open ext4: %w", err)
	}
	fs, err := New(f, size, path)
	if err != nil {
		f.Close() // it was only read
		return nil, err
	}
	fs.closer = f
	return fs, nil
}

// New opens the file system in the first size bytes of r. name is used in errors.
func New(r io.ReaderAt, size int64, name string) (*FS, error) {
	fs := &FS{r: r, size: size, name: name}
	if err := fs.findSuper(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fs.count()
	fs.sums = newSums(&fs.sb)
	bs := int(fs.sb.BlockSize)
	fs.pool.New = func() any { b := make([]byte, bs); return &b }
	fs.chooseDescriptors()
	fs.loadDescriptors()
	return fs, nil
}

// Close closes what Open opened.
func (fs *FS) Close() error {
	if fs.closer == nil {
		return nil
	}
	return fs.closer.Close()
}

// Super gives the superblock. The pointer stays valid; its content must not be changed.
func (fs *FS) Super() *Superblock { return &fs.sb }

// Name gives the name that the file system was opened with.
func (fs *FS) Name() string { return fs.name }

// Size gives the length of the input in bytes.
func (fs *FS) Size() int64 { return fs.size }

// Groups gives the number of block groups.
func (fs *FS) Groups() uint32 { return fs.groups }

// Inodes gives the highest inode number that there is a place for.
func (fs *FS) Inodes() uint32 { return fs.inodes }

// Sums gives the checksum functions for this file system.
func (fs *FS) Sums() *Sums { return &fs.sums }

// Problems gives what was wrong with superblock and size when the file system was opened.
func (fs *FS) Problems() []Problem { return fs.problems }

// note keeps a problem met while opening.
func (fs *FS) note(p Problem) { fs.problems = append(fs.problems, p) }

// findSuper reads the primary superblock, or the first copy that can be used when the primary cannot.
func (fs *FS) findSuper() error {
	raw := make([]byte, SuperSize)
	if fs.size < SuperOffset+SuperSize {
		return fmt.Errorf("%d bytes are too short: %w", fs.size, ErrNotExt4)
	}
	if err := fs.readAt(raw, SuperOffset); err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	sb, first := DecodeSuper(raw)
	if first == nil {
		sb.Offset = SuperOffset
		fs.sb = *sb
		return nil
	}
	for _, at := range backupPlaces() {
		if sb := fs.superAt(at); sb != nil {
			fs.sb = *sb
			Report(fs.note).fs(KindSuperBackup, SuperOffset, "the primary superblock is unusable (%v); the copy at byte %d is used", first, at)
			return nil
		}
	}
	return first
}

// backupOffset gives the byte at which the superblock copy of a group lies.
func (s *Superblock) backupOffset(group uint64) int64 {
	block := uint64(s.FirstDataBlock) + group*uint64(s.BlocksPerGroup)
	return int64(block * uint64(s.BlockSize))
}

// backupPlaces lists where the first copies lie in file systems with the usual number of blocks per group, in bytes.
func backupPlaces() []int64 {
	var list []int64
	for _, bs := range []int64{4096, 1024, 2048, 8192, 16384, 32768, 65536} {
		perGroup, first := 8*bs, int64(0)
		if bs == 1024 {
			first = 1
		}
		if perGroup > 65528 {
			perGroup = 65528
		}
		for _, g := range []int64{1, 3, 5, 7} {
			list = append(list, (first+g*perGroup)*bs)
		}
	}
	return list
}

// readAt fills buf from byte off of the input. Reading past the end gives ErrPastEnd.
func (fs *FS) readAt(buf []byte, off int64) error {
	if off < 0 || off > fs.size-int64(len(buf)) {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(buf), off, fs.size, ErrPastEnd)
	}
	n, err := fs.r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(buf), off, err)
}

// BlockOK says whether a block number lies in the file system, in the input, and behind the superblock.
func (fs *FS) BlockOK(block uint64) bool {
	return block > uint64(fs.sb.FirstDataBlock) && block < fs.limit
}

// rangeOK says the same of n blocks from block on.
func (fs *FS) rangeOK(block, n uint64) bool {
	return block > uint64(fs.sb.FirstDataBlock) && n <= fs.limit && block <= fs.limit-n
}

// ReadBlock reads one block into buf, which must be one block long.
func (fs *FS) ReadBlock(block uint64, buf []byte) error {
	if block >= fs.limit {
		return fmt.Errorf("block %d of %d: %w", block, fs.limit, ErrPastEnd)
	}
	return fs.readAt(buf[:fs.sb.BlockSize], int64(block)*int64(fs.sb.BlockSize))
}

// ReadBlocks reads the blocks from block on that buf, a multiple of a block, has room for.
func (fs *FS) ReadBlocks(block uint64, buf []byte) error {
	if n := uint64(len(buf)) / uint64(fs.sb.BlockSize); block > fs.limit || n > fs.limit-block || uint64(len(buf))%uint64(fs.sb.BlockSize) != 0 {
		return fmt.Errorf("%d bytes from block %d of %d on: %w", len(buf), block, fs.limit, ErrPastEnd)
	}
	return fs.readAt(buf, int64(block)*int64(fs.sb.BlockSize))
}

// readFor reads one block of an inode. ok is false when it is a bad sector or beyond the end of the input, which is reported; the
// error is any other one. what says what the block is.
func (fs *FS) readFor(ino uint32, block uint64, buf []byte, what string, report Report) (ok bool, err error) {
	err = fs.ReadBlock(block, buf)
	switch {
	case err == nil:
		return true, nil
	case skippable(err):
		report.inode(KindRead, ino, block, fs.offset(block), "%s in block %d cannot be read: %v", what, block, err)
		return false, nil
	}
	return false, fmt.Errorf("inode %d: %s: %w", ino, what, err)
}

// offset gives the byte at which a block begins.
func (fs *FS) offset(block uint64) int64 { return int64(block) * int64(fs.sb.BlockSize) }

// take lends a buffer of one block; give takes it back.
func (fs *FS) take() *[]byte  { return fs.pool.Get().(*[]byte) }
func (fs *FS) give(b *[]byte) { fs.pool.Put(b) }
