package thinbuild

import (
	"errors"
	"fmt"
	"io"

	"fettle/internal/format/thinmeta"
)

// Storage is what metadata is written to: a file, a block device, or memory. Blocks are read back when a tree is changed.
type Storage interface {
	io.ReaderAt
	io.WriterAt
}

// ErrFull says that the metadata does not fit in the blocks it was given.
var ErrFull = errors.New("the metadata device is too small")

// writeBytes is how much is gathered before it is written.
const writeBytes = 1 << 20

// blockFile hands out blocks one after the other and writes them in large pieces.
type blockFile struct {
	f     Storage
	limit uint64 // blocks that exist
	next  uint64 // first block not handed out yet
	first uint64 // block of buf's first byte
	buf   []byte // blocks gathered, not written yet
}

// take hands out the next block.
func (s *blockFile) take() (uint64, error) {
	if s.next >= s.limit {
		return 0, fmt.Errorf("%w: all %d blocks of %d bytes are used; give it more blocks", ErrFull, s.limit, thinmeta.BlockSize)
	}
	s.next++
	return s.next - 1, nil
}

// write puts a block. Blocks written in order are gathered.
func (s *blockFile) write(block uint64, b []byte) error {
	have := uint64(len(s.buf)) / thinmeta.BlockSize
	if len(s.buf) > 0 && block >= s.first && block < s.first+have {
		copy(s.buf[(block-s.first)*thinmeta.BlockSize:], b)
		return nil
	}
	if len(s.buf) > 0 && (block != s.first+have || len(s.buf) >= writeBytes) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if len(s.buf) == 0 {
		s.first = block
	}
	s.buf = append(s.buf, b[:thinmeta.BlockSize]...)
	return nil
}

// read gets a block that was written before.
func (s *blockFile) read(block uint64, b []byte) error {
	if n := uint64(len(s.buf)) / thinmeta.BlockSize; block >= s.first && block < s.first+n {
		copy(b, s.buf[(block-s.first)*thinmeta.BlockSize:][:thinmeta.BlockSize])
		return nil
	}
	if _, err := s.f.ReadAt(b[:thinmeta.BlockSize], int64(block)*thinmeta.BlockSize); err != nil {
		return fmt.Errorf("read back metadata block %d: %w", block, err)
	}
	return nil
}

// flush writes what was gathered.
func (s *blockFile) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.f.WriteAt(s.buf, int64(s.first)*thinmeta.BlockSize)
	if err != nil {
		return fmt.Errorf("write metadata blocks %d to %d: %w", s.first, s.first+uint64(len(s.buf))/thinmeta.BlockSize-1, err)
	}
	s.buf = s.buf[:0]
	return nil
}

// sync makes durable what was written, where the storage can do that.
func (s *blockFile) sync() error {
	if err := s.flush(); err != nil {
		return err
	}
	f, ok := s.f.(interface{ Sync() error })
	if !ok {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("make the metadata durable: %w", err)
	}
	return nil
}
