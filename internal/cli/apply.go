package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fettle/internal/check"
	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/say"
)

// applyFlags say how far a repair may go.
type applyFlags struct {
	yes     bool
	maxLoss string
	allow   []string
}

func (f *applyFlags) add(p *pflag.FlagSet) {
	p.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	p.StringVar(&f.maxLoss, "max-loss", "1%,100", "refuse to drop more than `PART` of a unit: a percentage, a count, or the larger of both")
	p.StringArrayVar(&f.allow, "allow", nil, "allow `CLASS/ACTION`, which cannot be undone (repeatable)")
}

// threshold reads --max-loss.
func (f *applyFlags) threshold() (repair.Threshold, error) {
	t, err := repair.ParseThreshold(f.maxLoss)
	if err != nil {
		return t, usagef("for example --max-loss 1%% or --max-loss 200", "--max-loss: %w", err)
	}
	return t, nil
}

func (a *App) newApply() *cobra.Command {
	var f applyFlags
	var pol policyFlags
	var resume, edited bool
	c := verb(cobra.Command{
		Use:   "apply PLAN|RUN",
		Short: "Carry out a plan and check again",
		Long: `Carries out the plan in a file, or the one that was made for a run. Every change is in the run's journal, on disk, before the
store is written to, so an interrupted repair can be completed (--resume) or taken back (fettle undo), byte for byte.

Nothing is written when the store is in use, when a record is no longer what the plan says, when more would be lost than
--max-loss allows, or when a change that cannot be undone has not been allowed by name.

Afterwards the same check runs again, as a new run, and its verdict is printed. A run without a plan is planned first, by the
policy that is given: on a terminal after asking how, otherwise only with --yes. What a plan that was made does is decided in it; for
another policy make another one: fettle plan RUN --policy RULE.

"last" is the newest run. If a repair was taken back since that run, it is the run that the repair was of: what it found is there again.`,
		Example: `  fettle apply last
  fettle apply --yes --max-loss 0.5% plan.json
  fettle apply --yes --policy 'lustre/dangling-name=remove' last
  fettle apply --resume last`,
		Args:              wants(1, 1, "a plan or a run"),
		ValidArgsFunction: a.completeRunsOrFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := f.threshold(); err != nil {
				return err
			}
			r, plan, err := a.findPlan(args[0], repair.LoadOptions{AllowEdited: edited})
			if err != nil {
				return err
			}
			if plan != nil && pol.given() {
				return usagef("make another plan with it, read that, and apply it: "+a.commandLine(append([]string{"plan", r.ID()}, pol.words()...)...),
					"the plan of run %s is made already, and decides what becomes of each finding", r.ID())
			}
			m := mending{app: a, run: r, plan: plan, policy: pol, flags: &f, resume: resume}
			code, err := m.do(c.Context())
			if err != nil {
				return err
			}
			return exit(code)
		},
	}, exitClean, exitRepaired, exitUnrepaired, exitError, exitUsage, exitCancelled)
	f.add(c.Flags())
	pol.add(c.Flags())
	c.Flags().BoolVar(&resume, "resume", false, "complete a repair that was interrupted")
	c.Flags().BoolVar(&edited, "allow-edited", false, "accept a plan that was changed by hand")
	return c
}

// findPlan finds the plan that arg names: a file, or a run that may have none yet.
func (a *App) findPlan(arg string, opts repair.LoadOptions) (*runs.Run, *repair.Plan, error) {
	if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() {
		plan, err := repair.LoadFile(arg, opts)
		if err != nil {
			return nil, nil, err
		}
		r, err := a.findRun(plan.Run)
		if err != nil {
			return nil, nil, fmt.Errorf("%s is a plan of run %s: %w", arg, plan.Run, err)
		}
		return r, plan, nil
	}
	r, err := a.findInForce(arg)
	if err != nil {
		return nil, nil, err
	}
	plan, err := repair.LoadFile(r.File(repair.PlanFile), opts)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil, nil
	}
	return r, plan, err
}

// mending is one repair from the decision to the second check.
type mending struct {
	app    *App
	run    *runs.Run
	plan   *repair.Plan // nil: still to be made
	policy policyFlags
	flags  *applyFlags
	resume bool
	result *repair.Result
}

// repairFound repairs what a check has just found.
func (a *App) repairFound(ctx context.Context, r *runs.Run, f *checkFlags) (int, error) {
	m := mending{app: a, run: r, policy: f.policyFlags, flags: &f.applyFlags}
	return m.do(ctx)
}

// do returns the exit code. An error means that the repair was refused or failed.
func (m *mending) do(ctx context.Context) (int, error) {
	a := m.app
	s, err := a.openRun(ctx, m.run)
	if err != nil {
		return exitError, err
	}
	goOn, err := m.decide(ctx, s)
	if err == nil && goOn {
		err = m.carryOut(ctx, s)
	}
	s.close()
	if err != nil {
		return exitOfError(err), err
	}
	if !goOn {
		return m.nothing()
	}
	return m.verify(ctx)
}

// carryOut applies the plan and records what became of the findings.
func (m *mending) carryOut(ctx context.Context, s *session) error {
	limit, err := m.flags.threshold()
	if err != nil {
		return err
	}
	allowed, err := m.allowed(s)
	if err != nil {
		return err
	}
	cfg := repair.ApplyConfig{Plan: m.plan, Units: s.units, Dir: m.run.Path(), WorkDir: check.WorkDirs(m.run), MaxLoss: limit,
		AllowIrreversible: allowed, OnStep: m.app.step}
	work := repair.Apply
	if m.resume {
		work = repair.Resume
	}
	ctx, done := m.app.metered(ctx, m.run.ID())
	res, err := work(ctx, cfg)
	done()
	m.result = res
	if rerr := m.record(res); rerr != nil {
		err = errors.Join(err, rerr)
	}
	var refused *fault.Error
	if errors.Is(err, repair.ErrLoss) && errors.As(err, &refused) {
		exact := *refused
		exact.Hint = "read the plan; to do it all the same: " + m.app.commandLine("apply", m.run.ID(), "--max-loss", m.largestLoss())
		return &exact
	}
	return err
}

// step shows the progress of a repair or an undo.
func (a *App) step(p repair.Progress) {
	if a.json {
		return
	}
	switch p.Phase {
	case "done":
		a.print("  step %d of %d: %s (%s)", p.Step, p.Of, say.Clean(p.Title), say.Count(p.Records, "record"))
	case "undone":
		a.print("  step %d taken back: %s (%s)", p.Step, say.Clean(p.Title), say.Count(p.Records, "record"))
	}
}

// largestLoss is the threshold that would let the plan through.
func (m *mending) largestLoss() string {
	var most int64
	for _, u := range m.plan.Units {
		most = max(most, u.Loss.Dropped)
	}
	return fmt.Sprint(most)
}

// record writes what became of the findings of complete steps into the run.
func (m *mending) record(res *repair.Result) error {
	done := map[int]bool{}
	for _, u := range res.Units {
		for _, st := range u.Steps {
			for _, seq := range st.Findings {
				done[seq] = true
			}
		}
	}
	var outs []runs.Outcome
	for _, u := range m.plan.Units {
		for _, o := range u.Outcomes {
			if done[o.Seq] {
				outs = append(outs, runs.Outcome{Seq: o.Seq, Action: o.Action, Result: o.Result, Stage: "apply"})
			}
		}
	}
	return m.run.AddOutcomes(outs...)
}
