package devmapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/boltedit"
	"fettle/internal/format/boltfile"
	"fettle/internal/store"
	"fettle/internal/store/wholefile"
)

// Addresses of whole bolt files in a plan; the record before is a wholefile.Record.
const (
	wholeAddr   = "file:"
	wholeAnew   = wholeAddr + "anew"   // written anew from what can be read and proven
	wholeMended = wholeAddr + "mended" // its damaged meta page written again
)

// wholeOrder is the record of a file afterwards: what was asked for.
type wholeOrder struct {
	How string `json:"how"`
}

// fileChanges are the changes of whole bolt files. A file that is written anew is tried out, for what can be had back of it.
func (p *planner) fileChanges(ctx context.Context) ([]store.Change, error) {
	var out []store.Change
	for _, path := range []string{p.u.meta, p.u.layout.store, p.u.layout.pool} {
		t := p.target(path)
		addr, note := "", ""
		switch {
		case path == "":
			continue
		case p.rebuild[t]:
			addr, note = wholeAnew, "write "+t+" anew"
			if err := p.tryRebuild(ctx, path); err != nil {
				return nil, err
			}
		case p.mend[t]:
			addr, note = wholeMended, "write the damaged meta page of "+t+" again"
		default:
			continue
		}
		rec, err := wholefile.Describe(path)
		if err != nil {
			return nil, err
		}
		how, err := json.Marshal(wholeOrder{addr[len(wholeAddr):]})
		if err != nil {
			return nil, err
		}
		out = append(out, store.Change{Target: t, Addr: addr, Before: rec.Bytes(), After: how, Note: note})
	}
	return out, nil
}

func (p *planner) tryRebuild(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp(p.work, "bolt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := p.u.rebuildBolt(ctx, path, filepath.Join(dir, filepath.Base(path)))
	if err != nil {
		return fmt.Errorf("try to write %s anew: %w", filepath.Base(path), err)
	}
	p.notes = append(p.notes, r.notes()...)
	p.loss += int64(len(r.lost))
	return nil
}

// lowerRebuild makes a new file beside the old one, and the swap of the two.
func (w *writer) lowerRebuild(ctx context.Context, target string, c store.Change) ([]store.Change, error) {
	path := w.paths[target]
	before, err := wholefile.Describe(path)
	if err != nil {
		return nil, err
	}
	if string(before.Bytes()) != string(c.Before) {
		return nil, fmt.Errorf("%s is not as the plan says; make a new plan", target)
	}
	if err := clearBuild(path); err != nil {
		return nil, err
	}
	if c.Addr == wholeMended {
		err = boltedit.MendMeta(ctx, path, buildPath(path))
	} else {
		_, err = w.u.rebuildBolt(ctx, path, buildPath(path))
	}
	if err != nil {
		return nil, errors.Join(err, clearBuild(path)) // nothing half made stays beside containerd's files
	}
	after, err := w.shelf.AdoptBuilt(buildPath(path), path)
	if err != nil {
		return nil, err
	}
	return []store.Change{{Target: target, Addr: rawFile, Before: before.Bytes(), After: after.Bytes(), Note: "the old file is kept beside it"}}, nil
}

// recovered says what became of the records of a file that was written anew.
type recovered struct {
	target   string
	read     int      // keys that the tree still leads to
	salvaged []string // records found on pages that it does not lead to
	proven   []string // records that the other layers prove
	lost     []string // records that must have been there
}

func (r *recovered) notes() []string {
	out := []string{fmt.Sprintf("%s: %d keys are read, %d records salvaged from lost pages, %d proven by the other layers, %d lost", r.target, r.read, len(r.salvaged), len(r.proven), len(r.lost))}
	for _, l := range []struct {
		what string
		list []string
	}{{"salvaged", r.salvaged}, {"proven", r.proven}, {"LOST", r.lost}} {
		for i, s := range l.list {
			if i == maxCompared {
				out = append(out, fmt.Sprintf("%d more %s", len(l.list)-i, l.what))
				break
			}
			out = append(out, l.what+": "+s)
		}
	}
	return out
}

// rebuildBolt writes a new file from every record that can be read, salvaged or proven. Proof is made as for any repair: the new file
// is judged beside the other layers, and what a plan would recreate in it is put in.
func (u *unit) rebuildBolt(ctx context.Context, path, to string) (*recovered, error) {
	f, err := boltfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fresh := &unit{layout: u.layout, opts: u.opts, locked: true, active: u.active}
	defer fresh.close()
	if err := fresh.analyse(ctx); err != nil {
		return nil, err
	}
	r := &recovered{target: filepath.Base(path)}
	s := &salvager{u: fresh, f: f, path: path, r: r}
	opts := boltedit.BuildOptions{NoFreelistSync: path == u.meta, PageSize: pageSizeOf(f)}
	if err := boltedit.Build(ctx, to, opts, s.fill(ctx)...); err != nil {
		return nil, err
	}
	return r, fresh.complete(ctx, path, to, r)
}

// pageSizeOf is the page size of the old file, 0 (the machine's) when it cannot be told.
func pageSizeOf(f *boltfile.File) int {
	if m, ok := f.Current(); ok {
		return int(m.PageSize)
	}
	return 0
}

// complete puts into the new file what the other layers prove that it must hold.
func (u *unit) complete(ctx context.Context, path, to string, r *recovered) error {
	// The thin metadata is not written meanwhile, and reading it takes longest.
	n := &unit{layout: u.layout, opts: u.opts, locked: true, given: u.thin}
	for _, at := range []*string{&n.layout.meta, &n.layout.store, &n.layout.pool} {
		if *at == path {
			*at = to
		}
	}
	defer n.close()
	n.layout.live = false
	// What refers to a record that was put in can be proven only then, so some rounds may be needed: one for each level of parents at most.
	for range maxRounds {
		n.forget()
		if err := n.analyse(ctx); err != nil {
			return err
		}
		more, err := n.putProven(ctx, to, r)
		if err != nil {
			return err
		}
		if more == 0 {
			break
		}
	}
	r.lost = n.stillLost(to)
	return nil
}

// wanted says which findings of a file that was written anew are cured at once, and how.
func (u *unit) wanted(to string, class string) (finding.Action, bool) {
	by := map[string]map[string]finding.Action{
		u.layout.pool:  {NoDevice: finding.Recreate, IDStateWrong: finding.Rewrite, SequenceBehind: RaiseSequence, UnknownInPool: RaiseSequence},
		u.layout.store: {DanglingBackend: finding.Recreate, ParentMissing: finding.Recreate, BacklinkMissing: finding.Rewrite, BacklinkStale: finding.Rewrite, SequenceBehind: RaiseSequence},
		u.layout.meta:  {MetaParentMissing: finding.Recreate, ContainerDangling: finding.Recreate, ChildMissing: finding.Rewrite, Unreferenced: finding.Recreate},
	}
	a, ok := by[to][class]
	return a, ok
}

// putProven makes one round, and says how many findings it cured.
func (u *unit) putProven(ctx context.Context, to string, r *recovered) (int, error) {
	p, err := u.newPlanner(ctx, filepath.Dir(to))
	if err != nil {
		return 0, err
	}
	defer p.close()
	cured := 0
	for i := range p.found {
		f := &p.found[i]
		a, ok := u.wanted(to, f.Class)
		if !ok {
			continue
		}
		var unproven *leftError
		switch _, _, err := p.try(f, a); {
		case errors.As(err, &unproven):
			continue
		case err != nil:
			return 0, err
		}
		cured++
		if a == finding.Recreate {
			r.proven = append(r.proven, f.Subject)
		}
	}
	if err := p.finish(); err != nil {
		return 0, err
	}
	var mine []store.Change
	for _, c := range p.e.changes() {
		if c.Target == filepath.Base(to) {
			mine = append(mine, c)
		}
	}
	if len(mine) == 0 {
		return 0, nil
	}
	return cured, boltedit.Update(ctx, to, func(tx *bbolt.Tx) error {
		for _, c := range mine {
			place, err := parseBoltAddr(c.Addr)
			if err != nil {
				return err
			}
			if err := clearPlace(tx, place); err != nil {
				return err
			}
			if err := txWrite(tx, place, c.After); err != nil {
				return fmt.Errorf("%s: %w", c.Addr, err)
			}
		}
		return nil
	})
}

// clearPlace removes a bucket that stands where a value is to be: a flag of the element was damaged.
func clearPlace(tx *bbolt.Tx, p boltPlace) error {
	b := txBucket(tx, p.buckets, false)
	if b == nil || p.key == nil || b.Bucket(p.key) == nil {
		return nil
	}
	return b.DeleteBucket(p.key)
}

// stillLost names what the other layers say that the new file lacks.
func (u *unit) stillLost(to string) []string {
	var out []string
	for i := range u.found {
		f := &u.found[i]
		if a, ok := u.wanted(to, f.Class); ok && a == finding.Recreate {
			out = append(out, f.Class+" "+f.PathOr(f.Subject))
		}
	}
	return out
}

// newPlanner is a planner on the present evidence that nobody has decided anything for.
func (u *unit) newPlanner(ctx context.Context, work string) (*planner, error) {
	p := &planner{u: u, work: work, e: newEdits(), after: newEdits(), drop: map[uint32]string{}, rebuild: map[string]bool{}, mend: map[string]bool{},
		outcomes: map[int]*store.Outcome{}, gone: map[string]bool{}, dropped: map[string]bool{}, unlinked: map[int]bool{}, again: map[int]bool{},
		entered: map[nsKey]newEntry{}, newIDs: map[int]uint64{}}
	p.e.trail, p.after.trail = &p.trail, &p.trail
	p.judge = newJudge(ctx, join(u.ev))
	p.judge.all()
	for _, path := range []string{u.layout.meta, u.layout.store, u.layout.pool} {
		for _, e := range []*edits{p.e, p.after} {
			if err := e.open(path); err != nil {
				p.close()
				return nil, &fault.Error{Op: "open", Where: path, Err: err}
			}
		}
	}
	return p, nil
}

func (p *planner) close() {
	p.e.close()
	p.after.close()
}

// maxRounds bounds the rounds of proof. containerd allows 127 layers above each other.
const maxRounds = 256
