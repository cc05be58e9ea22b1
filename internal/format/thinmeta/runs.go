package thinmeta

import (
	"errors"
	"fmt"
	"iter"
)

// Runs gives the mappings of a device in virtual order, neighbours joined. An error that wraps ErrDamaged stands for a part that
// cannot be read, and is followed by what lies behind it; one that wraps ErrNoDevice is the only thing given.
func (f *File) Runs(id uint32) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		root, err := f.root(id)
		if err != nil {
			yield(Run{}, err)
			return
		}
		var last Run
		flush := func() bool {
			run := last
			last = Run{}
			return run.Length == 0 || yield(run, nil)
		}
		w := treeWalk{f: f, valueSize: sizeBlock}
		w.gap = func(keys keyRange, err error) error {
			if !flush() || !yield(Run{}, gapError(id, keys, err)) {
				return errStop
			}
			return nil
		}
		w.leaf = func(nd *node, from, to int) error {
			for i := from; i < to; i++ {
				v := nd.val(i)
				one := Run{Virtual: nd.key(i), Data: v >> timeBits, Length: 1, Time: uint32(v & timeMask)}
				if last.joins(one) {
					last.Length++
					continue
				}
				if !flush() {
					return errStop
				}
				last = one
			}
			return nil
		}
		if err := w.walk(root, allKeys); !errors.Is(err, errStop) {
			flush()
		}
	}
}

// joins says whether b continues a without a gap.
func (a Run) joins(b Run) bool {
	return a.Length > 0 && a.Time == b.Time && a.Virtual+a.Length == b.Virtual && a.Data+a.Length == b.Data
}

func gapError(id uint32, keys keyRange, err error) error {
	if keys.hi == ^uint64(0) {
		return fmt.Errorf("device %d, mappings of virtual blocks from %d on: %w", id, keys.lo, err)
	}
	return fmt.Errorf("device %d, mappings of virtual blocks %d to %d: %w", id, keys.lo, keys.hi, err)
}
