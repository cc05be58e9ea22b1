package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fettle/internal/check"
	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/say"
	"fettle/internal/store"
)

// session is a run whose store is open, to plan, apply or undo. It holds the run's lock.
type session struct {
	app    *App
	run    *runs.Run
	sys    store.System
	st     store.Store
	units  []store.Planner
	unlock func()
}

// openRun opens the store that a run is about. close must be called.
func (a *App) openRun(ctx context.Context, r *runs.Run) (*session, error) {
	spec := r.Spec()
	sys, err := a.systemOf(r.ID(), spec.System)
	if err != nil {
		return nil, err
	}
	unlock, err := r.Lock()
	if err != nil {
		return nil, err
	}
	st, err := sys.Open(ctx, spec.Location(), spec.Options())
	if err != nil {
		unlock()
		return nil, err
	}
	s := &session{app: a, run: r, sys: sys, st: st, unlock: unlock}
	for _, u := range st.Units() {
		if p, ok := u.(store.Planner); ok {
			s.units = append(s.units, p)
		}
	}
	if len(s.units) == 0 {
		s.close()
		return nil, &fault.Error{Op: "open for repair", Where: spec.Store, Err: fmt.Errorf("this kind of %s store can only be checked", sys.Name()), Kind: fault.Unrepaired}
	}
	return s, nil
}

func (s *session) close() {
	s.st.Close() // opened read-only: nothing can be lost
	s.unlock()
}

// toRepair yields the findings that a repair is about: neither races nor accepted ones.
func toRepair(r *runs.Run) func(func(finding.Finding, error) bool) {
	return func(yield func(finding.Finding, error) bool) {
		for f, err := range real(r) {
			if err == nil && f.Accepted {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// ready refuses runs that cannot be planned for: those whose check has not ended, and those whose repair is under way.
func (s *session) ready() error {
	sum, err := s.run.Summary()
	if err != nil {
		return err
	}
	id := s.run.ID()
	if sum.State != runs.Finished {
		return &fault.Error{Op: "plan", Where: id, Err: fmt.Errorf("the check is %s, so not everything is known", sum.State),
			Hint: "complete it first: " + s.app.commandLine("resume", id)}
	}
	st, err := repair.StateOf(s.run.Path())
	if err != nil {
		return err
	}
	switch st.State {
	case repair.None, repair.PlannedState, repair.Undone:
		return nil
	case repair.Applied:
		return &fault.Error{Op: "plan", Where: id, Err: errors.New("it has been repaired already"), Kind: fault.Unrepaired,
			Hint: fmt.Sprintf("check again: %s; or take it back: %s", s.app.commandLine("check", s.run.Spec().Store), s.app.commandLine("undo", id))}
	}
	return &fault.Error{Op: "plan", Where: id, Err: fmt.Errorf("its repair is %s", st.State), Kind: fault.Unrepaired,
		Hint: fmt.Sprintf("complete it: %s; or take it back: %s", s.app.commandLine("apply", "--resume", id), s.app.commandLine("undo", id))}
}

// planMemory is what a plan may take for each finding before the collector works against it, in bytes, and planBase what it may take beside that.
// A plan is in memory as a whole, with its findings, whatever the budget is, and takes some 2.4 KiB for each: near the limit half of the
// time would go into collections that find nothing.
const (
	planMemory = 3600
	planBase   = 64 << 20
)

// makePlan makes the plan of the run by the policy. Nothing is saved.
func (s *session) makePlan(ctx context.Context, pol finding.Policy) (*repair.Plan, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	ctx, done := s.app.metered(ctx, s.run.ID())
	defer done()
	sum, err := s.run.Summary()
	if err != nil {
		return nil, err
	}
	defer s.app.limitMemory(max(int64(s.app.memory), planBase+int64(sum.Findings)*planMemory))()
	return repair.Make(ctx, repair.MakeConfig{Run: s.run.ID(), Store: s.run.Spec().Store, Units: s.units, Findings: toRepair(s.run),
		Policy: pol, WorkDir: check.WorkDirs(s.run)})
}

// choices is the question to ask before a repair: the system's own when one unit has findings and can put them to a person,
// otherwise whether to do as suggested.
func (s *session) choices(ctx context.Context) (string, []store.Choice, error) {
	units, n := map[string]bool{}, 0
	for f, err := range toRepair(s.run) {
		if err != nil {
			return "", nil, err
		}
		if f.Counts() {
			units[f.Unit] = true
			n++
		}
	}
	if len(units) == 1 {
		for _, u := range s.units {
			c, ok := u.(store.Chooser)
			if !ok || !units[u.ID()] {
				continue
			}
			ctx, done := s.app.metered(ctx, s.run.ID())
			question, answers, err := c.Choices(ctx, toRepair(s.run))
			done()
			if err != nil || len(answers) > 0 {
				return strings.TrimRight(question, ".") + ".", answers, err // one sentence, with or without its end
			}
		}
	}
	question := say.Count(n, "finding") + "."
	return question, []store.Choice{{Key: 's', Label: "do as suggested"}}, nil
}
