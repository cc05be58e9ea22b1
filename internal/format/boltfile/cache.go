package boltfile

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// The cache holds at most cacheBlocks blocks of blockSize bytes: 8 MiB.
const (
	blockSize   = 16 << 10
	cacheBlocks = 512
)

// source reads bytes of the file; a short read is an error.
type source interface {
	readAt(buf []byte, off int64) error
}

// cache keeps recently used blocks of the file. It is safe for many goroutines; misses are read one at a time.
type cache struct {
	r    io.ReaderAt
	size int64

	mu    sync.Mutex
	index map[int64]int // block number -> slot
	slots []slot
	hand  int // the clock's hand: where to look for a block to drop
}

type slot struct {
	block int64
	data  []byte
	used  bool // since the hand came by
}

func newCache(r io.ReaderAt, size int64) *cache {
	return &cache{r: r, size: size, index: map[int64]int{}}
}

func (c *cache) readAt(buf []byte, off int64) error {
	if off < 0 || off > c.size || int64(len(buf)) > c.size-off {
		return fmt.Errorf("read %d bytes at offset %d: past the end of the file at %d", len(buf), off, c.size)
	}
	if len(buf) > 4*blockSize {
		return readFull(c.r, buf, off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(buf) > 0 {
		data, err := c.get(off / blockSize)
		if err != nil { // perhaps only a neighbour is unreadable
			return readFull(c.r, buf, off)
		}
		n := copy(buf, data[off%blockSize:])
		buf, off = buf[n:], off+int64(n)
	}
	return nil
}

// get returns a block, whole except at the end of the file. The lock is held.
func (c *cache) get(block int64) ([]byte, error) {
	if i, ok := c.index[block]; ok {
		c.slots[i].used = true
		return c.slots[i].data, nil
	}
	i := c.victim()
	s := &c.slots[i]
	if s.block >= 0 {
		delete(c.index, s.block)
		s.block = -1
	}
	s.data = s.data[:min(blockSize, c.size-block*blockSize)]
	if err := readFull(c.r, s.data, block*blockSize); err != nil {
		return nil, err
	}
	s.block, s.used = block, false
	c.index[block] = i
	return s.data, nil
}

// victim finds a slot for a new block.
func (c *cache) victim() int {
	if len(c.slots) < cacheBlocks {
		c.slots = append(c.slots, slot{block: -1, data: make([]byte, 0, blockSize)})
		return len(c.slots) - 1
	}
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.slots)
		if !c.slots[i].used {
			return i
		}
		c.slots[i].used = false
	}
}

// readFull reads all of buf.
func readFull(r io.ReaderAt, buf []byte, off int64) error {
	n, err := r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(buf), off, err)
}
