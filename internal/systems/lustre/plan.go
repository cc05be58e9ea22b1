package lustre

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtrecord"
)

// planner turns decisions into steps. Every decision is carried out on edits of the targets that are never written (mdts); the records
// that change on the way are the plan. So each decision sees what those before it did, and what cannot be done is known at once.
//
// Findings that follow from one another are one group, and its changes one step, except that a new name and the end of the old one are
// steps of their own, in that order. What a decision could not do as a whole is taken back: its outcome begins with "left".
type planner struct {
	u        *unit
	mdts     *mdtrecord.Set
	world    *world // reads the targets as mdts leaves them
	steps    []store.Step
	open     bool              // the last step takes more changes
	inStep   map[recordKey]int // places of the changes of the last step
	touched  bool              // the running decision changed something
	full     int               // findings after which a step takes no more groups
	doing    *doing
	outcomes map[int]*store.Outcome
	loss     int64
	notes    []string
	spare    map[spareKey]uint32     // agents that no name leads to
	used     map[place]bool          // agents that a name got in this plan
	dangles  map[lustre.FID]waiting  // names of objects that are gone and stay
	made     map[lustre.FID]place    // objects that the plan makes
	lost     map[int]place           // lost+found/MDTxxxx by place of the target
	gone     map[place]bool          // objects that the plan destroys
	given    map[string]bool         // FIDs to which the plan makes a name of the namespace lead
	shared   map[place]string        // inodes that are destroyed or brought back: who else has their blocks, "" for nobody
	waiting  map[int]map[uint32]bool // inodes in PENDING, by place of the target
	ctx      context.Context         // of the call
	avoid    map[int][]uint32        // free inodes whose numbers names still have
	denied   map[place]string        // inodes that turned out not to be the object that their LMA said, with its FID
	back     []func()                // take back what the running decision did to the maps and the steps, the last one first
}

// recordKey names a record of the targets.
type recordKey struct{ target, addr string }

// waiting is a name whose object is gone, and the finding about it.
type waiting struct {
	e   *entryDetail
	seq int
}

// spareKey says for what an agent stands, and where.
type spareKey struct {
	mdt int
	fid lustre.FID
}

// doing is the decision that is being carried out.
type doing struct {
	f     *finding.Finding
	d     *detail
	act   finding.Action
	root  int // the finding that the group began with
	rank  int
	loses string
}

// leftError says why a decision is not carried out while the others of the plan are.
type leftError struct{ why string }

func (e *leftError) Error() string { return e.why }

func left(format string, args ...any) error { return &leftError{fmt.Sprintf(format, args...)} }

// Plan implements store.Planner.
func (u *unit) Plan(ctx context.Context, work string, decisions []store.Decision) (_ *store.Proposal, err error) {
	if err := u.noRepair(); err != nil {
		return nil, err
	}
	files, err := u.reopen()
	defer func() { err = errors.Join(err, closeAll(files)) }()
	if err != nil {
		return nil, err
	}
	for _, t := range u.targets {
		if len(u.targets) > 1 && t.marks.remote == 0 {
			return refuseAll(decisions, t.name()+" has no REMOTE_PARENT_DIR, without which objects with names on other MDTs cannot be told from lost ones; a server makes it when it mounts the target"), nil
		}
		if t.marks.hidden != "" {
			return refuseAll(decisions, t.name()+": names of the target's own files may be lost, and the files would be taken for those of users ("+t.marks.hidden+
				"); have it corrected by e2fsck of the Lustre distribution first"), nil
		}
	}
	mdts, err := u.edit(files, ext4edit.Options{AllowReadOnlyMount: true, Forget: true})
	if errors.Is(err, ext4edit.ErrRefused) {
		return refuseAll(decisions, err.Error()), nil
	}
	if err != nil {
		return nil, err
	}
	p := &planner{u: u, mdts: mdts, world: worldOf(u, mdts), ctx: ctx, gone: map[place]bool{}, given: map[string]bool{}, shared: map[place]string{}, waiting: map[int]map[uint32]bool{}, denied: map[place]string{},
		outcomes: map[int]*store.Outcome{}, spare: map[spareKey]uint32{}, used: map[place]bool{},
		dangles: map[lustre.FID]waiting{}, made: map[lustre.FID]place{}, lost: map[int]place{}, avoid: map[int][]uint32{}, full: 1 + len(decisions)/200}
	list, err := p.order(decisions)
	if err != nil {
		return nil, err
	}
	if err := p.sharers(list); err != nil {
		return nil, err
	}
	meter := store.Begin(ctx, "plan", "working out the repair", int64(len(list)), 0)
	for i := range list {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if i == 0 || list[i].root != list[i-1].root && p.crowded() {
			p.cut()
		}
		if err := p.decide(&list[i]); err != nil {
			return nil, err
		}
		list[i].d = nil // memory for what the plan becomes
		meter.Did(1, 0)
	}
	meter.End()
	if err := p.accounts(ctx); err != nil {
		return nil, err
	}
	return p.proposal(decisions), nil
}

// worldOf reads the targets of a unit as edits of them leave them. It never searches: what the object index does not lead to is gone.
func worldOf(u *unit, mdts *mdtrecord.Set) *world {
	after := &unit{shape: u.shape}
	for i, t := range u.targets {
		edited := *t
		edited.fs = mdts.Edit(i).View()
		after.targets = append(after.targets, &edited)
	}
	w := newWorld(after)
	w.all = true
	return w
}

// refuseAll is the proposal for targets that cannot be changed as they are.
func refuseAll(decisions []store.Decision, why string) *store.Proposal {
	out := &store.Proposal{Notes: []string{"nothing is repaired as long as this is so: " + why}}
	for _, d := range decisions {
		out.Outcomes = append(out.Outcomes, store.Outcome{Seq: d.Finding.Seq, Action: d.Action, Result: "refused: " + why})
	}
	return out
}

// crowded tells whether the open step has enough.
func (p *planner) crowded() bool {
	return len(p.steps) > 0 && len(p.steps[len(p.steps)-1].Findings) >= p.full
}

// cut ends the open step: what follows is written after it.
func (p *planner) cut() { p.open = false }

// decide carries out one decision as a whole, or not at all. What that costs must not depend on how long the plan is already.
func (p *planner) decide(x *doing) error {
	p.doing, p.back, p.touched = x, nil, false
	var result string
	err := p.attempt(func() (err error) {
		result, err = p.act()
		return err
	})
	if err != nil {
		if !canLeave(err) {
			return fmt.Errorf("finding %d (%s %s): %w", x.f.Seq, x.f.Class, x.f.Subject, err)
		}
		result = "left: " + reason(err)
	}
	p.outcomes[x.f.Seq] = &store.Outcome{Seq: x.f.Seq, Action: x.act, Result: result, Loses: x.loses}
	return nil
}

// attempt does a part of the running decision, or all of it: where it fails nothing of it stays, and the rest may go on.
func (p *planner) attempt(fn func() error) error {
	before := len(p.back)
	open, loss, loses, notes, touched := p.open, p.loss, p.doing.loses, p.notes, p.touched
	err := p.mdts.Together(fn)
	if err == nil {
		return nil
	}
	for _, back := range slices.Backward(p.back[before:]) {
		back()
	}
	p.back = p.back[:before]
	p.open, p.loss, p.doing.loses, p.notes, p.touched = open, loss, loses, notes, touched
	return err
}

// canLeave tells whether an error is about this decision only.
func canLeave(err error) bool {
	var why *leftError
	for _, e := range []error{ext4edit.ErrDamaged, ext4edit.ErrUnsupported, ext4edit.ErrNeedsSplit, ext4edit.ErrNoSpace, ext4edit.ErrExists,
		ext4edit.ErrAbsent, ext4edit.ErrNotEmpty, ext4edit.ErrInvalid, ext4.ErrNoInode, ext4.ErrPastEnd} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &why)
}

// reason is what people are told.
func reason(err error) string {
	var why *leftError
	switch {
	case errors.As(err, &why):
		return why.why
	case errors.Is(err, ext4edit.ErrNeedsSplit):
		return "an index is full and is not made larger here; a server does it: " + err.Error()
	}
	return err.Error()
}

// set makes a record so. A record that is so already is left alone.
func (p *planner) set(mdt int, addr string, after store.Bytes, note string) error {
	before, err := p.mdts.Read(mdt, addr)
	if err != nil {
		return err
	}
	if (before == nil) == (after == nil) && string(before) == string(after) {
		return nil
	}
	if err := p.mdts.Write(mdt, addr, after); err != nil {
		return err
	}
	// What was written is read back: a plan must not promise what the format cannot hold.
	now, err := p.mdts.Read(mdt, addr)
	if err != nil {
		return err
	}
	if kind := mdtrecord.KindOf(addr); string(now) != string(after) && kind != mdtrecord.KindInode && kind != mdtrecord.KindLMV && kind != mdtrecord.KindLOV {
		return left("the record %s would be %s and not %s: what is beside it is damaged, or the name is there twice", addr, now, after)
	}
	p.add(store.Change{Target: p.u.targets[mdt].name(), Addr: addr, Before: before, After: after, Note: note})
	return nil
}

// add puts a change into the open step. A record that the step changes already gets its last content at once, unless that rests on other
// changes of the step (what a name leads to has to be there): then another step begins.
func (p *planner) add(c store.Change) {
	key := recordKey{c.Target, c.Addr}
	if p.open {
		last := &p.steps[len(p.steps)-1]
		i, twice := p.inStep[key]
		if kind := mdtrecord.KindOf(c.Addr); twice && last.Changes[i].After != nil && c.After != nil && kind != mdtrecord.KindDirent && kind != mdtrecord.KindDotdot && kind != mdtrecord.KindInode && kind != mdtrecord.KindOI {
			at, had := len(p.steps)-1, last.Changes[i].After
			p.back = append(p.back, func() { p.steps[at].Changes[i].After = had })
			last.Changes[i].After = c.After
			p.credit(last)
			return
		}
		p.open = !twice
	}
	if !p.open {
		before := p.inStep
		p.back = append(p.back, func() { p.steps, p.inStep = p.steps[:len(p.steps)-1], before })
		p.steps = append(p.steps, store.Step{ID: len(p.steps) + 1, Title: p.title()})
		p.open, p.inStep = true, map[recordKey]int{}
	}
	at := len(p.steps) - 1
	s := &p.steps[at]
	p.back = append(p.back, func() {
		p.steps[at].Changes = p.steps[at].Changes[:len(p.steps[at].Changes)-1]
		delete(p.inStep, key)
	})
	p.inStep[key] = len(s.Changes)
	s.Changes = append(s.Changes, c)
	p.credit(s)
}

// credit notes that the step repairs the finding that is being dealt with. A decision is carried out once, and only the last step grows,
// so that the finding can only be the last one of it.
func (p *planner) credit(s *store.Step) {
	p.touched = true
	n := len(s.Findings)
	if n > 0 && s.Findings[n-1] == p.doing.f.Seq {
		return
	}
	at := len(p.steps) - 1
	p.back = append(p.back, func() { p.steps[at].Findings = p.steps[at].Findings[:n] })
	s.Findings = append(s.Findings, p.doing.f.Seq)
}

// title is what a step is for: the finding that its group began with.
func (p *planner) title() string {
	f := p.doing.f
	c, _ := Classes.Lookup(f.Class)
	return fmt.Sprintf("%s: %s", f.PathOr(f.Subject), c.Title)
}

// proposal is the outcome of all decisions.
func (p *planner) proposal(decisions []store.Decision) *store.Proposal {
	out := &store.Proposal{Steps: p.steps, Notes: p.notes}
	for _, d := range decisions {
		if o := p.outcomes[d.Finding.Seq]; o != nil {
			out.Outcomes = append(out.Outcomes, *o)
		}
	}
	total := p.loss
	for _, t := range p.u.targets {
		total = max(total, 0) + t.used()
	}
	out.Loss = store.Loss{Dropped: p.loss, Total: max(total, p.loss), Unit: "names and objects"}
	return out
}

// keep sets a key of a map so that it can be taken back.
func keep[K comparable, V any](p *planner, m map[K]V, k K, v V) {
	was, had := m[k]
	p.back = append(p.back, func() {
		if had {
			m[k] = was
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}
