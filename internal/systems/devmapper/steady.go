package devmapper

import (
	"context"
	"time"

	"fettle/internal/store"
)

// While containerd works, layers that are read one after the other are of different moments, and an operation that is under way looks
// like one that was cut off. What is only that is gone when one looks again. What is wrong stays.
const (
	steadyWait  = 500 * time.Millisecond // between two looks
	steadyLooks = 6                      // at most
	steadySeen  = 3                      // analyses in a row that must have a finding when the databases never come to rest
)

// sharedAge is how old the judgement about databases that somebody writes to all the time may be to confirm a finding. A bound must be: on a
// large node an analysis takes seconds, and there may be as many findings as devices.
const sharedAge = 10 * time.Second

// shared tells whether another program had a database open when they were read.
func (u *unit) shared() bool {
	for _, b := range u.bolts {
		if b.read != b.path {
			return true
		}
	}
	return false
}

// looker is how databases in use are looked at again.
type looker struct {
	rest  func(context.Context) error         // waits a while
	same  func(context.Context) (bool, error) // nobody has written since the last look
	again func(context.Context) error         // reads and judges anew
}

// steady leaves of what was found what is wrong for longer than an operation of containerd takes.
func (u *unit) steady(ctx context.Context, env store.Env) error {
	if !u.shared() {
		return nil
	}
	return u.outlast(ctx, looker{
		rest: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(steadyWait):
				return nil
			}
		},
		same: func(ctx context.Context) (bool, error) {
			now, err := u.Fingerprint(ctx)
			return err == nil && sameRecords(u.print, now), err
		},
		again: func(ctx context.Context) error {
			if err := u.analyseAgain(ctx, env); err != nil {
				return err
			}
			return u.judge(ctx)
		},
	})
}

// outlast looks again until nothing was written between two looks, nothing is left, or everything that is left was seen often enough.
func (u *unit) outlast(ctx context.Context, l looker) error {
	seen := map[string]int{}
	for look := 1; ; look++ {
		before, often := seen, true
		seen = make(map[string]int, len(u.found))
		for i := range u.found {
			key := u.found[i].key()
			seen[key] = before[key] + 1
			often = often && seen[key] >= steadySeen
		}
		if often || look == steadyLooks {
			break
		}
		if err := l.rest(ctx); err != nil {
			return err
		}
		if same, err := l.same(ctx); err != nil || same {
			return err
		}
		if err := l.again(ctx); err != nil {
			return err
		}
	}
	kept := make([]judged, 0, len(u.found))
	for _, f := range u.found {
		if seen[f.key()] >= steadySeen {
			kept = append(kept, f)
		}
	}
	u.found = kept
	return nil
}
