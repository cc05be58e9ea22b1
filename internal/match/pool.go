package match

import "sync"

// pool hands out blocks and counts the bytes of all that exist, lent or free,
// against a limit.
type pool struct {
	mu    sync.Mutex
	size  int // of a pooled block in bytes
	limit int64
	used  int64
	free  []*block

	// Blocks for one long claim each are made to measure while they have to wait in
	// memory. Once spilling has begun they come back at once, so that a few of full
	// size, in long, serve all: no garbage.
	spilling bool
	long     []*block
}

// get returns an empty block, or nil when the limit does not allow another one.
func (p *pool) get() *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	if p.used+int64(p.size) > p.limit {
		return nil
	}
	return p.make()
}

// force returns an empty block whatever the limit: the one block a writer needs
// to go on at all.
func (p *pool) force() *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.make()
}

func (p *pool) make() *block {
	p.used += int64(p.size)
	return &block{buf: make([]byte, blockHeader, p.size), pooled: true}
}

// room returns a block for one claim of so many bytes, which is longer than a
// pooled block holds. full says that the limit is exceeded.
func (p *pool) room(bytes int) (b *block, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := blockHeader + bytes
	if p.spilling {
		if n := len(p.long); n > 0 {
			b, p.long = p.long[n-1], p.long[:n-1]
			return b, false
		}
		size = maxBlock
	}
	p.used += int64(size)
	return &block{buf: make([]byte, blockHeader, size)}, p.used > p.limit
}

// spills says that from now on blocks are written as they are handed over.
func (p *pool) spills() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spilling = true
}

// put takes a block back.
func (p *pool) put(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case b.pooled && p.used <= p.limit:
		b.reset()
		p.free = append(p.free, b)
	case !b.pooled && p.spilling && cap(b.buf) == maxBlock:
		b.reset()
		p.long = append(p.long, b)
	default:
		p.used -= int64(cap(b.buf))
	}
}

// drop forgets the free blocks, so that the garbage collector may have them.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= int64(len(p.free))*int64(p.size) + int64(len(p.long))*maxBlock
	p.free, p.long = nil, nil
}
