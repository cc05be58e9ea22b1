package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/recover"
)

// recoverEngine lends the check and repair engines to a recovery. Its runs lie in the work directory that it is given: they
// are about files that will be gone.
type recoverEngine struct {
	app   *App
	limit repair.Threshold
}

// Allows implements recover.Engine.
func (e recoverEngine) Allows(loss store.Loss) bool { return e.limit.Allows(loss) }

// maxTitles is how many findings a report names.
const maxTitles = 200

// Check implements recover.Engine.
func (e recoverEngine) Check(ctx context.Context, path, work string) (*recover.Checked, error) {
	r, sum, err := e.run(ctx, path, work)
	if err != nil {
		return nil, err
	}
	return digest(r, sum)
}

// run checks the database at path as a run in work.
func (e recoverEngine) run(ctx context.Context, path, work string) (*runs.Run, runs.Summary, error) {
	dir, err := runs.Open(filepath.Join(work, "runs"))
	if err != nil {
		return nil, runs.Summary{}, err
	}
	sys := flux.System{}
	spec := runs.Spec{Version: e.app.Version, Store: path, System: sys.Name(), Paths: []string{path}, Memory: int64(e.app.memory), Workers: e.app.workers}
	st, err := sys.Open(ctx, spec.Location(), spec.Options())
	if err != nil {
		return nil, runs.Summary{}, err
	}
	defer st.Close()
	r, err := dir.New(spec)
	if err != nil {
		return nil, runs.Summary{}, err
	}
	sum, err := e.app.engine(ctx, r, &job{sys: sys, spec: spec}, st, false, nil)
	return r, sum, err
}

// digest is what a report says about a run.
func digest(r *runs.Run, sum runs.Summary) (*recover.Checked, error) {
	out := &recover.Checked{Clean: sum.Verdict == finding.Clean, Findings: sum.Findings, ByClass: sum.ByClass, Notes: sum.Notes}
	switch n := sum.Facts["keys"].(type) {
	case int64:
		out.Keys = n
	case float64:
		out.Keys = int64(n)
	case int:
		out.Keys = int64(n)
	}
	for f, err := range r.Findings() {
		if err != nil {
			return nil, err
		}
		if !f.Counts() {
			continue
		}
		if len(out.Titles) == maxTitles {
			out.Titles = append(out.Titles, "and more")
			break
		}
		out.Titles = append(out.Titles, fmt.Sprintf("%s %s: %s", f.Class, f.PathOr(f.Subject), f.Title))
	}
	return out, nil
}

// Repair implements recover.Engine.
func (e recoverEngine) Repair(ctx context.Context, path, work string, rules []string) (*recover.Repaired, error) {
	r, sum, err := e.run(ctx, path, work)
	if err != nil {
		return nil, err
	}
	out := &recover.Repaired{}
	if sum.Verdict != finding.Clean {
		if err := e.repair(ctx, r, rules, out); err != nil {
			return nil, err
		}
	}
	out.After, err = e.Check(ctx, path, work)
	return out, err
}

// repair makes a plan for a run and applies it, whatever it drops: the database is a copy.
func (e recoverEngine) repair(ctx context.Context, r *runs.Run, rules []string, out *recover.Repaired) error {
	s, err := e.app.openRun(ctx, r)
	if err != nil {
		return err
	}
	defer s.close()
	pol, err := finding.ParsePolicy(rules, s.sys.Classes())
	if err != nil {
		return err
	}
	plan, err := s.makePlan(ctx, pol)
	if err != nil {
		return err
	}
	for _, u := range plan.Units {
		what := map[int]repair.Planned{}
		for _, p := range u.Findings {
			what[p.Seq] = p
		}
		for _, o := range u.Outcomes {
			out.Lines = append(out.Lines, recover.Line{Class: what[o.Seq].Class, What: what[o.Seq].What, Action: string(o.Action), Result: o.Result, Loses: o.Loses})
		}
		out.Loss.Dropped += u.Loss.Dropped
		out.Loss.Total += u.Loss.Total
		out.Loss.Unit = u.Loss.Unit
		out.Notes = append(out.Notes, u.Notes...)
	}
	ctx, done := e.app.metered(ctx, r.ID())
	defer done()
	_, err = repair.Apply(ctx, repair.ApplyConfig{Plan: plan, Units: s.units, Dir: r.Path(), WorkDir: check.WorkDirs(r), MaxLoss: repair.NewThreshold(100, 1<<62)})
	return err
}
