package match

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"fettle/internal/claim"
)

// Group is all claims about one subject. It and everything it points to is valid
// only until the callback it was passed to returns; Clone what must stay.
type Group struct {
	Subject   claim.Subject
	Partition int   // it was found in
	Len       int64 // number of claims, at least 1

	// Claims are the claims in the order of claim.CompareWithin, hence the same
	// in every run. nil when Huge.
	Claims []claim.Claim

	// Huge says that the claims take more than 1/128 of the memory budget (2 MiB
	// by default, about 18 000 ordinary claims). They are to be had from All only,
	// in no particular order. It depends on the claims and the budget alone.
	Huge bool

	source *hugeSource
}

// All iterates over the claims, of a Huge group too. It may be called any number
// of times; each iteration of a Huge group reads the claims again, from the spill
// file if they are there, in constant memory. An error ends the iteration, and makes
// Groups fail even when the callback ignores it. A claim is valid until the next
// one.
func (g Group) All() iter.Seq2[claim.Claim, error] {
	return func(yield func(claim.Claim, error) bool) {
		if !g.Huge {
			for _, c := range g.Claims {
				if !yield(c, nil) {
					return
				}
			}
			return
		}
		if err := g.source.each(yield); err != nil {
			yield(claim.Claim{}, err)
		}
	}
}

// Pass says how Groups is to go about it. The zero value is a parallel pass over
// everything.
type Pass struct {
	// Workers is how many partitions are worked on at the same time; 0 means
	// GOMAXPROCS. Fewer are used when the memory budget is too small for that many.
	Workers int
	// Ordered makes all calls one after the other, in partition order. Loading and
	// sorting still happen in parallel. Without it groups of one partition come in
	// order from one goroutine, but partitions overlap.
	Ordered bool
	// Done are the partitions to skip.
	Done Done
	// PartitionDone, when not nil, is called after the last group of each partition
	// not in Done, from the goroutine that handled its groups. An error ends Groups.
	PartitionDone func(partition int) error
}

// Groups calls fn for every subject with all claims about it. fn may be called
// from several goroutines at once (see Pass). It returns when all calls have
// returned: nil, or the first error of fn, of PartitionDone, of ctx or of reading,
// after which no new call starts. It may be called again, and more claims may be
// added afterwards. No Writer may be in use meanwhile.
func (m *Matcher) Groups(ctx context.Context, pass Pass, fn func(Group) error) error {
	if err := m.usable(); err != nil {
		return err
	}
	if err := m.flushWriters(); err != nil {
		return err
	}
	sh := m.plan.shareOut(pass.Workers)
	if err := m.spillLarge(sh); err != nil {
		return err
	}
	m.pool.drop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{m: m, ctx: ctx, pass: pass, fn: fn, turns: make([]chan struct{}, len(m.parts))}
	for i := range r.turns {
		r.turns[i] = make(chan struct{})
	}
	arena, claims := m.largest(sh)
	var wg sync.WaitGroup
	for range sh.workers {
		w := &worker{run: r, share: sh, arenaLen: arena, entries: claims}
		wg.Go(func() { w.work(cancel) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// spillLarge sends everything to files when a partition in memory has more claims
// than a worker can sort, since splitting works on files.
func (m *Matcher) spillLarge(sh share) error {
	for i := range m.parts {
		if p := &m.parts[i]; !p.spilled && p.claims > sh.claims {
			return m.spill()
		}
	}
	return nil
}

// largest is what a worker will need: the length of the largest partition file and
// the most claims of any partition, within its share.
func (m *Matcher) largest(sh share) (arena, claims int64) {
	for i := range m.parts {
		p := &m.parts[i]
		claims = max(claims, p.claims)
		if p.file == nil {
			continue
		}
		arena = max(arena, p.file.size)
		if !sh.fits(p.file) { // it will be split, through the arena, into files of any size
			return sh.arena, sh.claims
		}
	}
	return arena, claims
}

func (sh share) fits(f *spillFile) bool { return f.size <= sh.arena && f.claims <= sh.claims }

// run is one call of Groups.
type run struct {
	m    *Matcher
	ctx  context.Context
	pass Pass
	fn   func(Group) error
	next atomic.Int64 // partition to take

	// turns[i] is closed when partition i is finished. Partitions are taken in
	// order, so the lowest unfinished one never waits and Ordered cannot deadlock.
	turns []chan struct{}
}

// worker handles one partition after another, reusing its buffers.
type worker struct {
	*run
	share
	arenaLen, entries int64 // sizes to allocate arena and refs with

	part    int  // partition at hand
	myTurn  bool // its groups may be passed on
	groups  uint // since the start, to look at ctx now and then
	arena   []byte
	window  []byte
	leaf    leaf
	decoded []claim.Claim
	large   block // for claims longer than a block, when splitting
	touched byte  // see leaf.touch
}

// errGone is the cause when fn ends its goroutine (runtime.Goexit).
var errGone = errors.New("match: the callback ended its goroutine")

func (w *worker) work(cancel context.CancelCauseFunc) {
	err := errGone
	defer func() {
		if err != nil {
			cancel(err)
		}
	}()
	err = w.all()
}

func (w *worker) all() error {
	for {
		i := int(w.next.Add(1)) - 1
		if i >= len(w.m.parts) {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		w.part, w.myTurn = i, false
		if !w.pass.Done.Has(i) {
			if err := w.partition(); err != nil {
				return err
			}
		}
		if err := w.turn(); err != nil {
			return err
		}
		if w.pass.PartitionDone != nil && !w.pass.Done.Has(i) {
			if err := w.pass.PartitionDone(i); err != nil {
				return fmt.Errorf("after partition %d: %w", i, err)
			}
		}
		close(w.turns[i])
	}
}

// turn waits, in an Ordered pass, until all earlier partitions are finished.
func (w *worker) turn() error {
	if w.myTurn {
		return nil
	}
	if w.pass.Ordered && w.part > 0 {
		select {
		case <-w.turns[w.part-1]:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	w.myTurn = true
	return nil
}

// partition passes on all groups of w.part.
func (w *worker) partition() error {
	p := &w.m.parts[w.part]
	lo := uint64(w.part) << w.m.shift
	r := keyRange{lo: lo, hi: lo | (1<<w.m.shift - 1)}
	switch {
	case p.claims == 0:
		return nil
	case p.file != nil:
		return w.file(p.file, r)
	}
	return w.memory(p, r)
}

// pass on one group, of claims the caller has put into g.
func (w *worker) emit(g Group) error {
	if err := w.turn(); err != nil {
		return err
	}
	if w.groups++; w.groups%256 == 0 && w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	g.Partition = w.part
	if err := w.fn(g); err != nil {
		return err
	}
	if g.source != nil {
		return g.source.err
	}
	return nil
}

// hugeSource reads the claims of a Huge group. Encoded claims come from walk.
type hugeSource struct {
	ctx  context.Context
	walk func(fn func(enc []byte) error) error
	err  error // of any iteration
}

// each yields every claim, and returns an error unless yield asked to stop.
func (s *hugeSource) each(yield func(claim.Claim, error) bool) error {
	n := 0
	err := s.walk(func(enc []byte) error {
		if n++; n%1024 == 0 && s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		c, _, err := claim.Decode(enc)
		if err != nil {
			return err
		}
		if !yield(c, nil) {
			return errStop
		}
		return nil
	})
	if err == errStop {
		return nil
	}
	if err != nil && s.err == nil {
		s.err = err
	}
	return err
}
