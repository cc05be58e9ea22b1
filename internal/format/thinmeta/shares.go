package thinmeta

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Shares says whether two devices map at least one common data block, or refer to a common subtree. It is quick for devices of
// which one is a snapshot of the other or both of a third: those have the same data at the same virtual place, usually even the same
// tree nodes. Otherwise all mappings of both are compared, as long as a million runs of one and four million of the other are
// enough. complete is false when shared is false but not everything could be looked at.
func (f *File) Shares(ctx context.Context, a, b uint32) (shared, complete bool, err error) {
	ra, err := f.root(a)
	if err != nil {
		return false, false, err
	}
	rb, err := f.root(b)
	if err != nil {
		return false, false, err
	}
	p := pairWalk{f: f, ctx: ctx, budget: 16*f.blocks + 64}
	switch err := p.nodes(ra, rb, allKeys, 0); {
	case errors.Is(err, errStop):
		return true, true, nil
	case err != nil:
		return false, false, err
	}
	return sharesRuns(ctx, f, a, b)
}

// pairWalk goes through two trees at once, in the order of the keys, and stops (errStop) at the first thing they share. What cannot
// be read is left out.
type pairWalk struct {
	f      *File
	ctx    context.Context
	budget uint64   // nodes that may still be read
	bufs   [][]byte // two blocks for each level
}

// nodes compares what two nodes have for the keys of r.
func (p *pairWalk) nodes(a, b uint64, r keyRange, depth int) error {
	if a == b {
		return errStop
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if depth > 2*maxHeight || p.budget < 2 {
		return nil
	}
	p.budget -= 2
	if depth == len(p.bufs) {
		p.bufs = append(p.bufs, alignedBuffer(2*BlockSize))
	}
	buf := p.bufs[depth]
	na, errA := p.f.readNode(a, sizeBlock, buf[:BlockSize:BlockSize])
	nb, errB := p.f.readNode(b, sizeBlock, buf[BlockSize:])
	if errA != nil || errB != nil {
		return nil
	}
	switch {
	case na.leaf && nb.leaf:
		return p.leaves(&na, &nb, r)
	case na.leaf || !nb.leaf && span64(&na) < span64(&nb):
		return p.children(&nb, r, func(child uint64, r keyRange) error { return p.nodes(a, child, r, depth+1) })
	default:
		return p.children(&na, r, func(child uint64, r keyRange) error { return p.nodes(child, b, r, depth+1) })
	}
}

// span64 is how many keys an internal node is about, so that the larger one is opened first.
func span64(nd *node) uint64 { return nd.key(nd.n-1) - nd.key(0) }

func (p *pairWalk) children(nd *node, r keyRange, visit func(child uint64, r keyRange) error) error {
	from, to := nd.clip(r)
	for i := from; i < to; i++ {
		if err := visit(nd.val(i), nd.childRange(i, r)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pairWalk) leaves(a, b *node, r keyRange) error {
	i, iEnd := a.clip(r)
	j, jEnd := b.clip(r)
	for i < iEnd && j < jEnd {
		switch ka, kb := a.key(i), b.key(j); {
		case ka < kb:
			i++
		case ka > kb:
			j++
		case a.val(i)>>timeBits == b.val(j)>>timeBits:
			return errStop
		default:
			i, j = i+1, j+1
		}
	}
	return nil
}

// Bounds of the comparison of all mappings.
const (
	maxRunsKept = 1 << 20
	maxRunsRead = 1 << 22
)

// sharesRuns compares all mappings of two devices, wherever they lie.
func sharesRuns(ctx context.Context, p Pool, a, b uint32) (shared, complete bool, err error) {
	complete = true
	var kept []Run
	for run, err := range p.Runs(a) {
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				return false, false, err
			}
			complete = false
			continue
		}
		if len(kept) == maxRunsKept {
			complete = false
			break
		}
		kept = append(kept, run)
	}
	kept = mergeData(kept)
	read := 0
	for run, err := range p.Runs(b) {
		if err != nil && !errors.Is(err, ErrDamaged) {
			return false, false, err
		}
		if err != nil || read == maxRunsRead {
			complete = false
			if err == nil {
				break
			}
			continue
		}
		if read++; read%1024 == 0 && ctx.Err() != nil {
			return false, false, fmt.Errorf("comparison of devices %d and %d: %w", a, b, ctx.Err())
		}
		if overlaps(kept, run) {
			return true, true, nil
		}
	}
	return false, complete, nil
}

// mergeData sorts runs by data block and joins those that touch or overlap, so that they are disjoint.
func mergeData(runs []Run) []Run {
	slices.SortFunc(runs, compareData)
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && out[n-1].Data+out[n-1].Length >= r.Data {
			out[n-1].Length = max(out[n-1].Length, r.Data+r.Length-out[n-1].Data)
			continue
		}
		out = append(out, r)
	}
	return out
}

// overlaps says whether a run has a data block in common with one of the others, which are sorted and disjoint.
func overlaps(sorted []Run, run Run) bool {
	i, _ := slices.BinarySearchFunc(sorted, run.Data, func(r Run, data uint64) int {
		if r.Data+r.Length <= data {
			return -1
		}
		return 1
	})
	return i < len(sorted) && sorted[i].Data < run.Data+run.Length
}
