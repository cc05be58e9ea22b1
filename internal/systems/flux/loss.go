package flux

import (
	"fmt"
	"strings"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// loss is what a plan takes from the tree, as far as that can be known. Keys that leave their place are counted one by
// one; what hung below a lost directory, or was written after the root that is gone back to, is estimated from what can
// still be read. Where even that is impossible and it may be much, the loss counts as everything: a repair that nobody
// watches must not pass a threshold because nothing is known.
type loss struct {
	entries map[editKey]bool // that leave their place; one that is reached under many paths is one
	hidden  int64            // keys that are gone without having been seen
	unknown []string         // what has no estimate
}

// drop counts an entry that leaves its place.
func (p *planner) drop(key string, k editKey) {
	p.dropped[key] = true
	if p.loss.entries == nil {
		p.loss.entries = map[editKey]bool{}
	}
	p.loss.entries[k] = true
}

// lostDir counts what hung below a directory of which no version is left in its place. known is how many keys an older
// version had, -1 if there is none.
func (p *planner) lostDir(key string, known int64) {
	switch {
	case known >= 0:
		p.loss.hidden += known
	case mayHoldMuch(key):
		p.loss.unknown = append(p.loss.unknown, "below "+key)
	default:
		c := p.u.reach.counts
		p.loss.hidden += c.Keys / max(1, c.Dirs)
	}
}

// mayHoldMuch tells whether a directory is one of those on which everything hangs: the jobs, above the single job, and
// what Flux goes on from.
func mayHoldMuch(key string) bool {
	return specialBelow(key) || key == "job" || strings.HasPrefix(key, "job.") && strings.Count(key, ".") < 4 && jobDir(key) == ""
}

// lostAfter counts what was written after a root that the whole tree goes back to.
func (p *planner) lostAfter(back treeobj.Ref, orphan bool) error {
	if orphan {
		if p.u.indexed.LostCount > 0 || p.u.isCut() {
			p.loss.unknown = append(p.loss.unknown, "of what was written after the root that is left")
		}
		return nil
	}
	_, backRow, ok := p.rowByID(back, 0)
	if !ok {
		return nil
	}
	recent, err := p.u.recentRoots(p.ctx)
	if err != nil {
		return err
	}
	if len(recent) == 0 || recent[0].rowID <= backRow {
		return nil
	}
	// Any root is fit for counting; damage below it only makes the count smaller.
	never := func(*walkCounts) bool { return false }
	newer, _, err := p.u.survey(p.ctx, nil, recent[0].ref, never)
	if err != nil {
		return err
	}
	older, _, err := p.u.survey(p.ctx, nil, back, never)
	if err != nil {
		return err
	}
	p.loss.hidden += max(0, newer.Keys-older.Keys)
	return nil
}

// isCut tells whether the end of the file is missing.
func (u *unit) isCut() bool {
	for _, p := range u.problems {
		if fileClass[p.Kind] == TruncatedFile {
			return true
		}
	}
	return false
}

// total says what the plan drops, and of how much.
func (p *planner) total() store.Loss {
	if p.recreate {
		return store.Loss{Dropped: p.u.counts.Rows, Total: p.u.counts.Rows, Unit: "blobs"}
	}
	dropped := int64(len(p.loss.entries)) + p.loss.hidden
	// Lost directories are not among the keys that the walk counted.
	c := p.u.reach.counts
	total := max(c.Keys+c.Dirs+p.loss.hidden, dropped)
	if len(p.loss.unknown) > 0 {
		p.notes = append(p.notes, fmt.Sprintf("how much is lost %s is not known, so it counts as everything", strings.Join(p.loss.unknown, " and ")))
		dropped = total
	}
	return store.Loss{Dropped: dropped, Total: total, Unit: "keys"}
}
