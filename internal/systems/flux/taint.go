package flux

import (
	"context"
	"errors"
)

// taint finds out which directories have a seed at or anywhere below them: depth first, every directory once. By default
// the seeds are the damaged directories.
type taint struct {
	u    *unit
	done bitmap
	bad  bitmap
	seed bitmap // directories that count as damaged themselves
	v    *dirVisitor
}

func newTaint(u *unit) *taint {
	seed := newBitmap(u.idx.n)
	for i := range seed {
		seed[i] = u.reach.hurt[i] | u.reach.notDir[i]
	}
	return &taint{u: u, done: newBitmap(u.idx.n), bad: newBitmap(u.idx.n), seed: seed, v: newDirVisitor(u)}
}

// taintFrame is a directory whose subdirectories are being looked at.
type taintFrame struct {
	n        int
	children []uint32
}

// compute tells whether directory n or anything below it is damaged. Loops, which only damage can make, end here because
// content that does not hash to its name is never followed, and because of the done set.
func (t *taint) compute(ctx context.Context, n int) (bool, error) {
	stack := []taintFrame{}
	push := func(n int) error {
		t.done.set(n)
		if t.seed.has(n) {
			t.bad.set(n)
		}
		var children []uint32
		if !t.u.reach.notDir.has(n) {
			var out batchResult
			if err := t.v.visit(n, &out); err != nil {
				return err
			}
			children = out.children
			if len(out.notDir) > 0 {
				return errors.New("a directory changed while the check was running")
			}
		}
		stack = append(stack, taintFrame{n: n, children: children})
		return nil
	}
	if t.done.has(n) {
		return t.bad.has(n), nil
	}
	if err := push(n); err != nil {
		return false, err
	}
	for steps := 0; len(stack) > 0; steps++ {
		if steps&1023 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		f := &stack[len(stack)-1]
		if len(f.children) == 0 {
			bad := t.bad.has(f.n)
			stack = stack[:len(stack)-1]
			if bad && len(stack) > 0 {
				t.bad.set(stack[len(stack)-1].n)
			}
			continue
		}
		c := int(f.children[0])
		f.children = f.children[1:]
		if t.done.has(c) {
			if t.bad.has(c) {
				t.bad.set(f.n)
			}
			continue
		}
		if err := push(c); err != nil {
			return false, err
		}
	}
	return t.bad.has(n), nil
}
