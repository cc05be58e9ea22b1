package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
)

// reset puts the store back as it was made.
func (p *place) reset(t testing.TB) {
	t.Helper()
	p.suite.Copy(t, p.base, p.path)
}

// makePlan checks and plans, and sends the plan through its file. Planning must not write.
func (p *place) makePlan(t testing.TB, dir string) (*run, []finding.Finding) {
	t.Helper()
	before := p.digest(t)
	units, done := p.open(t)
	defer done()
	fs := p.checkAll(t, units)
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: p.path, Units: planners(t, units), Findings: repair.Slice(fs),
		Policy: p.policy(t), WorkDir: repair.WorkDirs(dir)})
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if err := plan.WriteDiff(io.Discard); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := plan.Write(&file); err != nil {
		t.Fatal(err)
	}
	if plan, err = repair.Load(&file, repair.LoadOptions{}); err != nil {
		t.Fatalf("the plan changed on the way through its file: %v", err)
	}
	if p.digest(t) != before {
		t.Fatal("planning changed the store")
	}
	return &run{p: p, dir: dir, plan: plan}, fs
}

// with opens the store, does something to its units, and closes it.
func (r *run) with(t testing.TB, do func([]store.Planner) error) error {
	t.Helper()
	units, done := r.p.open(t)
	defer done()
	return do(planners(t, units))
}

func (r *run) config(units []store.Planner) repair.ApplyConfig {
	return repair.ApplyConfig{Plan: r.plan, Units: units, Dir: r.dir, MaxLoss: repair.NewThreshold(100, 1<<62), AllowIrreversible: r.p.c.Allow}
}

func (r *run) apply(t testing.TB) error {
	t.Helper()
	return r.with(t, func(u []store.Planner) error { _, err := repair.Apply(context.Background(), r.config(u)); return err })
}

func (r *run) undo(t testing.TB) error {
	t.Helper()
	return r.with(t, func(u []store.Planner) error {
		_, err := repair.Undo(context.Background(), repair.UndoConfig{Units: u, Dir: r.dir})
		return err
	})
}

// testRepair: plan, apply, a second check, undo, apply again.
func (p *place) testRepair(t *testing.T) {
	defer p.reset(t)
	original := p.digest(t)
	r, fs := p.makePlan(t, t.TempDir())
	if err := r.apply(t); err != nil {
		t.Fatalf("apply: %v", err)
	}
	p.checkGone(t, r, fs)
	expect(t, "check after the repair", p.check(t), p.c.Leaves)
	repaired := p.digest(t)
	if r.plan.Steps() == 0 {
		t.Fatal("the plan has no steps; set NoRepair if nothing can be repaired")
	}
	if repaired.Content == original.Content {
		t.Fatal("the repair changed nothing")
	}
	if len(p.c.Allow) > 0 {
		return
	}
	if err := r.undo(t); err != nil {
		t.Fatalf("undo: %v", err)
	}
	if p.digest(t).Content != original.Content {
		t.Fatal("undo did not give identical bytes")
	}
	expect(t, "check after the undo", p.check(t), p.c.Want)
	if err := r.undo(t); !errors.Is(err, repair.ErrNothingToUndo) {
		t.Fatalf("second undo: %v", err)
	}
	if err := r.apply(t); err != nil {
		t.Fatalf("apply after undo: %v", err)
	}
	expect(t, "check after applying again", p.check(t), p.c.Leaves)
}

// checkGone makes sure that repaired findings are not confirmed any more.
func (p *place) checkGone(t *testing.T, r *run, fs []finding.Finding) {
	t.Helper()
	units, done := p.open(t)
	defer done()
	for _, u := range units {
		for i := range r.plan.Units {
			pu := &r.plan.Units[i]
			if pu.Unit != u.ID() {
				continue
			}
			repaired := map[int]bool{}
			for _, s := range pu.Steps {
				for _, seq := range s.Findings {
					repaired[seq] = true
				}
			}
			for j := range fs {
				if !repaired[fs[j].Seq] {
					continue
				}
				if still, err := u.Confirm(t.Context(), &fs[j]); still || err != nil {
					t.Errorf("%s %s was repaired and is still confirmed: %v, %v", fs[j].Class, fs[j].PathOr(fs[j].Subject), still, err)
				}
			}
		}
	}
}
