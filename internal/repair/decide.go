package repair

import (
	"context"
	"fmt"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// deciding sorts the findings of one unit by what is to become of them.
type deciding struct {
	policy  finding.Policy
	unit    store.Planner
	out     *Unit
	decided []store.Decision
}

// makeUnit decides the findings of one unit and has it planned, unless one of them parks it.
func makeUnit(ctx context.Context, cfg *MakeConfig, u store.Planner, fs []finding.Finding) (*Unit, error) {
	d := &deciding{policy: cfg.Policy, unit: u,
		out: &Unit{Unit: u.ID(), Findings: []Planned{}, Steps: []store.Step{}, Outcomes: []store.Outcome{}}}
	var err error
	if d.out.Fingerprint, err = u.Fingerprint(ctx); err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	for i := range fs {
		if err := ctx.Err(); err != nil {
			return nil, &fault.Error{Op: "plan", Err: err, Kind: fault.Cancelled}
		}
		if err := d.take(ctx, &fs[i]); err != nil {
			return nil, err
		}
	}
	if len(d.out.Parked) > 0 {
		d.park()
		return d.out, nil
	}
	if len(d.decided) == 0 {
		return d.out, nil
	}
	return d.out, propose(ctx, cfg, u, d.decided, d.out)
}

// take puts one finding where it belongs.
func (d *deciding) take(ctx context.Context, f *finding.Finding) error {
	line := Planned{Seq: f.Seq, Class: f.Class, What: what(f), Action: d.policy.Decide(f)}
	if _, named := d.policy.BySeq[f.Seq]; f.Accepted && !named || line.Action == "" {
		line.Action = finding.Ignore
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
		d.decided = append(d.decided, store.Decision{Finding: *f, Action: line.Action})
	}
	return nil
}

// park takes the unit out of the repair: whatever was decided about its other findings waits as well, because a repair of
// a part could rest on what the person decides about the rest.
func (d *deciding) park() {
	held := len(d.out.Findings)
	d.out.Pending = append(d.out.Pending, d.out.Findings...)
	d.out.Findings = []Planned{}
	slices.SortFunc(d.out.Pending, func(a, b Planned) int { return a.Seq - b.Seq })
	note := count(len(d.out.Parked), "finding") + " must be decided by a person first (" + numbers(d.out.Parked) + "), so nothing of this unit is repaired"
	if held > 0 {
		note += "; " + count(held, "other finding") + " must wait as well"
	}
	d.out.Notes = append(d.out.Notes, note)
}
