package boltfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

// Check reads every page of the current transaction once and compares freelist and high-water mark with what it finds.
// progress, if not nil, is called now and then with the number of bytes of the file that are done; an error of it or of
// ctx ends the check and is returned. Damage, also unreadable bytes, is no error.
//
// Trees are checked one after the other, nested buckets by the place of their top page, so that the file is read forward
// for the most part. That needs 32 bytes for each bucket with pages of its own.
func (f *File) Check(ctx context.Context, progress func(bytes int64) error) (*Report, error) {
	c := f.newChecker(ctx, progress)
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("check %s: %w", f.name, err)
	}
	return c.report(), nil
}

// checker is one run of Check.
type checker struct {
	f        *File
	ctx      context.Context
	progress func(int64) error
	src      *window
	found    problemList
	keys     uint64
	used     pageSet // met in the tree, or meta or freelist
	readable pageSet // of these: tree pages with elements, whose number can be believed
	nUsed    uint64
	free     pageSet
	nFree    uint64
	leaked   uint64
	buckets  []bucketRef // 0 is the root
	queue    []int32     // met on this level of nesting, still to be checked
	frames   []*frame
	inline   node
	now      int32 // the bucket being checked
	ticks    uint64
	stop     error
}

// bucketRef says where a bucket is defined. Its name is read again when a problem must be told.
type bucketRef struct {
	root   uint64
	leaf   uint64 // page of the element
	elem   uint16
	depth  uint8
	parent int32
}

// frame is the state of one level of a tree: the page, and the range of keys that its child may have. Each has a window of
// its own, so that what was read ahead at one level is not lost to the next.
type frame struct {
	node
	win    *window
	lo, hi []byte
	order  []childRef
	pages  []uint64 // of order
}

// childRef is element elem of a branch.
type childRef struct {
	page uint64
	elem int
}

func (f *File) newChecker(ctx context.Context, progress func(int64) error) *checker {
	return &checker{f: f, ctx: ctx, progress: progress, src: f.newWindow()}
}

func (f *File) newWindow() *window {
	return &window{r: f.r, size: f.size, pageSize: int64(f.pageSize)}
}

func (c *checker) run() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	for _, p := range c.f.problems {
		c.found.add(p)
	}
	m, ok := c.f.Current()
	if !ok {
		return nil
	}
	c.checkMetaPages()
	listed := c.checkFreelist(m)
	c.buckets = append(c.buckets, bucketRef{root: m.Root})
	if fl := c.claim(m.Root); fl != nil {
		c.add(fl)
	} else {
		c.queue = append(c.queue, 0)
	}
	for len(c.queue) > 0 && c.stop == nil {
		level := c.queue
		c.queue = nil
		slices.SortFunc(level, func(a, b int32) int { return cmp.Compare(c.buckets[a].root, c.buckets[b].root) })
		plan := make([]uint64, len(level))
		for i, b := range level {
			plan[i] = c.buckets[b].root
		}
		for i, b := range level {
			c.now, c.frame(0).win.plan = b, plan[i+1:]
			c.tree(c.buckets[b].root, 0, nil, nil)
		}
	}
	if listed && c.stop == nil {
		c.countLeaked(m)
	}
	if c.stop == nil && c.progress != nil {
		c.stop = c.progress(c.f.size)
	}
	return c.stop
}

func (c *checker) report() *Report {
	r := &Report{Problems: c.found.list, More: c.found.more, harmful: c.found.harmful, Keys: c.keys,
		Pages: c.f.pages, Reachable: c.nUsed, Free: c.nFree, Leaked: c.leaked}
	if m, ok := c.f.Current(); ok {
		r.Pages = m.HighWater
	}
	return r
}

// add keeps a problem of the bucket being checked.
func (c *checker) add(fl *fault) {
	p := Problem{Kind: fl.kind, Page: fl.page, Text: fl.text}
	if len(c.found.list) < maxProblems && len(c.buckets) > 0 {
		p.Bucket = c.path(c.now)
	}
	c.found.add(p)
}

// path reads the names from the root to bucket b.
func (c *checker) path(b int32) [][]byte {
	ref := c.buckets[b]
	path := make([][]byte, ref.depth)
	var n node
	for ; ref.depth > 0; ref = c.buckets[ref.parent] {
		name := []byte("?")
		if fl := c.f.load(c.f.cache, ref.leaf, &n); fl == nil && int(ref.elem) < int(n.head.count) {
			e := n.element(int(ref.elem))
			if n.fault(int(ref.elem), &e) == "" {
				if k, err := n.keyOf(&e); err == nil {
					name = bytes.Clone(k)
				}
			}
		}
		path[ref.depth-1] = name
	}
	return path
}

// claim notes a page as used.
func (c *checker) claim(id uint64) *fault {
	if id >= c.f.limit {
		return nil // readHeader refuses it
	}
	if !c.used.add(id) {
		return c.f.faultf(DoubleUse, id, "is in use already")
	}
	c.nUsed++
	if c.free.has(id) {
		c.add(c.f.faultf(DoubleUse, id, "is in use and on the freelist"))
	}
	if c.ticks++; c.ticks%256 == 0 {
		if c.stop = c.ctx.Err(); c.stop == nil && c.progress != nil {
			c.stop = c.progress(int64(c.ticks) * int64(c.f.pageSize))
		}
	}
	return nil
}

// checkMetaPages looks at the page headers of the meta pages, which bbolt ignores when it opens a file.
func (c *checker) checkMetaPages() {
	for id := range uint64(2) {
		c.claim(id)
		var b [pageHeader]byte
		if c.f.metas[id].Valid && c.src.readAt(b[:], int64(id)*int64(c.f.pageSize)) == nil {
			if h := parseHeader(b[:]); h.id != id || h.flags != flagMeta {
				c.add(c.f.faultf(BadPage, id, "is a valid meta page, but its header says page %d, flags %#x", h.id, h.flags))
			}
		}
	}
}

// tree checks the subtree below page id, which is claimed. Its keys must be at least lo and below hi, unless nil.
func (c *checker) tree(id uint64, depth int, lo, hi []byte) {
	if c.stop != nil {
		return
	}
	if depth >= maxDepth {
		c.add(c.f.faultf(BadPage, id, "lies more than %d pages deep", maxDepth))
		return
	}
	fr := c.frame(depth)
	fl := c.f.readHeader(fr.win, id, &fr.node)
	if fl == nil {
		fl = c.f.extend(&fr.node, c.claim)
	}
	if fl != nil {
		c.add(fl)
		return
	}
	if fr.head.count > 0 && fr.miscount() == "" {
		for p := int64(0); p*int64(c.f.pageSize) < fr.extent; p++ {
			c.readable.add(id + uint64(p))
		}
	}
	p := pageCheck{c: c, n: &fr.node}
	if fr.head.flags == flagLeaf {
		p.leaf(lo, hi)
	} else {
		p.branch(lo, hi)
		c.children(fr, depth, hi)
	}
	if cap(fr.own) > loadWhole {
		fr.own = nil
	}
}

// frame gives the frame for pages at depth.
func (c *checker) frame(depth int) *frame {
	for depth >= len(c.frames) {
		c.frames = append(c.frames, &frame{win: c.f.newWindow()})
	}
	return c.frames[depth]
}

// children goes on below a branch, in the order in which the children lie in the file.
func (c *checker) children(fr *frame, depth int, hi []byte) {
	fr.order, fr.pages = fr.order[:0], fr.pages[:0]
	for i := range int(fr.head.count) {
		e := fr.element(i)
		if fr.fault(i, &e) != "" {
			continue
		}
		if fl := c.claim(e.child); fl != nil {
			c.add(fl)
			continue
		}
		fr.order = append(fr.order, childRef{e.child, i})
	}
	slices.SortFunc(fr.order, func(a, b childRef) int { return cmp.Compare(a.page, b.page) })
	for _, child := range fr.order {
		fr.pages = append(fr.pages, child.page)
	}
	for at, child := range fr.order {
		e := fr.element(child.elem)
		k, err := fr.keyOf(&e)
		if err != nil {
			continue // the page check said so
		}
		fr.lo = append(fr.lo[:0], k...)
		upper := hi
		if child.elem+1 < int(fr.head.count) {
			upper = fr.upper(child.elem+1, hi)
		}
		c.frame(depth + 1).win.plan = fr.pages[at+1:]
		c.tree(child.page, depth+1, fr.lo, upper)
	}
}

// upper gives the key of element i as the limit for the child before it, hi if it cannot be used.
func (fr *frame) upper(i int, hi []byte) []byte {
	e := fr.element(i)
	if fr.fault(i, &e) != "" {
		return hi
	}
	k, err := fr.keyOf(&e)
	if err != nil {
		return hi
	}
	fr.hi = append(fr.hi[:0], k...)
	return fr.hi
}

// bucket takes note of the bucket that element i of leaf n defines, and checks it at once if it is inline.
func (c *checker) bucket(n *node, i int, value []byte) {
	why := bucketFault(value, c.f.pageSize)
	ref := bucketRef{leaf: n.page, elem: uint16(i), depth: c.buckets[c.now].depth + 1, parent: c.now}
	if why == "" && ref.depth > maxBuckets {
		why = fmt.Sprintf("buckets are nested %d deep, more than the %d that are followed", ref.depth, maxBuckets)
	}
	if why != "" {
		c.add(c.f.elementFault(n, i, ": "+why))
		return
	}
	ref.root = binary.LittleEndian.Uint64(value)
	if ref.root == 0 {
		in := &c.inline
		if why := in.loadInline(value[bucketHead:]); why != "" {
			c.add(c.f.elementFault(n, i, ": "+why))
			return
		}
		(&pageCheck{c: c, n: in, outer: n, at: i}).leaf(nil, nil)
		return
	}
	if fl := c.claim(ref.root); fl != nil {
		c.add(fl)
		return
	}
	c.buckets = append(c.buckets, ref)
	c.queue = append(c.queue, int32(len(c.buckets)-1))
}
