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

// room makes a block for one claim that is longer than a pooled block. full
// says that this went over the limit.
func (p *pool) room(bytes int) (b *block, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b = &block{buf: make([]byte, blockHeader, blockHeader+bytes)}
	p.used += int64(cap(b.buf))
	return b, p.used > p.limit
}

// put takes a block back.
func (p *pool) put(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.pooled || p.used > p.limit {
		p.used -= int64(cap(b.buf))
		return
	}
	b.reset()
	p.free = append(p.free, b)
}

// drop forgets the free blocks, so that the garbage collector may have them.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= int64(len(p.free)) * int64(p.size)
	p.free = nil
}
