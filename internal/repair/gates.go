package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// ErrInUse is the cause of a refusal because somebody has the unit open.
var ErrInUse = errors.New("the store is in use")

// ErrLoss is the cause of a refusal because a plan drops too much.
var ErrLoss = errors.New("too much would be lost")

// ErrIrreversible is the cause of a refusal because a step cannot be undone.
var ErrIrreversible = errors.New("the step cannot be undone")

func gateInUse(ctx context.Context, op string, u store.Unit) error {
	who, err := u.InUse(ctx)
	if err != nil {
		return &fault.Error{Op: op, Where: u.ID(), Err: fmt.Errorf("find out whether it is in use: %w", err)}
	}
	if who != "" {
		return &fault.Error{Op: op, Where: u.ID(), Err: fmt.Errorf("%w by %s", ErrInUse, who),
			Hint: "stop it, or repair a copy"}
	}
	return nil
}

func gateLoss(u *Unit, limit Threshold) error {
	if limit.Allows(u.Loss) {
		return nil
	}
	unit := u.Loss.Unit
	if unit == "" {
		unit = "entities"
	}
	return &fault.Error{Op: "apply", Where: u.Unit, Kind: fault.Unrepaired,
		Err: fmt.Errorf("%w: the plan drops %d of %d %s, at most %d (%s) are allowed", ErrLoss, u.Loss.Dropped, u.Loss.Total, unit,
			limit.Limit(u.Loss.Total), limit),
		Hint: fmt.Sprintf("read the plan; if the loss is acceptable, apply it with --max-loss %d", u.Loss.Dropped)}
}

// gateIrreversible refuses steps that cannot be undone unless the action of every finding in them was asked for: by its name,
// or as CLASS/ACTION for one class only. A step without findings is asked for by its title.
func gateIrreversible(u *Unit, allowed []string) error {
	planned := map[int]Planned{}
	for _, f := range u.Findings {
		planned[f.Seq] = f
	}
	for i := range u.Steps {
		s := &u.Steps[i]
		if !s.Irreversible {
			continue
		}
		refuse := func(name string) error {
			return &fault.Error{Op: fmt.Sprintf("apply step %d", s.ID), Where: u.Unit, Kind: fault.Unrepaired,
				Err:  fmt.Errorf("%w: %s", ErrIrreversible, s.Title),
				Hint: fmt.Sprintf("if it is really meant, ask for it by name: --allow %q", name)}
		}
		if len(s.Findings) == 0 && !slices.Contains(allowed, s.Title) {
			return refuse(s.Title)
		}
		for _, seq := range s.Findings {
			f := planned[seq]
			full := f.Class + "/" + string(f.Action)
			if !slices.Contains(allowed, string(f.Action)) && !slices.Contains(allowed, full) {
				return refuse(full)
			}
		}
	}
	return nil
}
