package boltfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
)

// Depth limits. A sound tree of 2^48 pages is less than 48 branches deep, and no application nests buckets this deep.
const (
	maxDepth   = 64
	maxBuckets = 64
)

// Bucket is one bucket of a File. It stays usable until the File is closed.
type Bucket struct {
	f      *File
	parent *Bucket
	name   []byte
	depth  int    // 0 for the root
	id     uint64 // says which element defines the bucket, the same each time it is met
	owners *owners

	root uint64 // 0 if inline
	seq  uint64
	page []byte // of an inline bucket
	bad  *Problem
}

// Root gives the root bucket of the current transaction. It is never nil: when there is no valid meta page it is an empty
// bucket whose Problem says so. Buckets that come from one call agree on which bucket a page belongs to: the first that
// iterates over it. Call it again for a traversal that is independent.
func (f *File) Root() *Bucket {
	if m, ok := f.Current(); ok {
		return f.top(m.Root, m.RootSequence)
	}
	b := f.top(0, 0)
	b.bad = &f.problems[0]
	return b
}

// RootAt gives the bucket whose top page is pgid, as if a meta page named it as the root. It need not be a good one, and it
// may lead to any page of the file, also past the high-water mark.
func (f *File) RootAt(pgid uint64, sequence uint64) *Bucket { return f.loose.top(pgid, sequence) }

func (f *File) top(pgid uint64, sequence uint64) *Bucket {
	return &Bucket{f: f, root: pgid, seq: sequence, id: mix(pgid, 0, 0), owners: &owners{}}
}

// Path gives the names from the root to the bucket; empty for the root.
func (b *Bucket) Path() [][]byte {
	path := make([][]byte, b.depth)
	for ; b.parent != nil; b = b.parent {
		path[b.depth-1] = b.name
	}
	return path
}

// Sequence is the bucket's sequence number, see bbolt's NextSequence.
func (b *Bucket) Sequence() uint64 { return b.seq }

// Inline reports whether the bucket lies inside an element of its parent instead of in pages of its own.
func (b *Bucket) Inline() bool { return b.page != nil }

// RootPage is the page at the top of the bucket's tree, 0 for an inline bucket.
func (b *Bucket) RootPage() uint64 { return b.root }

// Problem says why nothing of the bucket can be read: no valid meta page, a bucket value that makes no sense, or nesting
// that is too deep. False if there is no such reason; pages of the bucket may still be unreadable.
func (b *Bucket) Problem() (Problem, bool) {
	if b.bad == nil {
		return Problem{}, false
	}
	return *b.bad, true
}

// sub makes the bucket that element i of n defines. name and value are copied.
func (b *Bucket) sub(n *node, i int, name, value []byte) *Bucket {
	s := &Bucket{f: b.f, parent: b, depth: b.depth + 1, owners: b.owners, id: mix(b.id, n.page, uint64(i))}
	inline := 0
	if len(value) > bucketHead && len(value) <= bucketHead+b.f.pageSize {
		inline = len(value) - bucketHead
	}
	own := make([]byte, len(name)+inline)
	s.name = own[:copy(own, name):len(name)]
	why := bucketFault(value, b.f.pageSize)
	if len(value) >= bucketHead {
		s.root, s.seq = binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[8:])
	}
	if s.root == 0 && inline > 0 {
		s.page = own[len(name):]
		copy(s.page, value[bucketHead:])
	}
	if s.depth > maxBuckets {
		why = fmt.Sprintf("nested %d deep, more than the %d that are followed", s.depth, maxBuckets)
	}
	if why != "" {
		s.bad = &Problem{BadPage, n.page, s.Path(), fmt.Sprintf("page %d (offset %d): element %d: %s",
			n.page, b.f.offset(n.page), i, why)}
	}
	return s
}

// bucketFault says what is impossible in the value of a bucket's element; "" if nothing. bbolt writes 16 bytes for a bucket
// with pages of its own, and for an inline bucket a page of at most a quarter of the page size after them.
func bucketFault(value []byte, pageSize int) string {
	switch {
	case len(value) < bucketHead:
		return fmt.Sprintf("bucket value of %d bytes, at least %d are needed", len(value), bucketHead)
	case binary.LittleEndian.Uint64(value) == 0 && len(value) < bucketHead+pageHeader:
		return fmt.Sprintf("bucket value of %d bytes has no root page and no room for an inline bucket", len(value))
	case binary.LittleEndian.Uint64(value) == 0 && len(value) > bucketHead+pageSize:
		return fmt.Sprintf("inline bucket of %d bytes is larger than a page", len(value)-bucketHead)
	case binary.LittleEndian.Uint64(value) != 0 && len(value) > bucketHead:
		return fmt.Sprintf("bucket value of %d bytes names root page %d, but looks like an inline bucket",
			len(value), binary.LittleEndian.Uint64(value))
	}
	return ""
}

// mix makes an identity out of three numbers.
func mix(a, b, c uint64) uint64 {
	for _, v := range [2]uint64{b, c} {
		a = (a ^ v ^ a>>29) * 0x9e3779b97f4a7c15
		a ^= a >> 32
	}
	return a
}

var nodePool = sync.Pool{New: func() any { return new(node) }}

// release gives n back to the pool. Very large buffers are left to the garbage collector.
func release(n *node) {
	n.src, n.buf = nil, nil
	if cap(n.own) > loadWhole || cap(n.key)+cap(n.last)+cap(n.val) > loadWhole {
		*n = node{}
	}
	nodePool.Put(n)
}

// Get looks a key up. ok is false when it is not there or names a bucket. The value is a copy. err wraps ErrDamaged when
// the way to the key could not be read in full, so that nothing can be said about it.
func (b *Bucket) Get(key []byte) (value []byte, ok bool, err error) {
	n := nodePool.Get().(*node)
	defer release(n)
	e, _, err := b.find(n, key)
	if err != nil || e.ksize == 0 || e.flags&elementIsBucket != 0 {
		return nil, false, err
	}
	v, err := n.valueOf(&e)
	if err != nil {
		return nil, false, b.damage(b.f.faultf(ReadError, n.page, "%v", err))
	}
	return bytes.Clone(v[:len(v):len(v)]), true, nil
}

// Bucket looks a nested bucket up. ok is false when there is no such key or it is not a bucket. Errors are as for Get; a
// bucket that is there but makes no sense is no error here, see Problem.
func (b *Bucket) Bucket(name []byte) (sub *Bucket, ok bool, err error) {
	n := nodePool.Get().(*node)
	defer release(n)
	e, i, err := b.find(n, name)
	if err != nil || e.ksize == 0 || e.flags&elementIsBucket == 0 {
		return nil, false, err
	}
	v, err := n.valueOf(&e)
	if err != nil {
		return nil, false, b.damage(b.f.faultf(ReadError, n.page, "%v", err))
	}
	return b.sub(n, i, name, v), true, nil
}

// damage makes an error out of one fault.
func (b *Bucket) damage(fl *fault) error {
	return &DamageError{Problems: []Problem{{fl.kind, fl.page, b.Path(), fl.text}}}
}

// find goes down to key and leaves its leaf in n. An element with ksize 0 means that the key is not there. Pages are
// searched from end to end: elements out of order or unreadable must not lead to a wrong answer.
func (b *Bucket) find(n *node, key []byte) (element, int, error) {
	if b.bad != nil {
		return element{}, 0, &DamageError{Problems: []Problem{*b.bad}}
	}
	if b.page != nil {
		if why := n.loadInline(b.page); why != "" {
			return element{}, 0, b.damage(&fault{BadPage, 0, why})
		}
		return b.findLeaf(n, key)
	}
	id := b.root
	for range maxDepth {
		if fl := b.f.load(b.f.cache, id, n); fl != nil {
			return element{}, 0, b.damage(fl)
		}
		if n.head.flags == flagLeaf {
			return b.findLeaf(n, key)
		}
		next, fl := b.f.findChild(n, key)
		if fl != nil {
			return element{}, 0, b.damage(fl)
		}
		id = next
	}
	return element{}, 0, b.damage(b.f.faultf(DoubleUse, id, "more than %d pages deep: the branches run in a cycle", maxDepth))
}

// findLeaf looks for key on a leaf.
func (b *Bucket) findLeaf(n *node, key []byte) (element, int, error) {
	var broken *fault
	var last []byte
	if why := n.miscount(); why != "" {
		broken = b.f.nodeFault(n, why)
	}
	for i := range int(n.head.count) {
		e := n.element(i)
		if why := n.fault(i, &e); why != "" {
			broken = b.f.elementFault(n, i, why)
			continue
		}
		k, err := n.keyOf(&e)
		if err != nil {
			broken = b.f.faultf(ReadError, n.page, "%v", err)
			continue
		}
		c := bytes.Compare(k, key)
		if c == 0 {
			return e, i, nil
		}
		if bytes.Compare(last, k) >= 0 {
			broken = b.f.faultf(Order, n.page, "key %s of element %d is not above the one before", quote(k), i)
		}
		last = append(last[:0], k...)
	}
	if broken != nil {
		return element{}, 0, b.damage(broken)
	}
	return element{}, 0, nil
}

// findChild chooses the child of a branch to which key belongs: the last whose key is not above it, else the first.
func (f *File) findChild(n *node, key []byte) (uint64, *fault) {
	if n.head.count == 0 {
		return 0, f.faultf(BadPage, n.page, "is a branch without elements")
	}
	if why := n.miscount(); why != "" {
		return 0, f.nodeFault(n, why)
	}
	child, last := uint64(0), []byte(nil)
	for i := range int(n.head.count) {
		e := n.element(i)
		if why := n.fault(i, &e); why != "" {
			return 0, f.elementFault(n, i, why)
		}
		k, err := n.keyOf(&e)
		if err != nil {
			return 0, f.faultf(ReadError, n.page, "%v", err)
		}
		if bytes.Compare(last, k) >= 0 {
			return 0, f.faultf(Order, n.page, "key %s of element %d is not above the one before", quote(k), i)
		}
		if i == 0 || bytes.Compare(k, key) <= 0 {
			child = e.child
		}
		last = append(last[:0], k...)
	}
	return child, nil
}

// nodeFault is a fault of a page as a whole.
func (f *File) nodeFault(n *node, why string) *fault {
	if n.off < 0 {
		return &fault{BadPage, 0, "the inline bucket " + why}
	}
	return f.faultf(BadPage, n.page, "%s", why)
}

// elementFault is a fault of element i.
func (f *File) elementFault(n *node, i int, why string) *fault {
	at := uint64(pageHeader + elementSize*i)
	if n.off < 0 {
		return &fault{BadPage, 0, fmt.Sprintf("element %d of the inline bucket (offset %d in it) %s", i, at, why)}
	}
	return f.faultf(BadPage, n.page, "element %d (offset %d) %s", i, uint64(n.off)+at, why)
}
