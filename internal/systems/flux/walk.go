package flux

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// walkCounts are the facts of a walk.
type walkCounts struct {
	Dirs    int64 `json:"dirs"`
	Keys    int64 `json:"keys"`     // entries that are not directories
	Refs    int64 `json:"refs"`     // blobrefs looked up
	Jobs    int64 `json:"jobs"`     // directories that hold an eventlog and a jobspec or J
	Damaged int64 `json:"damaged"`  // entries that something is wrong with, each directory counted once
	LostDir int64 `json:"lost_dir"` // of Damaged: a directory cannot be reached, or cannot be decoded by Flux
	Suspect int64 `json:"suspect"`  // job directories whose eventlog is in an order that cannot be; harmless in lost+found
}

func (c *walkCounts) merge(o walkCounts) {
	c.Dirs += o.Dirs
	c.Keys += o.Keys
	c.Refs += o.Refs
	c.Jobs += o.Jobs
	c.Damaged += o.Damaged
	c.LostDir += o.LostDir
	c.Suspect += o.Suspect
}

// reach is what a walk leaves behind: bitmaps over the entries of the index.
type reach struct {
	visited bitmap // directories that were read, by whatever path
	hurt    bitmap // directories with at least one damaged entry of their own
	notDir  bitmap // blobs that a dirref leads to and that are no directory, or that Flux cannot decode as a whole
	used    bitmap // blobs with wrong content that something refers to
	counts  walkCounts
}

func newReach(n int) *reach {
	return &reach{visited: newBitmap(n), hurt: newBitmap(n), notDir: newBitmap(n), used: newBitmap(n)}
}

// good tells whether the walk met no damage at all.
func (r *reach) good() bool { return r.counts.Damaged == 0 }

// walker visits every directory below its roots once, with several workers over one stack.
type walker struct {
	u    *unit
	r    *reach
	env  store.Env              // nil: no progress, no checkpoints
	stop func(*walkCounts) bool // ends the walk early: only the answer to a question is wanted

	mu     sync.Mutex
	wake   *sync.Cond
	stack  []uint32
	active int
	fresh  bool // something was visited since the last checkpoint
	err    error
	save   func() error // takes a checkpoint; called with mu held and no worker active
}

// walkBatch is how many directories a worker takes at a time. They are read in the order of the file.
const walkBatch = 64

// walk visits everything below the directories on the stack.
func (w *walker) walk(ctx context.Context, workers int) error {
	w.wake = sync.NewCond(&w.mu)
	stopWatch := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err == nil {
			w.err = ctx.Err()
		}
		w.wake.Broadcast()
	})
	defer stopWatch()
	var wg sync.WaitGroup
	for range max(1, workers) {
		wg.Go(func() { w.work(ctx) })
	}
	wg.Wait()
	return w.err
}

func (w *walker) work(ctx context.Context) {
	v := newDirVisitor(w.u)
	var batch, children []uint32
	for {
		batch = w.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		slices.SortFunc(batch, func(a, b uint32) int {
			pa, pb := w.u.idx.at(int(a)).where, w.u.idx.at(int(b)).where
			switch {
			case pa < pb:
				return -1
			case pa > pb:
				return 1
			}
			return 0
		})
		children = children[:0]
		var out batchResult
		out.children = children
		for _, n := range batch {
			if err := v.visit(int(n), &out); err != nil {
				out.err = err
				break
			}
		}
		if w.env != nil && out.err == nil {
			out.err = w.env.Did(ctx, int64(len(batch)), 0)
		}
		children = out.children
		w.give(&out)
	}
}

// take returns the next directories to visit, none when the walk is over.
func (w *walker) take(batch []uint32) []uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil {
		if w.save != nil && w.fresh && w.env.Due() {
			// Every other worker waits here or comes back soon; the last one to do so saves.
			if w.active == 0 {
				w.fresh = false
				if err := w.save(); err != nil {
					w.err = err
				}
				w.wake.Broadcast()
				continue
			}
			w.wake.Wait()
			continue
		}
		if n := len(w.stack); n > 0 {
			k := min(n, walkBatch)
			batch = append(batch, w.stack[n-k:]...)
			w.stack = w.stack[:n-k]
			w.active++
			return batch
		}
		if w.active == 0 {
			w.wake.Broadcast()
			return nil
		}
		w.wake.Wait()
	}
	w.wake.Broadcast()
	return nil
}

// batchResult is what the visit of some directories found.
type batchResult struct {
	children []uint32 // directories referred to, possibly visited already
	hurt     []uint32
	notDir   []uint32
	used     []uint32
	counts   walkCounts
	err      error
}

func (w *walker) give(b *batchResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active--
	w.fresh = true
	if b.err != nil && w.err == nil {
		w.err = b.err
	}
	for _, n := range b.hurt {
		w.r.hurt.set(int(n))
	}
	for _, n := range b.notDir {
		w.r.notDir.set(int(n))
	}
	for _, n := range b.used {
		w.r.used.set(int(n))
	}
	w.r.counts.merge(b.counts)
	w.push(b.children)
	if w.stop != nil && w.err == nil && w.stop(&w.r.counts) {
		w.err = errDamageMet
	}
	w.wake.Broadcast()
}

// push adds directories that were not seen before. mu is held, or no worker runs yet.
func (w *walker) push(dirs []uint32) {
	for _, n := range dirs {
		if !w.r.visited.has(int(n)) {
			w.r.visited.set(int(n))
			w.stack = append(w.stack, n)
		}
	}
}

// errDamageMet ends a walk that only asks whether a tree is good.
var errDamageMet = fmt.Errorf("damage met")

// dirVisitor looks at single directories for one goroutine.
type dirVisitor struct {
	u    *unit
	b    *blobReader
	scan treeobj.Scanner
	hash []byte
}

func newDirVisitor(u *unit) *dirVisitor { return &dirVisitor{u: u, b: newBlobReader(u)} }

// visit reads directory number n and looks at every entry. Only operational failures are errors.
func (v *dirVisitor) visit(n int, out *batchResult) error {
	content, err := v.b.content(n)
	if err != nil {
		return err
	}
	tree := v.scan.ParseDir(content)
	if !tree.IsDir() || tree.Broken || tree.Root.Rule != treeobj.RuleNone {
		out.notDir = append(out.notDir, uint32(n))
		out.counts.Damaged++
		out.counts.LostDir++
		return nil
	}
	out.counts.Dirs++
	if tree.Rejected > 0 {
		out.counts.LostDir++
	}
	var log, spec bool
	damaged := tree.BadOmitted
	for i := range tree.Entries {
		e := &tree.Entries[i]
		bad := v.entry(e, out)
		if bad {
			damaged++
		}
		if e.Depth == 0 {
			switch string(e.Name) {
			case "eventlog":
				log = e.Type == treeobj.TypeValref || e.Type == treeobj.TypeVal
			case "jobspec", "J":
				spec = true
			}
		}
	}
	if log && spec {
		out.counts.Jobs++
		if v.logOutOfOrder(tree) {
			out.counts.Suspect++
			out.hurt = append(out.hurt, uint32(n))
		}
	}
	if damaged > 0 {
		out.hurt = append(out.hurt, uint32(n))
		out.counts.Damaged += int64(damaged)
	}
	return nil
}

// entry looks up what one entry refers to and tells whether anything is wrong with it.
func (v *dirVisitor) entry(e *treeobj.Entry, out *batchResult) (bad bool) {
	if e.Type != treeobj.TypeDir && e.Type != treeobj.TypeDirref {
		out.counts.Keys++
	}
	if e.Rule != treeobj.RuleNone {
		return true
	}
	switch e.Type {
	case treeobj.TypeDirref:
		out.counts.Refs++
		n, have := v.lookup(e.Ref)
		switch {
		case n < 0:
			out.counts.LostDir++
			return true
		case !have.usable():
			out.used = append(out.used, uint32(n))
			out.counts.LostDir++
			bad = true
			if !v.u.readable(n) {
				return bad
			}
		}
		out.children = append(out.children, uint32(n))
	case treeobj.TypeValref:
		out.counts.Refs += int64(e.Count)
		e.EachRef(func(_ int, r treeobj.Ref) bool {
			n, have := v.lookup(r)
			switch {
			case n < 0:
				bad = true
			case !have.usable():
				out.used = append(out.used, uint32(n))
				bad = true
			}
			return true
		})
	}
	return bad
}

// readable tells whether the right content of row n can be had.
func (u *unit) readable(n int) bool {
	if u.idx.at(n).goodContent() {
		return true
	}
	_, ok := u.mended[uint32(n)]
	return ok
}

// lookup finds the row for r; n is -1 when there is none.
func (v *dirVisitor) lookup(r treeobj.Ref) (n int, e entry) {
	v.hash = r.AppendSum(v.hash[:0])
	if n = v.u.idx.find(v.hash); n >= 0 {
		e = v.u.idx.at(n)
	}
	return n, e
}

// logOutOfOrder judges the eventlog of a job directory by what the sweep remembers of its blobs.
func (v *dirVisitor) logOutOfOrder(tree *treeobj.Tree) bool {
	for i := range tree.Entries {
		e := &tree.Entries[i]
		if e.Depth != 0 || string(e.Name) != "eventlog" || e.Rule != treeobj.RuleNone || e.Type != treeobj.TypeValref {
			continue
		}
		var o jobOrder
		whole := true
		e.EachRef(func(_ int, r treeobj.Ref) bool {
			n, have := v.lookup(r)
			if n < 0 || !have.usable() {
				whole = false // damage of its own; reported as such
				return false
			}
			o.add(have)
			return true
		})
		return whole && o.bad
	}
	return false
}
