package flux

import (
	"context"

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
	if u.indexRoot == 0 {
		u.indexed = indexState{Missing: u.objectsRoot != 0}
		return u.saveResult(ctx, env.Scratch(), "index", u.indexed)
	}
	st := indexState{}
	c := indexWalker{u: u, env: env}
	env.Total(0, int64(u.index.Leaves.Count()+u.index.Interior.Count())*int64(u.file.PageSize()))
	c.fn = func(hash []byte, blob bool, rowid int64) {
		st.Entries++
		st.Sum += pairSum(hash, blob, rowid)
	}
	if err := c.run(ctx); err != nil {
		return err
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

// indexWalker goes over all entries of the index, leaf and interior, in physical order.
type indexWalker struct {
	u   *unit
	env store.Env
	fn  func(hash []byte, blob bool, rowid int64)
	bad int64 // pages or entries that could not be read
}

func (c *indexWalker) run(ctx context.Context) error {
	c.bad = 0
	r := c.u.file.NewReader(sweepWindow)
	var row sqlitefile.Row
	var err error
	page := func(n uint32) bool {
		if err = c.env.Did(ctx, 0, int64(c.u.file.PageSize())); err != nil {
			return false
		}
		leaf, e := r.Leaf(n)
		if e != nil {
			c.bad++
			return true
		}
		for i := 0; i < leaf.Len(); i++ {
			if e := r.Entry(leaf, i, &row); e != nil || len(row.Cols) != 2 || row.Cols[1].Kind != sqlitefile.Int || len(row.Cols[0].B) < treeobj.SHA1Size {
				c.bad++
				continue
			}
			c.fn(row.Cols[0].B, row.Cols[0].Kind == sqlitefile.Blob, row.Cols[1].I)
		}
		return true
	}
	c.u.index.Leaves.Range(1, 0, page)
	if err == nil {
		c.u.index.Interior.Range(1, 0, page)
	}
	return err
}

// differ lists what is on one side only.
func (c *indexWalker) differ(ctx context.Context, st *indexState) error {
	seen := newBitmap(c.u.idx.n)
	c.fn = func(hash []byte, _ bool, _ int64) {
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
	if err := c.run(ctx); err != nil {
		return err
	}
	for n := 0; n < c.u.idx.n; n++ {
		if !seen.has(n) && !c.u.idx.at(n).has(flagSalvaged|flagDuplicate) {
			st.Unindexed++
		}
	}
	return nil
}
