package devmapper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// planner turns decisions into steps. Every decision adds to what shall become of records (edits), of devices of the pool (drop) and of whole
// files (rebuild); steps are made of that in the end. Decisions about different findings may be about one record: the one that removes it
// wins over those that mend it, and what was decided first over what contradicts it later.
type planner struct {
	*judge
	u     *unit
	work  string
	e     *edits
	trail trail // of the decision that is being carried out

	drop     map[uint32]string // thin devices to delete, and why
	deleting []int             // numbers of the findings that this is about
	after    *edits            // changes of records that may only be made when live devices are gone
	details  bool              // write the thin metadata anew
	clear    bool              // with needs_check cleared
	rebuild  map[string]bool   // bolt files to write anew, by target
	mend     map[string]bool   // bolt files whose bad meta page is written again
	outcomes map[int]*store.Outcome
	notes    []string
	loss     int64

	gone     map[string]bool    // device records that the plan removes, by key
	dropped  map[string]bool    // snapshots that the plan removes, by backend key
	unlinked map[int]bool       // entries of meta.db that the plan removes
	again    map[int]bool       // entries of meta.db whose snapshot the plan writes again
	entered  map[nsKey]newEntry // entries that the plan adds to meta.db
	children map[string]int     // how many snapshots are made from one, by backend key; nil until asked for
	newID    uint64             // the last snapshot id that was given to a recreated snapshot
	newIDs   map[int]uint64     // by entry of meta.db
	topID    uint32             // the highest device id in use, 0 until asked for
	byKey    map[string]int     // of pool.Devices, by key; nil until asked for
	links    map[string][]byte  // keys of v1/parents by subject; nil until asked for
	leases   map[nsKey][]string // ids of the leases that hold a snapshot; nil until asked for
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

// errHasChildren puts off the removal of a snapshot until those that are made from it were decided about.
var errHasChildren = left("other snapshots are made from it: remove them first")

// maxGenerations bounds how often decisions that wait for others are looked at again: containerd's images have no more than 127 layers.
const maxGenerations = 128

// decide handles every decision, those about whole files first, and those that remove a snapshot after those that remove its children.
func (p *planner) decide(ctx context.Context, decisions []store.Decision) error {
	ds := append([]store.Decision{}, decisions...)
	sort.SliceStable(ds, func(a, b int) bool { return ds[a].Action == finding.Rebuild && ds[b].Action != finding.Rebuild })
	for range maxGenerations {
		var waiting []store.Decision
		for i := range ds {
			if err := ctx.Err(); err != nil {
				return err
			}
			wait, err := p.decideOne(&ds[i])
			if err != nil {
				return err
			}
			if wait {
				waiting = append(waiting, ds[i])
			}
		}
		if len(waiting) == len(ds) || len(waiting) == 0 {
			return nil
		}
		ds = waiting
	}
	return nil
}

// decideOne carries out one decision; wait says that it is worth another try when others were carried out.
func (p *planner) decideOne(d *store.Decision) (wait bool, err error) {
	f := p.lookup(&d.Finding)
	if f == nil {
		return false, &fault.Error{Op: "plan", Where: fmt.Sprintf("finding %d", d.Finding.Seq), Err: fmt.Errorf("%s %s is not there any more", d.Finding.Class, d.Finding.Subject)}
	}
	f.Seq = d.Finding.Seq
	result, loses, err := p.try(f, d.Action)
	wait = errors.Is(err, errHasChildren)
	if why := (*leftError)(nil); errors.As(err, &why) {
		result, loses, err = "left: "+why.why, "", nil
	}
	if err != nil {
		return false, fmt.Errorf("finding %d (%s %s): %w", d.Finding.Seq, d.Finding.Class, d.Finding.Subject, err)
	}
	p.outcomes[d.Finding.Seq] = &store.Outcome{Seq: d.Finding.Seq, Action: d.Action, Result: result, Loses: loses}
	return wait, nil
}

// try carries out a decision as a whole or not at all: then the error is a *leftError, and the plan is as before.
func (p *planner) try(f *judged, a finding.Action) (result, loses string, err error) {
	p.trail.clear()
	result, loses, err = p.act(f, a)
	if err == nil {
		// A record of a file that is written anew may be another one then.
		for _, t := range p.trail.targets {
			if p.rebuild[t] {
				err = left(t + " is written anew first, and checked again after that")
			}
		}
	}
	switch {
	case err == nil:
		return result, loses, nil
	case isDamage(err):
		err = left(fmt.Sprintf("what it is about cannot be read: %v", err))
	}
	p.trail.undo()
	return "", "", err
}

// lookup finds what the present evidence says about a finding.
func (p *planner) lookup(f *finding.Finding) *judged {
	key := identity(f)
	if i, ok := p.index[key]; ok {
		return &p.found[i]
	}
	return p.u.lookup(key)
}

// act adds what an action does about a finding to the plan.
func (p *planner) act(f *judged, a finding.Action) (result, loses string, err error) {
	if a == finding.Rebuild {
		return p.actRebuild(f)
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
		about := seqs
		if irreversible {
			about = p.deleting // each of these has to be allowed by name, and no other
		}
		if len(changes) > 0 {
			out.Steps = append(out.Steps, store.Step{ID: len(out.Steps) + 1, Title: title, Findings: about, Irreversible: irreversible, Changes: changes})
		}
	}
	files, err := p.fileChanges(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range files {
		add(c.Note, false, []store.Change{c})
	}
	if err := errors.Join(p.finish(), p.after.rebase()); err != nil {
		return nil, err
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
