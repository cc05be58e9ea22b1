package flux

import (
	"encoding/json"
	"fmt"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
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
	says := fmt.Sprintf("%d of %s survive", len(good), say.Count(total, "blob"))
	loses := say.Count(total-len(good), "blob")
	if len(good) == 0 {
		return salvaged{raw: treeobj.NewVal(nil), says: "nothing of it survives", loses: loses}, nil
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
		names := lostNames(key)
		names[len(names)-1] += fmt.Sprintf("~damaged%d", b.Index)
		var leaf []byte
		if len(row.Content) < longObject {
			leaf = p.valueOf(row.Content)
		} else if leaf, err = treeobj.NewValref(p.w.storeCopy(row.Content, ref)); err != nil {
			continue
		}
		p.add.at(names).leaf = leaf
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

// state gathers what Flux goes on from out of the whole store, once: the tree, older trees, and blobs that nothing refers to.
func (p *planner) state() (*State, error) {
	if p.known == nil {
		s := &State{}
		r := &Relic{u: p.u, vf: p.vf, root: p.root}
		if err := r.gather(p.ctx, s); err != nil {
			return nil, err
		}
		p.known = s
	}
	return p.known, nil
}

// recomputeDrains writes checkpoint.resource with every drained node that anything in the store tells of.
func (p *planner) recomputeDrains() error {
	s, err := p.state()
	if err != nil {
		return err
	}
	value, err := s.resource(unixSeconds(p.now))
	if err != nil {
		return err
	}
	return p.setValue(keyResourceState, value)
}

// recomputeJobManager writes a max_jobid that is above every id ever seen, keeping the queues of the latest readable value.
func (p *planner) recomputeJobManager() error {
	s, err := p.state()
	if err != nil {
		return err
	}
	if old, whole := newKVS(p.u, p.root).value(keyJobManager); whole {
		if c, err := eventlog.ParseJobManagerCheckpoint(old); err == nil && c.MaxJobID >= s.HighestJob {
			return nil
		}
	}
	return p.setValue(keyJobManager, s.jobManager())
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

// minimalRoot makes a root for a store in which none is left: enough for Flux to start with the drained nodes known and
// job ids above the old ones.
func (p *planner) minimalRoot() error {
	p.root = treeobj.Ref{}
	known, err := p.state()
	if err != nil {
		return err
	}
	state, err := known.resource(unixSeconds(p.now))
	if err != nil {
		return err
	}
	add := &additions{}
	for key, raw := range map[string][]byte{
		keyResourceState: p.valueOf(state),
		keyJobManager:    p.valueOf(known.jobManager()),
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
