package flux

import (
	"context"
	"slices"
	"sync"

	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// indexState is the result of comparing the unique index on objects.hash with the table.
type indexState struct {
	Missing bool   `json:"missing"` // there is no index at all
	Agrees  bool   `json:"agrees"`
	Entries int64  `json:"entries"`
	Sum     uint64 `json:"sum"`
	// Filled only when they do not agree.
	Lost      []string `json:"lost,omitempty"` // blobrefs that the index names and the table does not have, the first maxLost
	LostCount int64    `json:"lost_count"`
	Unindexed int64    `json:"unindexed"` // rows that Flux cannot find, because no entry leads to them
	BadPages  int64    `json:"bad_pages"`
}

// maxLost bounds the list of lost rows that is kept for the findings.
const maxLost = 100000

// checkIndex compares the index with what the sweep saw: first by a sum over all entries, which costs next to nothing,
// and only if that differs entry by entry.
func (u *unit) checkIndex(ctx context.Context, env store.Env) error {
	if ok, err := u.loadResult(ctx, env.Scratch(), "index", &u.indexed); err != nil || ok {
		return err
	}
	if err := u.ensureIndex(ctx, env); err != nil {
		return err
	}
	if u.index == nil {
		u.indexed = indexState{Missing: u.objectsRoot != 0 && u.indexRoot == 0}
		return u.saveResult(ctx, env.Scratch(), "index", u.indexed)
	}
	st := indexState{}
	c := indexWalker{u: u, env: env}
	env.Total(0, int64(u.index.Leaves.Count()+u.index.Interior.Count())*int64(u.file.PageSize()))
	type tally struct{ entries, sum uint64 }
	var tallies []*tally
	err := c.run(ctx, func() visitor {
		t := &tally{}
		tallies = append(tallies, t)
		return func(hash []byte, blob bool, rowid int64) {
			t.entries++
			t.sum += pairSum(hash, blob, rowid)
		}
	})
	if err != nil {
		return err
	}
	for _, t := range tallies {
		st.Entries += int64(t.entries)
		st.Sum += t.sum
	}
	st.BadPages = c.bad
	st.Agrees = st.Sum == u.counts.TableSum && st.Entries == u.counts.Rows-u.counts.Salvaged && c.bad == 0 && len(u.indexBad) == 0
	if !st.Agrees {
		if err := c.differ(ctx, &st); err != nil {
			return err
		}
	}
	u.indexed = st
	return u.saveResult(ctx, env.Scratch(), "index", st)
}

// indexWalker goes over all entries of the index, leaf and interior, in physical order, with several goroutines.
type indexWalker struct {
	u   *unit
	env store.Env
	bad int64 // pages or entries that could not be read
}

// visitor is called for each entry of one goroutine's part of the index.
type visitor func(hash []byte, blob bool, rowid int64)

// run calls the visitors that fn makes, one per goroutine.
func (c *indexWalker) run(ctx context.Context, fn func() visitor) error {
	pages := c.u.file.PageCount()
	workers := uint32(max(1, c.env.Workers()))
	var (
		mu    sync.Mutex
		first error
		wg    sync.WaitGroup
	)
	c.bad = 0
	for w := range workers {
		from, to := uint32(uint64(pages)*uint64(w)/uint64(workers))+1, uint32(uint64(pages)*uint64(w+1)/uint64(workers))
		visit := fn()
		wg.Go(func() {
			bad, err := c.part(ctx, from, to, visit)
			mu.Lock()
			defer mu.Unlock()
			c.bad += bad
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return first
}

// part visits the index pages from..to, both included.
func (c *indexWalker) part(ctx context.Context, from, to uint32, visit visitor) (bad int64, err error) {
	if from > to {
		return 0, nil
	}
	r := c.u.file.NewReader(indexWindow)
	var row sqlitefile.Row
	var done int64
	page := func(n uint32) bool {
		if done++; done&63 == 0 {
			if err = c.env.Did(ctx, 0, 64*int64(c.u.file.PageSize())); err != nil {
				return false
			}
		}
		leaf, e := r.Leaf(n)
		if e != nil {
			bad++
			return true
		}
		for i := 0; i < leaf.Len(); i++ {
			if e := r.Entry(leaf, i, &row); e != nil || len(row.Cols) != 2 || row.Cols[1].Kind != sqlitefile.Int || len(row.Cols[0].B) < treeobj.SHA1Size {
				bad++
				continue
			}
			visit(row.Cols[0].B, row.Cols[0].Kind == sqlitefile.Blob, row.Cols[1].I)
		}
		return true
	}
	c.u.index.Leaves.Range(from, to, page)
	if err == nil {
		c.u.index.Interior.Range(from, to, page)
	}
	return bad, err
}

// indexWindow is how much of the file is read at once, in bytes: index pages lie scattered among the others.
const indexWindow = 16 << 10

// differ lists what is on one side only.
func (c *indexWalker) differ(ctx context.Context, st *indexState) error {
	seen := newBitmap(c.u.idx.n)
	var mu sync.Mutex
	visit := func(hash []byte, _ bool, _ int64) {
		mu.Lock()
		defer mu.Unlock()
		n := -1
		if len(hash) == treeobj.SHA1Size || len(hash) == treeobj.SHA256Size {
			n = c.u.idx.find(hash)
		}
		if n >= 0 {
			seen.set(n)
			return
		}
		st.LostCount++
		if ref, err := treeobj.RefFromHash(hash); err == nil && len(st.Lost) < maxLost {
			st.Lost = append(st.Lost, ref.String())
		}
	}
	if err := c.run(ctx, func() visitor { return visit }); err != nil {
		return err
	}
	slices.Sort(st.Lost) // the goroutines meet them in no fixed order
	for n := 0; n < c.u.idx.n; n++ {
		if !seen.has(n) && !c.u.idx.at(n).has(flagSalvaged|flagDuplicate) {
			st.Unindexed++
		}
	}
	return nil
}
