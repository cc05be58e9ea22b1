package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// Case is one thing to try: injuries that are made together.
type Case struct {
	Name     string   `json:"name"`
	Injuries []Injury `json:"injuries"`
	// Policy is what a repair is told beside the default actions, as on the command line. With a policy nothing may be left.
	Policy []string `json:"policy,omitempty"`
}

// Outcome of a part of a Trial.
type Outcome string

// The outcomes.
const (
	Yes     Outcome = "yes"
	No      Outcome = "no"
	Nothing Outcome = "-" // there was nothing to do, or the truth does not ask for it
)

// Trial is what became of one store: made, injured, checked, repaired, checked again, and taken back.
type Trial struct {
	Case       string      `json:"case"`
	Seed       uint64      `json:"seed"`
	Comparison *Comparison `json:"comparison"`
	Findings   int         `json:"findings"` // that a plan had something to do about
	Repaired   Outcome     `json:"repaired"` // the plan was applied
	Clean      Outcome     `json:"clean"`    // a second check found nothing but what the default actions keep
	Undone     Outcome     `json:"undone"`   // undo gave back every byte
	Left       []Expect    `json:"left,omitempty"`
	Error      string      `json:"error,omitempty"`
}

// trial does one trial in dir, which must be empty, on a copy of the healthy store at base.
func (k *Kit) trial(ctx context.Context, dir, base string, c Case, seed uint64) (*Trial, error) {
	t := &Trial{Case: c.Name, Seed: seed, Repaired: Nothing, Clean: Nothing, Undone: Nothing}
	path := filepath.Join(dir, filepath.Base(base))
	if err := CopyStore(base, path); err != nil {
		return nil, err
	}
	truth, err := k.Damage(ctx, path, seed, c.Injuries)
	if err != nil {
		return nil, err
	}
	w := &workshop{kit: k, path: path, state: filepath.Join(dir, "state")}
	before, err := w.digest()
	if err != nil {
		return nil, err
	}
	run, found, _, err := w.check(ctx)
	if err != nil {
		return t.failed("check", err), ctx.Err()
	}
	if now, err := w.digest(); err != nil || now != before {
		return t.failed("check", errors.Join(errors.New("the check changed the store"), err)), nil
	}
	t.Comparison = Compare(truth, found)
	if err := w.repair(ctx, run, c.Policy, t); err != nil {
		return t.failed("repair", err), ctx.Err()
	}
	if t.Repaired == Yes || truth.Unrepairable == "" {
		_, left, verdict, err := w.check(ctx)
		if err != nil {
			return t.failed("second check", err), ctx.Err()
		}
		if len(c.Policy) == 0 {
			left = truth.notKept(left)
		}
		t.Clean, t.Left = No, left
		switch {
		case verdict == finding.Clean, len(left) == 0 && verdict == finding.Damaged:
			t.Clean = Yes
		case truth.Unrepairable != "":
			t.Clean = Nothing
		}
	}
	if t.Repaired == Yes {
		if err := w.undo(ctx, run); err != nil {
			return t.failed("undo", err), ctx.Err()
		}
		after, err := w.digest()
		if err != nil {
			return nil, err
		}
		t.Undone = No
		if after == before {
			t.Undone = Yes
		}
	}
	return t, nil
}

// failed ends a trial at an error of what is on trial.
func (t *Trial) failed(at string, err error) *Trial {
	t.Error = fmt.Sprintf("%s: %v", at, err)
	return t
}

// workshop is one store with a directory for its runs.
type workshop struct {
	kit   *Kit
	path  string
	state string
}

func (w *workshop) open(ctx context.Context) (store.Store, error) {
	paths, err := w.paths()
	if err != nil {
		return nil, err
	}
	return w.kit.System.Open(ctx, store.Location{System: w.kit.System.Name(), Paths: paths, Text: w.path}, store.Options{})
}

func (w *workshop) paths() ([]string, error) {
	if w.kit.Paths == nil {
		return []string{w.path}, nil
	}
	return w.kit.Paths(w.path)
}

// check runs a check and returns what it found, without what is only worth knowing.
func (w *workshop) check(ctx context.Context) (*runs.Run, []Expect, finding.Verdict, error) {
	st, err := w.open(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	defer st.Close()
	dir, err := runs.Open(w.state)
	if err != nil {
		return nil, nil, "", err
	}
	paths, err := w.paths()
	if err != nil {
		return nil, nil, "", err
	}
	run, err := dir.New(runs.Spec{Store: w.path, System: w.kit.System.Name(), Paths: paths})
	if err != nil {
		return nil, nil, "", err
	}
	var found []Expect
	sum, err := check.Run(ctx, check.Config{Store: st, Classes: w.kit.System.Classes(), Run: run, OnFinding: func(f finding.Finding) {
		if f.Counts() {
			found = append(found, w.kit.Observe(&f))
		}
	}})
	return run, found, sum.Verdict, err
}

// planners opens the store for repair; there are none when the system can only check.
func (w *workshop) planners(ctx context.Context) (store.Store, []store.Planner, error) {
	st, err := w.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	var out []store.Planner
	for _, u := range st.Units() {
		if p, ok := u.(store.Planner); ok {
			out = append(out, p)
		}
	}
	return st, out, nil
}

// repair plans by default actions and the rules of a policy, and applies the plan, whatever it loses.
func (w *workshop) repair(ctx context.Context, run *runs.Run, rules []string, t *Trial) error {
	policy, err := finding.ParsePolicy(rules, w.kit.System.Classes())
	if err != nil {
		return err
	}
	st, units, err := w.planners(ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	if len(units) == 0 {
		return nil
	}
	work := repair.WorkDirs(run.Path())
	plan, err := repair.Make(ctx, repair.MakeConfig{Run: run.ID(), Store: w.path, Units: units, Findings: run.Findings(), Policy: policy, WorkDir: work})
	if err != nil {
		return err
	}
	if plan.Steps() == 0 {
		return nil
	}
	t.Repaired = No
	if err := plan.Save(run.File(repair.PlanFile)); err != nil {
		return err
	}
	res, err := repair.Apply(ctx, repair.ApplyConfig{Plan: plan, Units: units, Dir: run.Path(), WorkDir: work, MaxLoss: repair.NewThreshold(100, 0)})
	if err != nil {
		return err
	}
	for _, u := range res.Units {
		for _, s := range u.Steps {
			t.Findings += len(s.Findings)
		}
	}
	t.Repaired = Yes
	return nil
}

func (w *workshop) undo(ctx context.Context, run *runs.Run) error {
	st, units, err := w.planners(ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = repair.Undo(ctx, repair.UndoConfig{Units: units, Dir: run.Path(), WorkDir: repair.WorkDirs(run.Path())})
	return err
}

// digest sums up all files of the store.
func (w *workshop) digest() (string, error) { return Digest(w.kit.Files(w.path)) }
