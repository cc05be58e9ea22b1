package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// salvaged is what is left of a damaged key.
type salvaged struct {
	raw   []byte // a tree object; nil: nothing is left
	says  string
	loses string
}

// salvage makes a sound tree object of what is readable behind a damaged entry.
func (p *planner) salvage(key string, raw []byte, detail *keyDetail) (salvaged, error) {
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	switch {
	case detail.Rule != "" && len(detail.Bad) == 0:
		// The entry itself is malformed: its text is kept as it is, as a value.
		return salvaged{raw: p.valueOf(raw), says: "the malformed entry is kept as text", loses: "nothing that Flux could read"}, nil
	case t.Root.Type == treeobj.TypeDirref:
		return p.salvageDir(key, t.Root.Ref, detail)
	case t.Root.Type == treeobj.TypeValref:
		return p.salvageValue(t, detail)
	}
	return salvaged{says: "nothing can be read", loses: "the whole key"}, nil
}

// valueOf stores content and returns a val or valref for it, as Flux would.
func (p *planner) valueOf(content []byte) []byte {
	if len(content) <= treeobj.InlineLimit {
		return treeobj.NewVal(content)
	}
	raw, err := treeobj.NewValref(p.w.store(content))
	if err != nil {
		return treeobj.NewVal(content)
	}
	return raw
}

// salvageDir looks for an older version of a lost directory.
func (p *planner) salvageDir(key string, ref treeobj.Ref, detail *keyDetail) (salvaged, error) {
	if detail.Kind == "dirref" && len(detail.Bad) == 1 && detail.Bad[0].Class == NotADirectory {
		raw, err := treeobj.NewValref(ref)
		return salvaged{raw: raw, says: "the blob that it referred to is kept as a value", loses: "nothing"}, err
	}
	v, err := p.vf.anywhere(p.ctx, key)
	if err != nil {
		return salvaged{}, err
	}
	if v == nil {
		p.lostDir(key, -1)
		return salvaged{says: "no older version of the directory is in the store", loses: "everything below it"}, nil
	}
	p.lostDir(key, v.keys)
	return salvaged{raw: v.Entry, says: "the version of " + v.From + " is kept", loses: "what was written below it after that version"}, nil
}

// salvageValue keeps the good blobs of a value, in their order.
func (p *planner) salvageValue(t *treeobj.Tree, detail *keyDetail) (salvaged, error) {
	bad := map[int]bool{}
	for _, b := range detail.Bad {
		bad[b.Index] = b.Class != HashStorageClass
	}
	var good []treeobj.Ref
	total := 0
	t.Root.EachRef(func(i int, r treeobj.Ref) bool {
		total++
		if !bad[i] {
			good = append(good, r)
		}
		return true
	})
	says := fmt.Sprintf("%d of %s survive", len(good), plural(total, "blob"))
	loses := plural(total-len(good), "blob")
	if len(good) == 0 {
		return salvaged{raw: treeobj.NewVal(nil), says: "none of " + plural(total, "blob") + " survives", loses: loses}, nil
	}
	raw, err := treeobj.NewValref(good...)
	return salvaged{raw: raw, says: says, loses: loses}, err
}

// keepWrong keeps content that can be read but is not what its name says, as lost+found.KEY~damagedINDEX: most of it is
// usually right, and a person may make use of it. It returns how many blobs it kept.
func (p *planner) keepWrong(key string, detail *keyDetail) int {
	n := 0
	for _, b := range detail.Bad {
		ref, err := treeobj.ParseRef(b.Text)
		if err != nil || b.Class != HashMismatch {
			continue
		}
		row, _, ok := p.rowByID(ref, 0)
		if !ok || len(row.Content) == 0 {
			continue
		}
		name := fmt.Sprintf("%s~damaged%d", key, b.Index)
		p.add.at(append([]string{lostFound}, treeobj.SplitKey(name)...)).leaf = p.valueOf(row.Content)
		n++
	}
	return n
}

// special mends one of the keys that Flux goes on from, in its place.
func (p *planner) special(d *store.Decision, k editKey, raw []byte) error {
	key := d.Finding.PathOr("")
	var detail keyDetail
	if err := json.Unmarshal(d.Finding.Detail, &detail); err != nil {
		return err
	}
	switch key {
	case keyResourceLog:
		s, err := p.salvage(key, raw, &detail)
		if err != nil {
			return err
		}
		if s.raw == nil || detail.Rule != "" {
			s.raw = treeobj.NewVal(nil)
		}
		p.w.set(k, edit{raw: s.raw})
		p.done(&d.Finding, d.Action, "mended in its place; "+s.says, s.loses)
	default:
		// The content is worked out once the rest of the tree is known.
		p.w.set(k, edit{raw: treeobj.NewVal(nil)})
		p.done(&d.Finding, d.Action, "mended in its place from what survives elsewhere", "nothing that is known")
	}
	p.fixedKeys[key] = true
	return nil
}

// recomputeState writes checkpoint.resource and checkpoint.job-manager anew where they, or what they stand in for, were damaged.
func (p *planner) recomputeState() error {
	if p.fixedKeys[keyResourceState] || p.fixedKeys[keyResourceLog] || p.dropped["checkpoint"] || p.dropped["resource"] {
		if err := p.recomputeDrains(); err != nil {
			return err
		}
	}
	if p.fixedKeys[keyJobManager] || p.dropped["checkpoint"] || p.jobsGone() {
		return p.recomputeJobManager()
	}
	return nil
}

// jobsGone tells whether directories or keys of jobs leave their place, so that the job manager may not see the highest id.
func (p *planner) jobsGone() bool {
	if len(p.jobs) > 0 {
		return true
	}
	for key := range p.dropped {
		if strings.HasPrefix(key, "job.") || key == "job" {
			return true
		}
	}
	return false
}

// recomputeDrains replays what survives: the latest readable checkpoint.resource, then the surviving events. Flux replays
// the log itself, so checkpoint.resource is written only when it was damaged or the log lost events.
func (p *planner) recomputeDrains() error {
	drains, err := p.u.drainState(p.ctx, p.root, p.vf)
	if err != nil {
		return err
	}
	value, err := drains.Encode(unixSeconds(p.now))
	if err != nil {
		return err
	}
	return p.setValue(keyResourceState, value)
}

// drainState gathers the drained nodes from the latest evidence: checkpoint.resource of the tree or, if that is not whole,
// of an older one; then the readable events of resource.eventlog.
func (u *unit) drainState(ctx context.Context, root treeobj.Ref, vf *versionFinder) (*eventlog.Drains, error) {
	k := newKVS(u, root)
	state, whole := k.value(keyResourceState)
	if !whole {
		v, err := vf.anywhere(ctx, keyResourceState)
		if err != nil {
			return nil, err
		}
		if v != nil {
			state, _ = k.content(v.Entry)
		}
	}
	drains := &eventlog.Drains{}
	if state != nil {
		if d, _, err := eventlog.ParseDrains(state); err == nil {
			drains = d
		}
	}
	var log []byte
	if raw, err := k.entry(keyResourceLog); err == nil {
		log, _ = k.content(raw)
	}
	if log == nil {
		if v, err := vf.anywhere(ctx, keyResourceLog); err != nil {
			return nil, err
		} else if v != nil {
			log, _ = k.content(v.Entry)
		}
	}
	drains.Apply(eventlog.Parse(log).Entries)
	return drains, nil
}

// recomputeJobManager writes a max_jobid that is above every id ever seen, keeping the queues of the latest readable value.
func (p *planner) recomputeJobManager() error {
	k := newKVS(p.u, p.root)
	old, whole := k.value(keyJobManager)
	if !whole {
		v, err := p.vf.anywhere(p.ctx, keyJobManager)
		if err != nil {
			return err
		}
		if v != nil {
			old, _ = k.content(v.Entry)
		}
	}
	highest, err := p.u.highestJob(p.ctx, p.root)
	if err != nil {
		return err
	}
	c, err := eventlog.ParseJobManagerCheckpoint(old)
	if err != nil {
		c = eventlog.NewJobManagerCheckpoint(highest)
	}
	if whole && c.MaxJobID >= highest {
		return nil
	}
	c.MaxJobID = max(c.MaxJobID, highest)
	return p.setValue(keyJobManager, c.Encode())
}

// setValue writes a whole value to a key of the tree, in a new directory if its own is lost.
func (p *planner) setValue(key string, value []byte) error {
	p.newRoot = true
	k, _, ok := p.w.locate(p.root, key)
	if ok {
		p.w.set(k, edit{raw: p.valueOf(value)})
		return nil
	}
	// Its directory is lost and unlinked by now: the key comes back in a new one.
	p.add.at(treeobj.SplitKey(key)).leaf = p.valueOf(value)
	return nil
}

// highestJob is an upper bound of all job ids seen anywhere: job directories of every tree that can be read, prefixes of
// lost ones, and the values of checkpoint.job-manager.
func (u *unit) highestJob(ctx context.Context, root treeobj.Ref) (fluid.ID, error) {
	var highest fluid.ID
	roots := []treeobj.Ref{root}
	for _, r := range u.distinctRoots() {
		roots = append(roots, r.ref)
	}
	recent, err := u.recentRoots(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range recent {
		roots = append(roots, r.ref)
	}
	seen := map[treeobj.Ref]bool{}
	for _, r := range roots {
		if r.IsZero() || seen[r] {
			continue
		}
		seen[r] = true
		k := newKVS(u, r)
		if v, ok := k.value(keyJobManager); ok {
			if c, err := eventlog.ParseJobManagerCheckpoint(v); err == nil {
				highest = max(highest, c.MaxJobID)
			}
		}
		for _, top := range []string{"job", lostFound + ".job"} {
			highest = max(highest, highestBelow(k, top))
		}
	}
	return highest.Usable(0), nil
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

// minimalRoot makes a root for a store in which none is left: enough for Flux to start with the drained nodes known and
// job ids above the old ones.
func (p *planner) minimalRoot() error {
	drains, err := p.u.drainState(p.ctx, treeobj.Ref{}, p.vf)
	if err != nil {
		return err
	}
	state, err := drains.Encode(unixSeconds(p.now))
	if err != nil {
		return err
	}
	highest, err := p.u.highestJob(p.ctx, treeobj.Ref{})
	if err != nil {
		return err
	}
	add := &additions{}
	for key, raw := range map[string][]byte{
		keyResourceState: p.valueOf(state),
		keyJobManager:    p.valueOf(eventlog.NewJobManagerCheckpoint(highest).Encode()),
		keyResourceLog:   treeobj.NewVal(nil),
	} {
		add.at(treeobj.SplitKey(key)).leaf = raw
	}
	top, err := p.w.graft(nil, add)
	if err != nil {
		return err
	}
	var scan treeobj.Scanner
	p.root, p.newRoot = scan.Parse(top).Root.Ref, true
	return nil
}
