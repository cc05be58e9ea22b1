package devmapper

import (
	"context"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// planner turns decisions into steps. Every decision adds to what shall become of records (edits), of devices of the pool (drop) and of whole
// files (rebuild); steps are made of that in the end.
type planner struct {
	*judge
	u    *unit
	work string
	e    *edits

	drop     map[uint32]string // thin devices to delete, and why
	after    *edits            // changes of records that may only be made when live devices are gone
	details  bool              // write the thin metadata anew
	clear    bool              // with needs_check cleared
	rebuild  map[string]bool   // bolt files to write anew, by target
	mend     map[string]bool   // bolt files whose bad meta page is written again
	outcomes map[int]*store.Outcome
	notes    []string
	loss     int64
	newID    uint64         // the last snapshot id that was given to a recreated snapshot
	newIDs   map[int]uint64 // by entry of meta.db
}

// Plan implements store.Planner.
func (u *unit) Plan(ctx context.Context, work string, decisions []store.Decision) (*store.Proposal, error) {
	now, err := u.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	if u.ev == nil || u.print != now {
		if err := u.analyse(ctx); err != nil {
			return nil, err
		}
	}
	p, err := u.newPlanner(ctx, work)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if gate := p.gate(decisions); gate != "" {
		return p.refuse(decisions, gate), nil
	}
	if err := p.decide(ctx, decisions); err != nil {
		return nil, err
	}
	return p.proposal(ctx, decisions)
}

// gates are the classes that forbid every repair but their own.
var gates = []string{PoolEmpty, WrongPool, SeveralPoolDBs, DuplicateDevice, SnapshotDuplicate, BackendDuplicate, IdentityWrong}

// gate says why nothing may be repaired, "" if something may.
func (p *planner) gate(decisions []store.Decision) string {
	swapped := map[string]bool{}
	for _, d := range decisions {
		if d.Finding.Class == IdentityWrong && d.Action == finding.Rewrite {
			swapped[d.Finding.Subject] = true
		}
	}
	for _, class := range gates {
		for i := range p.u.found {
			f := &p.u.found[i]
			if f.Class == class && !swapped[f.Subject] {
				c, _ := Classes.Lookup(class)
				return fmt.Sprintf("%s (%s %s)", c.Title, class, f.Subject)
			}
		}
	}
	return ""
}

func (p *planner) refuse(decisions []store.Decision, gate string) *store.Proposal {
	out := &store.Proposal{Notes: []string{"nothing is repaired as long as this is so: " + gate}}
	for _, d := range decisions {
		out.Outcomes = append(out.Outcomes, store.Outcome{Seq: d.Finding.Seq, Action: d.Action, Result: "refused: " + gate})
	}
	return out
}

// decide handles every decision, those about whole files first.
func (p *planner) decide(ctx context.Context, decisions []store.Decision) error {
	ds := append([]store.Decision{}, decisions...)
	sort.SliceStable(ds, func(a, b int) bool { return ds[a].Action == finding.Rebuild && ds[b].Action != finding.Rebuild })
	for _, d := range ds {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := p.lookup(&d.Finding)
		if f == nil {
			return &fault.Error{Op: "plan", Where: fmt.Sprintf("finding %d", d.Finding.Seq), Err: fmt.Errorf("%s %s is not there any more", d.Finding.Class, d.Finding.Subject)}
		}
		f.Seq = d.Finding.Seq
		result, loses, err := p.act(f, d.Action)
		if err != nil {
			return fmt.Errorf("finding %d (%s %s): %w", d.Finding.Seq, d.Finding.Class, d.Finding.Subject, err)
		}
		p.outcomes[d.Finding.Seq] = &store.Outcome{Seq: d.Finding.Seq, Action: d.Action, Result: result, Loses: loses}
	}
	return nil
}

// lookup finds what the present evidence says about a finding.
func (p *planner) lookup(f *finding.Finding) *judged {
	if i, ok := p.index[keyOf(f.Class, f.Subject)]; ok {
		return &p.found[i]
	}
	for i := range p.u.found {
		if g := &p.u.found[i]; g.Class == f.Class && g.Subject == f.Subject {
			return g
		}
	}
	return nil
}

// act adds what an action does about a finding to the plan.
func (p *planner) act(f *judged, a finding.Action) (result, loses string, err error) {
	if a == finding.Rebuild {
		return p.actRebuild(f)
	}
	if t := p.touched(f); t != "" && p.rebuild[t] {
		return "left for the next check: " + t + " is written anew first", "", nil
	}
	switch f.Class {
	case BlocksNextID, NoSnapshot, LeakedDevice, FreeIDInPool, UnknownInPool, NotInPool, StateStuck, StateInvalid, RemovedLive, FaultyLive:
		return p.actDevice(f, a)
	case IDTakenOrphan, IDFaultyOrphan, IDStateWrong, NameMismatch, ParentMismatch, SizeMismatch, SequenceBehind, IdentityWrong:
		return p.actPool(f, a)
	case RecordUnparsable, NoDevice, DanglingBackend, ParentMissing, MetaParentMissing, ContainerDangling, Unreferenced:
		return p.actLost(f, a)
	case BacklinkMissing, BacklinkStale, ChildMissing, ChildStale, LeaseDangling:
		return p.actLink(f, a)
	case SequenceSpent, KindWrong, FileSystemWrong:
		return p.actValue(f)
	case ThinNeedsCheck:
		p.details, p.clear = true, true
		return "thin metadata written anew with the flag cleared", "", nil
	case BoltOneMeta:
		p.mend[f.Subject] = true
		return "meta page written again", "", nil
	}
	return "", "", fmt.Errorf("no way to %s", a)
}

// touched is the bolt file that a finding's repair writes first.
func (p *planner) touched(f *judged) string {
	switch f.Class {
	case BacklinkMissing, BacklinkStale, ParentMissing, NoDevice, DanglingBackend, KindWrong, FileSystemWrong:
		return p.target(p.u.store)
	case ChildMissing, ChildStale, LeaseDangling, MetaParentMissing, ContainerDangling:
		return p.target(p.u.meta)
	}
	return p.target(p.u.pool)
}

// target is the name of a file's target.
func (p *planner) target(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Base(path)
}

// proposal makes steps of what was collected.
func (p *planner) proposal(ctx context.Context, decisions []store.Decision) (*store.Proposal, error) {
	out := &store.Proposal{}
	var seqs []int
	for _, d := range decisions {
		if o := p.outcomes[d.Finding.Seq]; o != nil {
			out.Outcomes = append(out.Outcomes, *o)
			if !strings.HasPrefix(o.Result, "left") {
				seqs = append(seqs, o.Seq)
			}
		}
	}
	add := func(title string, irreversible bool, changes []store.Change) {
		if len(changes) > 0 {
			out.Steps = append(out.Steps, store.Step{ID: len(out.Steps) + 1, Title: title, Findings: seqs, Irreversible: irreversible, Changes: changes})
		}
	}
	files, err := p.fileChanges(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range files {
		add(c.Note, false, []store.Change{c})
	}
	if p.live {
		add("set records of the databases", false, p.e.changes())
		add("delete thin devices of the live pool", true, p.deletes())
		add("forget the deleted devices", false, p.after.changes())
	} else {
		add("set records of the databases", false, p.e.changes())
		thin, err := p.thinChanges(ctx, out)
		if err != nil {
			return nil, err
		}
		add("write the thin metadata anew", false, thin)
	}
	out.Notes = append(p.notes, out.Notes...)
	total := int64(p.recordCount())
	if p.store != nil {
		total = max(total, int64(len(p.store.Snapshots)))
	}
	out.Loss = store.Loss{Dropped: min(p.loss, max(total, p.loss)), Total: max(total, p.loss), Unit: "snapshots and thin devices"}
	return out, nil
}
