package ext4edit

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

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
	forget bool              // before has no contents
	lock   sync.Mutex        // of clean
	clean  [cleanSlots]clean // blocks as the file system has them, which does not change: a block's place is its number modulo the slots
}

// cleanSlots is how many blocks are kept that were only read: what is edited next is often beside what was edited last, and each edit looks at the
// same descriptors, bitmaps and directories again.
const cleanSlots = 256

// clean is a block that was read.
type clean struct {
	number uint64
	data   []byte // nil for none
}

func newOverlay(fs *ext4.FS) *overlay {
	s := fs.Super()
	return &overlay{fs: fs, size: int(s.BlockSize), limit: min(s.Blocks, uint64(fs.Size())/uint64(s.BlockSize)),
		before: map[uint64][]byte{}, after: map[uint64][]byte{}}
}

// read gives a copy of a block.
func (o *overlay) read(block uint64) ([]byte, error) {
	buf := make([]byte, o.size)
	_, err := o.readInto(block, 0, buf)
	return buf, err
}

// readInto copies a part of one block, from a byte of it on, as much as p takes. Several goroutines may read as long as none writes.
func (o *overlay) readInto(block uint64, from int, p []byte) (int, error) {
	if b, ok := o.after[block]; ok {
		return copy(p, b[from:]), nil
	}
	if block >= o.limit {
		return 0, fmt.Errorf("block %d of %d: %w", block, o.limit, ext4.ErrPastEnd)
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	b, err := o.original(block)
	if err != nil {
		return 0, err
	}
	return copy(p, b[from:]), nil
}

// original gives a block without what was changed. It holds until the next call and must not be changed; the caller holds the lock.
func (o *overlay) original(block uint64) ([]byte, error) {
	c := &o.clean[block%cleanSlots]
	if c.data != nil && c.number == block {
		return c.data, nil
	}
	buf := c.data
	if c.data = nil; buf == nil { // what cannot be read must not stay for another block
		buf = make([]byte, o.size)
	}
	if err := o.fs.ReadBlock(block, buf); err != nil {
		return nil, err
	}
	c.number, c.data = block, buf
	return buf, nil
}

// write makes a block what buf says; buf is copied.
func (o *overlay) write(block uint64, buf []byte) error {
	if len(buf) != o.size || block >= o.limit {
		return invalid("write %d bytes to block %d of %d", len(buf), block, o.limit)
	}
	if _, ok := o.before[block]; !ok {
		o.lock.Lock()
		b, err := o.original(block)
		switch {
		case err != nil:
		case o.forget:
			o.before[block] = nil
		default:
			o.before[block] = bytes.Clone(b)
		}
		o.lock.Unlock()
		if err != nil {
			return err
		}
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
		k, err := o.readInto(block, in, p[n:])
		if err != nil {
			return n, err
		}
		n += k
	}
	return len(p), nil
}

// maxRead bounds the blocks that are read at once.
const maxRead = 1 << 12

// readRun reads a block that was changed, or as many as follow that were not. It gives the bytes read.
func (o *overlay) readRun(block uint64, p []byte) (int, error) {
	if _, ok := o.after[block]; ok || len(p) == o.size {
		return o.readInto(block, 0, p[:o.size])
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
		was := o.before[n]
		if o.forget {
			was = make([]byte, o.size)
			if o.fs.ReadBlock(n, was) != nil {
				continue // it could be read before it was changed: the input is going away, which lowering meets as well
			}
		}
		if !bytes.Equal(was, o.after[n]) {
			list = append(list, Block{Number: n, Before: bytes.Clone(was), After: bytes.Clone(o.after[n])})
		}
	}
	return list
}
