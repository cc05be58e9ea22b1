package flux

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
	"fettle/internal/store/wholefile"
)

// PutState makes sure that the sound store at path knows what s knows: it writes checkpoint.resource when the drained nodes
// of the tree are other ones, and checkpoint.job-manager when its ids are lower. It returns the keys that were written.
//
// The store is written to without a journal of fettle's own, so it must be a file that is not yet in use by anybody.
// A -wal beside it is moved into the database, whatever else is done.
func PutState(ctx context.Context, path, work string, s *State, now time.Time) (written []string, err error) {
	u, err := openUnit(path, options{})
	if err != nil {
		return nil, err
	}
	defer u.file.Close()
	if err := u.analyse(ctx, work, 2); err != nil {
		return nil, err
	}
	if len(u.roots) == 0 {
		return nil, errors.New("put state: the store has no root")
	}
	p := &planner{ctx: ctx, u: u, now: now, root: u.roots[0].ref, outcomes: map[int]store.Outcome{}, rows: map[string]store.Change{}}
	p.w = newRewriter(u, u.algorithm())
	values, err := stateToPut(u, p.root, s, unixSeconds(now))
	if err != nil {
		return nil, err
	}
	for _, key := range []string{keyResourceState, keyJobManager} {
		if values[key] == nil {
			continue
		}
		if err := p.putKey(key, p.valueOf(values[key])); err != nil {
			return nil, fmt.Errorf("put %s: %w", key, err)
		}
		written = append(written, key)
	}
	if len(written) > 0 {
		p.newRoot = true
		if err := p.newCheckpoint(); err != nil {
			return nil, err
		}
		if err := p.newBlobs(); err != nil {
			return nil, err
		}
	}
	p.foldWAL = u.file.WAL().Exists
	prop, err := p.proposal()
	if err != nil {
		return nil, err
	}
	return written, u.carryOut(ctx, work, prop.Steps)
}

// putKey sets a key of two names in the new tree, replacing what has its name.
func (p *planner) putKey(key string, raw []byte) error {
	names := treeobj.SplitKey(key)
	rootEntry, err := treeobj.NewDirref(p.root)
	if err != nil {
		return err
	}
	top, err := p.w.openForAdding(rootEntry)
	if err != nil {
		return err
	}
	have, ok := top.Get(names[0])
	if !ok || !isDirObject(have) {
		have = nil
	}
	dir, err := p.w.openForAdding(have)
	if err != nil {
		return err
	}
	if err := dir.Set(names[1], raw); err != nil {
		return err
	}
	sub, err := treeobj.NewDirref(p.w.store(dir.Marshal()))
	if err != nil {
		return err
	}
	if err := top.Set(names[0], sub); err != nil {
		return err
	}
	p.root = p.w.store(top.Marshal())
	return nil
}

// carryOut makes steps true on a file that nobody else uses.
func (u *unit) carryOut(ctx context.Context, work string, steps []store.Step) (err error) {
	for _, step := range steps {
		w, err := u.OpenWriter(ctx, work)
		if err != nil {
			return err
		}
		raw, err := w.Lower(ctx, step)
		for i := 0; err == nil && i < len(raw); i++ {
			err = w.Write(ctx, raw[i])
		}
		if err == nil {
			err = w.Sync(ctx)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("%s: %w", step.Title, err)
		}
	}
	return nil
}

// stateToPut compares what the tree says with s.
func stateToPut(u *unit, root treeobj.Ref, s *State, now float64) (map[string][]byte, error) {
	out := map[string][]byte{}
	k := newKVS(u, root)
	var mine State
	mine.addDrains(k)
	if !sameDrains(mine.Drains().Nodes(), s.Drains().Nodes()) {
		v, err := s.resource(now)
		if err != nil {
			return nil, err
		}
		out[keyResourceState] = v
	}
	have := highestBelow(k, "job").Usable(0)
	value, ok := k.value(keyJobManager)
	if ok {
		if c, err := eventlog.ParseJobManagerCheckpoint(value); err == nil {
			have = max(have, c.MaxJobID.Usable(0))
		} else {
			ok = false
		}
	}
	if have < s.HighestJob || !ok && s.Queues != nil {
		merged := State{HighestJob: max(have, s.HighestJob), Queues: s.Queues}
		if ok {
			merged.Queues = value
		}
		out[keyJobManager] = merged.jobManager()
	}
	return out, nil
}

// sameDrains compares host, reason and time. Times are kept in whole seconds by checkpoint.resource.
func sameDrains(a, b []eventlog.Drained) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Host != b[i].Host || a[i].Reason != b[i].Reason || math.Abs(a[i].Timestamp-b[i].Timestamp) > 1 {
			return false
		}
	}
	return true
}

// GiveOwner gives path the owner of the file or directory like, where we may: Flux runs as its own user and must be able to
// use what root leaves behind.
func GiveOwner(like, path string) error {
	fi, err := os.Stat(like)
	if err != nil {
		return err
	}
	wholefile.SameOwner(fi, path)
	return nil
}

// highestBelow follows the greatest name of each level. Where a directory cannot be read its prefix bounds the id.
func highestBelow(k *kvs, top string) fluid.ID {
	raw, err := k.entry(top)
	if err != nil {
		return 0
	}
	var groups []uint16
	for len(groups) < 4 {
		children, err := k.list(raw)
		if err != nil {
			if len(groups) == 0 {
				return 0 // nothing is known of a job directory that is lost at the top
			}
			return fluid.UpperBound(groups...)
		}
		best := -1
		var group uint16
		for i, c := range children {
			if g, ok := fluid.Group(c.name); ok && (best < 0 || g >= group) {
				best, group = i, g
			}
		}
		if best < 0 {
			break
		}
		groups = append(groups, group)
		raw = children[best].raw
	}
	if len(groups) == 0 {
		return 0
	}
	for len(groups) < 4 {
		groups = append(groups, 0)
	}
	return fluid.UpperBound(groups...)
}
