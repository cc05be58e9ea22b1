package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/say"
)

func (a *App) newPlan() *cobra.Command {
	var f policyFlags
	var out string
	var full bool
	c := verb(cobra.Command{
		Use:   "plan RUN",
		Short: "Show exactly what a repair would change",
		Long: `Makes a plan from the findings of a run: the action for each finding by the policy, and the exact changes that this means,
record by record, with what is there now and what would be. Nothing is written to the store.

The plan is kept in the run, or written to a file to be signed off; there it is always complete. It is printed like a diff.
Of many findings and records of a kind only the first few are printed, unless it is redirected into a file or --full is given.
The last line is the command that applies it. Findings that no longer hold are left out.

A finding whose action is "interact" must be decided by a person: its unit is parked, nothing of it is repaired, and the last
line is the command that decides it (exit 4). Other units go on. Infos and accepted findings park nothing.

"last" is the newest run. If a repair was taken back since that run, it is the run that the repair was of: what it found is there again.`,
		Example: `  fettle plan last
  fettle plan last --policy 'flux/dangling-*=unlink' --policy 7=ignore
  fettle plan last --full | less
  fettle plan last -o plan.json`,
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.findInForce(args[0])
			if err != nil {
				return err
			}
			s, err := a.openRun(c.Context(), r)
			if err != nil {
				return err
			}
			defer s.close()
			pol, err := a.policy(&f, s.sys)
			if err != nil {
				return err
			}
			plan, err := s.makePlan(c.Context(), pol)
			if err != nil {
				return err
			}
			if err := s.deliver(plan, out, full); err != nil {
				return err
			}
			if len(plan.ParkedFindings()) > 0 {
				return exit(exitUnrepaired)
			}
			return nil
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	f.add(c.Flags())
	c.Flags().StringVarP(&out, "output", "o", "", "write the plan to `FILE` instead of into the run")
	c.Flags().BoolVar(&full, "full", false, "print every finding and every record")
	return c
}

// deliver saves the plan, shows it, and says how to apply it.
func (s *session) deliver(plan *repair.Plan, out string, full bool) error {
	a, path, name := s.app, s.run.File(repair.PlanFile), s.run.ID()
	if out != "" {
		abs, err := filepath.Abs(out)
		if err != nil {
			return &fault.Error{Op: "save plan", Where: out, Err: err}
		}
		path, name = abs, out
	}
	if err := plan.Save(path); err != nil {
		return &fault.Error{Op: "plan", Err: err}
	}
	if a.json {
		return a.line(plan)
	}
	if a.quiet {
		return nil
	}
	show := plan.WriteSummary
	if full || isRegular(a.Out) { // what goes into a file is to be kept, not to be looked at
		show = plan.WriteDiff
	}
	if err := show(a.Out); err != nil {
		return err
	}
	a.print("")
	if plan.Steps() > 0 {
		a.print("  %s", a.commandLine("apply", name))
	}
	if parked := plan.ParkedFindings(); len(parked) > 0 {
		a.print("to decide %s as suggested, or change the actions:", say.Count(len(parked), "finding"))
		a.print("  %s", a.decideCommand(plan, parked))
	}
	return nil
}
