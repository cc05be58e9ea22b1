package repair

import (
	"context"
	"fmt"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/say"
	"fettle/internal/store"
)

// deciding sorts the findings of one unit by what is to become of them.
type deciding struct {
	policy  finding.Policy
	unit    store.Planner
	out     *Unit
	decided []store.Decision
	passed  map[passedOver]int
}

// passedOver is a rule that named an action which a finding does not offer, and what was done instead.
type passedOver struct {
	action  finding.Action
	instead string
}

// makeUnit decides the findings of one unit and has it planned, unless one of them parks it.
func makeUnit(ctx context.Context, cfg *MakeConfig, u store.Planner, fs []finding.Finding) (*Unit, error) {
	d := &deciding{policy: cfg.Policy, unit: u, passed: map[passedOver]int{},
		out: &Unit{Unit: u.ID(), Findings: []Planned{}, Steps: []store.Step{}, Outcomes: []store.Outcome{}}}
	var err error
	if d.out.Fingerprint, err = u.Fingerprint(ctx); err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	if err := d.all(ctx, fs); err != nil {
		return nil, err
	}
	d.notePassed()
	if len(d.out.Parked) > 0 {
		d.park()
		return d.out, nil
	}
	if len(d.decided) == 0 {
		return d.out, nil
	}
	return d.out, propose(ctx, cfg, u, d.decided, d.out)
}

// all puts every finding where it belongs.
func (d *deciding) all(ctx context.Context, fs []finding.Finding) error {
	part := store.Begin(ctx, "confirm", "looking at the findings again", int64(len(fs)), 0)
	defer part.End()
	d.decided = make([]store.Decision, 0, len(fs))
	for i := range fs {
		if err := ctx.Err(); err != nil {
			return &fault.Error{Op: "plan", Err: err, Kind: fault.Cancelled}
		}
		if err := d.take(ctx, &fs[i]); err != nil {
			return err
		}
		fs[i] = finding.Finding{} // what is not decided on is not needed any more
		part.Did(1, 0)
	}
	return nil
}

// take puts one finding where it belongs.
func (d *deciding) take(ctx context.Context, f *finding.Finding) error {
	choice := d.policy.Choose(f)
	line := Planned{Seq: f.Seq, Class: f.Class, What: what(f), Action: choice.Action}
	_, named := d.policy.BySeq[f.Seq]
	accepted := f.Accepted && !named
	if accepted || line.Action == "" {
		line.Action = finding.Ignore
	}
	if choice.Passed != "" && !accepted {
		instead := "a less specific rule was followed"
		if choice.Suggested {
			instead = "the suggestion was taken instead"
		}
		if line.Action == finding.Ignore {
			instead = "left alone"
		}
		d.passed[passedOver{choice.Passed, instead}]++
	}
	// An info or an accepted finding is nothing that has to be decided, so it does not hold up the rest.
	if line.Action == finding.Ignore || line.Action == finding.Interact && !f.Counts() {
		d.out.Pending = append(d.out.Pending, line)
		return nil
	}
	still, err := d.unit.Confirm(ctx, f)
	if err != nil {
		return fmt.Errorf("confirm finding %d (%s %s): %w", f.Seq, f.Class, line.What, err)
	}
	switch {
	case !still:
		d.out.Gone = append(d.out.Gone, line)
	case line.Action == finding.Interact:
		line.Offers = append(slices.Clone(f.Actions), finding.Ignore)
		d.out.Pending = append(d.out.Pending, line)
		d.out.Parked = append(d.out.Parked, f.Seq)
	default:
		d.out.Findings = append(d.out.Findings, line)
		kept := *f
		kept.Evidence = nil // it is for people, and takes most of the room
		d.decided = append(d.decided, store.Decision{Finding: kept, Action: line.Action})
	}
	return nil
}

// notePassed says where the policy asked for what is not offered, so that nobody believes that it was done.
func (d *deciding) notePassed() {
	var notes []string
	for p, n := range d.passed {
		verb := "does not offer"
		if n > 1 {
			verb = "do not offer"
		}
		notes = append(notes, fmt.Sprintf("%s %s %s: %s", say.Count(n, "finding"), verb, p.action, p.instead))
	}
	slices.Sort(notes)
	d.out.Notes = append(d.out.Notes, notes...)
}

// park takes the unit out of the repair: whatever was decided about its other findings waits as well, because a repair of
// a part could rest on what the person decides about the rest.
func (d *deciding) park() {
	held := len(d.out.Findings)
	d.out.Pending = append(d.out.Pending, d.out.Findings...)
	d.out.Findings = []Planned{}
	slices.SortFunc(d.out.Pending, func(a, b Planned) int { return a.Seq - b.Seq })
	note := say.Count(len(d.out.Parked), "finding") + " must be decided by a person first (" + numbers(d.out.Parked) + "), so nothing of this unit is repaired"
	if held > 0 {
		note += "; " + say.Count(held, "other finding") + " must wait as well"
	}
	d.out.Notes = append(d.out.Notes, note)
}
