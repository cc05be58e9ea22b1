package lustre

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"fettle/internal/format/ext4"
	"fettle/internal/match"
	"fettle/internal/store"
)

// Names of files in the scratch directory.
const (
	claimsDir  = "claims"        // of the matcher
	damageFile = "damage.spool"  // findings of the sweep
	openFile   = "open.spool"    // groups that need to know where a directory is
	foundFile  = "found.spool"   // findings of the judges
	numberFile = "numbers.spool" // numbers of findings that may be causes
)

// sweepState is the checkpoint of the sweep; it is kept for the passes behind it as well.
type sweepState struct {
	Mark   match.Mark `json:"mark"`
	Lanes  []lane     `json:"lanes"`
	Counts []counts   `json:"counts"` // by place of the target
	Damage int64      `json:"damage"` // bytes of damageFile
	Harms  int64      `json:"harms"`  // findings in it

	Balance  []balance  `json:"balance"`  // by place of the target: object index and inodes
	Disputed []disputed `json:"disputed"` // likewise, once all was read
}

// counts are what the sweep met.
type counts struct {
	Inodes, Dirs, Names, Remote, Index, Masters, Shards, Blocks int64
}

func (c *counts) add(o counts) {
	c.Inodes += o.Inodes
	c.Dirs += o.Dirs
	c.Names += o.Names
	c.Remote += o.Remote
	c.Index += o.Index
	c.Masters += o.Masters
	c.Shards += o.Shards
	c.Blocks += o.Blocks
}

// lane is a part of one target that one goroutine sweeps: groups of inode tables with the directories in them, or the object index.
type lane struct {
	Target int    `json:"target"`
	Index  bool   `json:"index"` // the object index; File and Block say how far it was read
	Again  bool   `json:"again"` // only for claims of what is disputed
	File   int    `json:"file"`
	Block  uint64 `json:"block"`
	Group  uint32 `json:"group"` // the next inode is that of this group
	Inode  uint32 `json:"inode"` // and place in it
	At     uint32 `json:"at"`    // number of the last inode that was read
	End    uint32 `json:"end"`   // first group that does not belong to the lane
	Done   bool   `json:"done"`
}

// at is how far the sweep of a target came: everything up to that inode was read. 0 if nothing was.
func (s *sweepState) at(target int) uint32 {
	most := uint32(0)
	for i := range s.Lanes { // the lanes of a target are in the order of their inodes
		if l := &s.Lanes[i]; l.Target == target && !l.Index {
			if l.At > 0 {
				most = l.At
			}
			if !l.Done {
				break
			}
		}
	}
	return most
}

// lanes shares the targets among workers.
func (u *unit) lanes(workers int) []lane {
	per := max(1, workers/len(u.targets))
	var out []lane
	for i, t := range u.targets {
		groups := t.fs.Groups()
		n := min(uint32(per), groups)
		for k := range n {
			out = append(out, lane{Target: i, Group: uint32(uint64(groups) * uint64(k) / uint64(n)), End: uint32(uint64(groups) * uint64(k+1) / uint64(n))})
		}
		out = append(out, lane{Target: i, Index: true})
	}
	return out
}

// errPause ends a sweep over inodes early.
var errPause = errors.New("pause")

// sweeper is the running sweep.
type sweeper struct {
	*unit
	env     store.Env
	state   sweepState
	matcher *match.Matcher
	damage  *spool
	pause   atomic.Bool
	outer   context.Context // of the pass; lanes have one that a stop does not cancel
	batch   int             // directories of one batch
	mu      sync.Mutex
	harmed  map[harm]int // problems that were told, to tell each once per inode
	from    []uint32     // by place: where this life of the check began
	shown   time.Time    // when facts were last told
}

// harm is one kind of damage to one inode, or to one group.
type harm struct {
	Target int       `json:"target"`
	Inode  uint32    `json:"inode"`
	Kind   ext4.Kind `json:"kind"`
}

// maxHarm bounds how many damaged places are told, and remembered: a target of garbage has them by the million.
const maxHarm = 20000

// matchOptions says how claims are kept. A small file system needs few partitions; each may become a file.
func (u *unit) matchOptions(env store.Env, writers int) match.Options {
	o := match.Options{Dir: filepath.Join(env.Scratch(), claimsDir), Memory: env.Memory() / 2, Writers: writers, Partitions: 4}
	for claims := 3 * u.used(); int64(o.Partitions) < claims/10_000; {
		if o.Partitions *= 2; o.Partitions == 128 {
			o.Partitions = 0 // as many as suit the memory
			break
		}
	}
	return o
}

// used is how many inodes are in use on all targets.
func (u *unit) used() int64 {
	var total int64
	for _, t := range u.targets {
		total += t.used()
	}
	return total
}

// sweep is the first stage: it reads everything once.
func (u *unit) sweep(ctx context.Context, env store.Env) (err error) {
	for _, text := range u.unseen() {
		env.Unseen(text)
	}
	s := &sweeper{unit: u, env: env, harmed: map[harm]int{}}
	if err := s.begin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.damage.close(), s.matcher.Suspend()) }()
	env.Total(u.used(), 0)
	if s.state.Damage == 0 { // else it was done in an earlier life, or is done again: each is told once
		if err := s.ground(ctx); err != nil {
			return err
		}
	}
	for {
		open := s.open()
		if len(open) == 0 {
			break
		}
		if err := s.round(ctx, open); err != nil {
			return err
		}
		if len(s.open()) == 0 {
			s.dispute()
		}
		if err := s.checkpoint(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin starts anew or from the last checkpoint.
func (s *sweeper) begin() error {
	resumed, err := s.env.Load(&s.state)
	if err != nil {
		return err
	}
	if resumed = resumed && len(s.state.Balance) == len(s.targets); !resumed { // another version may have saved something else
		s.state = sweepState{Lanes: s.lanes(s.env.Workers()), Counts: make([]counts, len(s.targets)), Balance: make([]balance, len(s.targets))}
	}
	for i := range s.targets {
		s.from = append(s.from, s.state.at(i))
	}
	opts := s.matchOptions(s.env, len(s.state.Lanes))
	if resumed {
		s.matcher, err = match.Resume(opts, s.state.Mark)
	} else if err = clearDir(opts.Dir); err == nil {
		s.matcher, err = match.New(opts)
	}
	if err != nil {
		return fmt.Errorf("prepare to gather claims: %w", err)
	}
	if s.damage, err = openSpool(filepath.Join(s.env.Scratch(), damageFile), s.state.Damage); err != nil {
		return errors.Join(err, s.matcher.Close())
	}
	if err := s.recall(); err != nil {
		return errors.Join(err, s.damage.close(), s.matcher.Close())
	}
	s.facts()
	s.batch = int(max(s.env.Memory()/4/int64(len(s.state.Lanes))/batchCost, 256))
	return nil
}

// open lists the lanes that are not at their end.
func (s *sweeper) open() []*lane {
	var out []*lane
	for i := range s.state.Lanes {
		if !s.state.Lanes[i].Done {
			out = append(out, &s.state.Lanes[i])
		}
	}
	return out
}

// round runs lanes until all are at a point at which a checkpoint can be taken. When ctx is done they come to such a point as well,
// so that a check that is stopped loses nothing.
func (s *sweeper) round(ctx context.Context, open []*lane) error {
	s.pause.Store(false)
	s.outer = ctx
	g, ctx := errgroup.WithContext(context.WithoutCancel(ctx))
	g.SetLimit(max(s.env.Workers(), 1))
	for _, l := range open {
		g.Go(func() error {
			if s.pause.Load() {
				return nil // it was not begun: it goes on in the next round
			}
			r, err := s.newRunner(ctx, l)
			if err != nil {
				return err
			}
			if l.Index {
				err = r.sweepIndex()
			} else {
				err = r.sweepInodes()
			}
			r.tally()
			s.mu.Lock()
			s.state.Balance[l.Target].add(&r.balance)
			s.mu.Unlock()
			return errors.Join(err, r.w.Close())
		})
	}
	return g.Wait()
}

// checkpoint makes what was read so far durable.
func (s *sweeper) checkpoint() error {
	mark, err := s.matcher.Checkpoint()
	if err != nil {
		return fmt.Errorf("checkpoint of the claims: %w", err)
	}
	if s.state.Damage, err = s.damage.sync(); err != nil {
		return err
	}
	s.state.Mark = mark
	s.facts()
	if err := saveJSON(filepath.Join(s.env.Scratch(), sweptFile), s.state); err != nil {
		return err
	}
	return s.env.Save(s.state)
}

// report takes note of damage to the file system below. It becomes a finding of its own: names behind a damaged entry are lost.
func (s *sweeper) report(target int) ext4.Report {
	return func(p ext4.Problem) {
		s.mu.Lock()
		defer s.mu.Unlock()
		h := harm{target, p.Inode, p.Kind}
		if p.Inode == 0 {
			if h.Inode = p.Group; p.Group > 0 && !s.room(target, p.Kind) { // groups are told by number
				return
			}
		}
		if s.harmed[h] > 0 || len(s.harmed) >= maxHarm {
			return
		}
		s.harmed[h]++
		d := s.harmDraft(target, p)
		d.Harm = &h
		s.damage.put(d)
		s.state.Harms++
	}
}

// maxGroupHarm bounds how many groups of a target are told of for each kind of damage: a superblock that claims too much makes millions.
const maxGroupHarm = 100

// room tells whether one more group is told of.
func (s *sweeper) room(target int, kind ext4.Kind) bool {
	h := harm{target, 1<<32 - 1, "groups with " + kind}
	s.harmed[h]++
	return s.harmed[h] <= maxGroupHarm
}

// recall reads what was told in earlier lives, so that it is not told again.
func (s *sweeper) recall() error {
	return eachLine(s.damage.f, segment{Len: s.state.Damage}, func(line []byte) error {
		var d draft
		if err := json.Unmarshal(line, &d); err != nil {
			return fmt.Errorf("read a finding: %w", err)
		}
		if d.Harm != nil {
			s.harmed[*d.Harm]++
		}
		return nil
	})
}

// facts shows what was met: in all, for people, and for each MDT, for LFSCK's counters. No lane is at work, or mu is held.
func (s *sweeper) facts() {
	s.shown = time.Now()
	var c counts
	byMDT := map[string]swept{}
	for i, t := range s.targets {
		n := s.state.Counts[i]
		c.add(n)
		byMDT[t.name()] = swept{Inodes: n.Inodes, Dirs: n.Dirs, Masters: n.Masters, Shards: n.Shards, At: s.state.at(i), From: s.from[i]}
	}
	s.env.Fact(factSwept, byMDT)
	for _, f := range []struct {
		name string
		n    int64
	}{{"inodes", c.Inodes}, {"directories", c.Dirs}, {"names", c.Names}, {"remote_names", c.Remote}, {"index_entries", c.Index}} {
		s.env.Fact(f.name, f.n)
	}
	s.env.Fact("mdts", len(s.targets))
}
