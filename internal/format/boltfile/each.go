package boltfile

import "errors"

// Each calls fn for all elements of the bucket in the order in which they are stored. For a nested bucket value is nil and
// sub is the bucket; sub stays usable, key and value are valid only until fn returns. Unreadable pages and elements are
// skipped; if there were any, Each returns a *DamageError at the end. An error of fn ends the iteration and is returned as
// it is. A page that was met before, here or in another bucket of the same Root, is not visited again.
func (b *Bucket) Each(fn func(key, value []byte, sub *Bucket) error) error {
	if b.bad != nil {
		return &DamageError{Problems: []Problem{*b.bad}}
	}
	it := iteration{b: b, fn: fn}
	var err error
	if b.page != nil {
		err = it.inline()
	} else {
		err = it.visit(b.root, 0)
	}
	if err != nil {
		return err
	}
	return it.problems.err()
}

// iteration is one run of Each.
type iteration struct {
	b        *Bucket
	fn       func(key, value []byte, sub *Bucket) error
	seen     pageSet
	problems problemList
}

func (it *iteration) report(fl *fault) {
	it.problems.add(Problem{fl.kind, fl.page, it.b.Path(), fl.text})
}

func (it *iteration) inline() error {
	n := nodePool.Get().(*node)
	defer release(n)
	if why := n.loadInline(it.b.page); why != "" {
		it.report(&fault{BadPage, 0, why})
		return nil
	}
	return it.leaf(n)
}

// visit goes through the subtree below page id.
func (it *iteration) visit(id uint64, depth int) error {
	f := it.b.f
	n := nodePool.Get().(*node)
	defer release(n)
	fl := f.readHeader(f.cache, id, n)
	if fl == nil && depth >= maxDepth {
		fl = f.faultf(BadPage, id, "lies more than %d pages deep", maxDepth)
	}
	if fl == nil {
		fl = it.claim(id)
	}
	if fl == nil {
		fl = f.extend(n, it.claim)
	}
	if fl != nil {
		it.report(fl)
		return nil
	}
	if n.head.flags == flagLeaf {
		return it.leaf(n)
	}
	return it.branch(n, depth)
}

// claim takes a page for this iteration.
func (it *iteration) claim(id uint64) *fault {
	if !it.seen.add(id) {
		return it.b.f.faultf(DoubleUse, id, "is met a second time in the same bucket")
	}
	if !it.b.owners.take(id, it.b.id) {
		return it.b.f.faultf(DoubleUse, id, "belongs to another bucket too, or too many were visited")
	}
	return nil
}

func (it *iteration) branch(n *node, depth int) error {
	if n.head.count == 0 {
		it.report(it.b.f.faultf(BadPage, n.page, "is a branch without elements"))
	}
	it.checkCount(n)
	for i := range int(n.head.count) {
		e := n.element(i)
		if why := n.fault(i, &e); why != "" { // its child is more than likely garbage too
			it.report(it.b.f.elementFault(n, i, why))
			continue
		}
		if err := it.visit(e.child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (it *iteration) checkCount(n *node) {
	if why := n.miscount(); why != "" {
		it.report(it.b.f.nodeFault(n, why))
	}
}

func (it *iteration) leaf(n *node) error {
	it.checkCount(n)
	for i := range int(n.head.count) {
		e := n.element(i)
		if why := n.fault(i, &e); why != "" {
			it.report(it.b.f.elementFault(n, i, why))
			continue
		}
		k, err := n.keyOf(&e)
		v, err2 := n.valueOf(&e)
		if err = errors.Join(err, err2); err != nil {
			it.report(it.b.f.faultf(ReadError, n.page, "%v", err))
			continue
		}
		var sub *Bucket
		if e.flags&elementIsBucket != 0 {
			sub, v = it.b.sub(n, i, k, v), nil
		}
		if err := it.fn(k, v, sub); err != nil {
			return err
		}
	}
	return nil
}
