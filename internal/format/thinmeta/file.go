package thinmeta

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"
)

// File is the metadata of a thin pool: a file, a block device, or anything else that can be read. It is only read. The methods may
// be used from several goroutines at once, but UseHeldRoot only before all others.
type File struct {
	name   string
	r      io.ReaderAt
	closer io.Closer
	blocks uint64 // whole blocks that exist
	size   int64

	super     Superblock
	superProb []Problem
	held      bool   // the trees of the metadata snapshot are looked at
	heldBlock uint64 // of the snapshot's superblock, when held

	index struct { // devices and their roots, read when first asked for
		sync.Once
		devices []rootEntry
		details []detailsEntry
		err     error
	}
}

// maxBlocks is how many blocks a metadata device can use. What lies behind is never looked at.
const maxBlocks = MaxBitmaps * BitsPerBitmap

// Open opens a file or block device. An error means that it cannot be opened or read; damage is told by Super and Check.
func Open(path string) (*File, error) {
	r, c, size, err := openReadOnly(path)
	if err != nil {
		return nil, fmt.Errorf("thin metadata: %w", err)
	}
	f, err := New(r, size, path)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	f.closer = c
	return f, nil
}

// New reads metadata of size bytes from r; name is for messages. The reader is asked for whole blocks at multiples of BlockSize
// into buffers that are aligned for direct I/O.
func New(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{name: name, r: r, size: size, blocks: min(uint64(max(size, 0))/BlockSize, maxBlocks)}
	buf := alignedBuffer(BlockSize)
	if f.blocks > 0 {
		if err := f.readAt(buf, 0); err != nil {
			return nil, fmt.Errorf("%s: superblock: %w", name, err)
		}
	}
	f.super = DecodeSuperblock(buf)
	f.superProb = f.judgeSuper(buf)
	return f, nil
}

// Close closes what Open opened.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Super gives the superblock as it is, whatever its state, and what is wrong with it. After UseHeldRoot the roots of the mapping
// and details trees are those of the metadata snapshot; everything else is the live superblock's.
func (f *File) Super() (Superblock, []Problem) { return f.super, f.superProb }

// Size gives the size of the file or device in bytes.
func (f *File) Size() int64 { return f.size }

// UseHeldRoot makes all other methods look at the metadata snapshot (held_root), which does not change while the pool is live. It
// has no space maps: reference counts are not checked then.
func (f *File) UseHeldRoot() error {
	if f.held {
		return nil
	}
	block := f.super.HeldRoot
	if block == 0 {
		return fmt.Errorf("%s: no metadata snapshot is held", f.name)
	}
	buf := alignedBuffer(BlockSize)
	s, err := f.readHeld(block, buf)
	if err != nil {
		return fmt.Errorf("%s: metadata snapshot: %w", f.name, err)
	}
	f.held, f.heldBlock = true, block
	f.super.MappingRoot, f.super.DetailsRoot = s.MappingRoot, s.DetailsRoot
	f.super.Time, f.super.TransactionID = s.Time, s.TransactionID
	return nil
}

// readHeld reads the copy of the superblock that a metadata snapshot is.
func (f *File) readHeld(block uint64, buf []byte) (Superblock, error) {
	if err := f.readBlock(buf, block); err != nil {
		return Superblock{}, err
	}
	s := DecodeSuperblock(buf)
	switch {
	case Checksum(KindSuperblock, buf) != s.Checksum:
		return s, damagedBlock(SuperblockChecksum, block, "wrong checksum in the superblock of the metadata snapshot")
	case s.Magic != Magic || s.BlockNr != block:
		return s, damagedBlock(SuperblockInvalid, block, "not the superblock of a metadata snapshot")
	}
	return s, nil
}

// readBlock reads one metadata block into buf, which is aligned.
func (f *File) readBlock(buf []byte, block uint64) error {
	if block >= f.blocks {
		return damagedBlock(NodeInvalid, block, fmt.Sprintf("lies outside the metadata, which has %d blocks", f.blocks))
	}
	if err := f.readAt(buf[:BlockSize], int64(block)*BlockSize); err != nil {
		return &BlockError{Kind: NodeChecksum, Block: block, Text: "cannot be read: " + err.Error(), Err: err}
	}
	return nil
}

// readAt fills buf; the range lies within the file.
func (f *File) readAt(buf []byte, off int64) error {
	n, err := f.r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(buf), off, err)
}

func damagedBlock(kind ProblemKind, block uint64, text string) *BlockError {
	return &BlockError{Kind: kind, Block: block, Text: text, Err: ErrDamaged}
}

// alignedBuffer gives n bytes that begin at a multiple of BlockSize in memory, as direct I/O wants them.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := (BlockSize - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%BlockSize)) % BlockSize
	return b[skip : skip+n : skip+n]
}
