package ext4edit

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"fettle/internal/format/ext4"
)

// Block is one block of the file system that an edit changes. It lies at Number * block size.
type Block struct {
	Number        uint64
	Before, After []byte // one block each
	Turn          Turn
}

// overlay holds the changed blocks over a file system that is only read.
type overlay struct {
	fs     *ext4.FS
	size   int               // bytes of a block
	limit  uint64            // blocks
	before map[uint64][]byte // every block that was ever written, as the file system has it
	after  map[uint64][]byte
	undo   map[uint64][]byte // in an operation: what after held at its begin, nil for nothing; nil outside of one
}

func newOverlay(fs *ext4.FS) *overlay {
	s := fs.Super()
	return &overlay{fs: fs, size: int(s.BlockSize), limit: min(s.Blocks, uint64(fs.Size())/uint64(s.BlockSize)),
		before: map[uint64][]byte{}, after: map[uint64][]byte{}}
}

// read gives a copy of a block.
func (o *overlay) read(block uint64) ([]byte, error) {
	buf := make([]byte, o.size)
	return buf, o.readInto(block, buf)
}

func (o *overlay) readInto(block uint64, buf []byte) error {
	if b, ok := o.after[block]; ok {
		copy(buf, b)
		return nil
	}
	if block >= o.limit {
		return fmt.Errorf("block %d of %d: %w", block, o.limit, ext4.ErrPastEnd)
	}
	return o.fs.ReadBlock(block, buf)
}

// write makes a block what buf says; buf is copied.
func (o *overlay) write(block uint64, buf []byte) error {
	if len(buf) != o.size || block >= o.limit {
		return invalid("write %d bytes to block %d of %d", len(buf), block, o.limit)
	}
	if _, ok := o.before[block]; !ok {
		b := make([]byte, o.size)
		if err := o.fs.ReadBlock(block, b); err != nil {
			return err
		}
		o.before[block] = b
	}
	if o.undo != nil {
		if _, ok := o.undo[block]; !ok {
			o.undo[block] = o.after[block]
		}
	}
	o.after[block] = bytes.Clone(buf)
	return nil
}

// patch writes bytes within one block.
func (o *overlay) patch(block uint64, off int, data []byte) error {
	buf, err := o.read(block)
	if err != nil {
		return err
	}
	if off < 0 || off+len(data) > len(buf) {
		return invalid("write %d bytes at %d of block %d", len(data), off, block)
	}
	copy(buf[off:], data)
	return o.write(block, buf)
}

// rollback takes back what was written since undo was set.
func (o *overlay) rollback() {
	for block, was := range o.undo {
		if was == nil {
			delete(o.after, block)
			delete(o.before, block)
		} else {
			o.after[block] = was
		}
	}
}

// ReadAt gives the edited file system's bytes. It is that of io.ReaderAt.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	end := int64(o.limit) * int64(o.size)
	if off < 0 {
		return 0, invalid("read at %d", off)
	}
	buf := []byte(nil)
	for n := 0; n < len(p); {
		at := off + int64(n)
		if at >= end {
			return n, io.EOF
		}
		block, in := uint64(at)/uint64(o.size), int(at%int64(o.size))
		if whole := min((len(p)-n)/o.size, int(min(o.limit-block, maxRead))); in == 0 && whole > 0 {
			k, err := o.readRun(block, p[n:n+whole*o.size])
			if err != nil {
				return n, err
			}
			n += k
			continue
		}
		if buf == nil {
			buf = make([]byte, o.size)
		}
		if err := o.readInto(block, buf); err != nil {
			return n, err
		}
		n += copy(p[n:], buf[in:])
	}
	return len(p), nil
}

// maxRead bounds the blocks that are read at once.
const maxRead = 1 << 12

// readRun reads a block that was changed, or as many as follow that were not. It gives the bytes read.
func (o *overlay) readRun(block uint64, p []byte) (int, error) {
	if b, ok := o.after[block]; ok {
		return copy(p[:o.size], b), nil
	}
	n := 1
	for n*o.size < len(p) {
		if _, ok := o.after[block+uint64(n)]; ok {
			break
		}
		n++
	}
	return n * o.size, o.fs.ReadBlocks(block, p[:n*o.size])
}

// changed lists the blocks that differ, ascending.
func (o *overlay) changed() []Block {
	var list []Block
	for _, n := range slices.Sorted(maps.Keys(o.after)) {
		if !bytes.Equal(o.before[n], o.after[n]) {
			list = append(list, Block{Number: n, Before: bytes.Clone(o.before[n]), After: bytes.Clone(o.after[n])})
		}
	}
	return list
}
