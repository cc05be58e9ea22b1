package recover_test

import (
	"context"
	"path/filepath"
	"testing"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/recover"
)

// engine lends the real engines to the tests, as the command line does.
type engine struct{ limit repair.Threshold }

func (e engine) Allows(l store.Loss) bool { return e.limit.Allows(l) }

func (e engine) check(ctx context.Context, path, work string) (*runs.Run, runs.Summary, error) {
	dir, err := runs.Open(filepath.Join(work, "runs"))
	if err != nil {
		return nil, runs.Summary{}, err
	}
	r, err := dir.New(runs.Spec{Store: path, System: "flux", Paths: []string{path}})
	if err != nil {
		return nil, runs.Summary{}, err
	}
	st, err := flux.System{}.Open(ctx, r.Spec().Location(), r.Spec().Options())
	if err != nil {
		return nil, runs.Summary{}, err
	}
	defer st.Close()
	sum, err := check.Run(ctx, check.Config{Store: st, Classes: flux.Classes, Run: r})
	return r, sum, err
}

func (e engine) Check(ctx context.Context, path, work string) (*recover.Checked, error) {
	_, sum, err := e.check(ctx, path, work)
	if err != nil {
		return nil, err
	}
	out := &recover.Checked{Clean: sum.Verdict == finding.Clean, Findings: sum.Findings, ByClass: sum.ByClass}
	switch n := sum.Facts["keys"].(type) {
	case int64:
		out.Keys = n
	case float64:
		out.Keys = int64(n)
	}
	return out, nil
}

func (e engine) Repair(ctx context.Context, path, work string, rules []string) (*recover.Repaired, error) {
	r, _, err := e.check(ctx, path, work)
	if err != nil {
		return nil, err
	}
	st, err := flux.System{}.Open(ctx, r.Spec().Location(), r.Spec().Options())
	if err != nil {
		return nil, err
	}
	defer st.Close()
	units := []store.Planner{st.Units()[0].(store.Planner)}
	pol, err := finding.ParsePolicy(rules, flux.Classes)
	if err != nil {
		return nil, err
	}
	plan, err := repair.Make(ctx, repair.MakeConfig{Run: r.ID(), Store: path, Units: units, Findings: r.Findings(), Policy: pol, WorkDir: check.WorkDirs(r)})
	if err != nil {
		return nil, err
	}
	out := &recover.Repaired{}
	for _, u := range plan.Units {
		out.Loss = u.Loss
	}
	cfg := repair.ApplyConfig{Plan: plan, Units: units, Dir: r.Path(), WorkDir: check.WorkDirs(r), MaxLoss: repair.NewThreshold(100, 1<<62)}
	if _, err := repair.Apply(ctx, cfg); err != nil {
		return nil, err
	}
	out.After, err = e.Check(ctx, path, work)
	return out, err
}

// config is a recovery of dir with the real engines.
func config(t *testing.T, dir string) recover.Config {
	t.Helper()
	limit, err := repair.ParseThreshold("1%,100")
	if err != nil {
		t.Fatal(err)
	}
	return recover.Config{StateDir: dir, Engine: engine{limit}}
}
