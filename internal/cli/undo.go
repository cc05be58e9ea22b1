package cli

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/check"
	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/runs"
)

func (a *App) newUndo() *cobra.Command {
	return verb(cobra.Command{
		Use:   "undo RUN [SEQ...]",
		Short: "Take a repair back, byte for byte",
		Long: `Takes back what fettle apply did for a run, from the run's journal: every record gets its old content again, the last one
written first. With sequence numbers only the steps that repaired these findings are taken back.

"last" is the newest run; if that is only a check, it is the newest repair of the same store.

A record that somebody else has changed since stops the undo before anything is written. An undo that was interrupted is
completed by calling it again, and so is a repair that was interrupted and is not wanted any more.`,
		Example: `  fettle undo last
  fettle undo last 3 7`,
		Args:              wants(1, -1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			var seqs []int
			for _, t := range args[1:] {
				n, err := strconv.Atoi(strings.TrimPrefix(t, "#"))
				if err != nil || n < 1 {
					return usagef("fettle findings RUN shows the numbers", "%q is not the number of a finding", t)
				}
				seqs = append(seqs, n)
			}
			r, err := a.findRepaired(args[0])
			if err != nil {
				return err
			}
			s, err := a.openRun(c.Context(), r)
			if err != nil {
				return err
			}
			defer s.close()
			ctx, done := a.metered(c.Context(), r.ID())
			res, err := repair.Undo(ctx, repair.UndoConfig{Units: s.units, Dir: r.Path(), Findings: seqs,
				WorkDir: check.WorkDirs(r), OnStep: a.step})
			done()
			if err != nil {
				return err
			}
			return s.undone(res)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
}

// findRepaired finds the run whose repair is to be taken back. A repair ends with a second check, and people check once more: "last"
// means the newest run if something of its own plan was applied, or else the newest repair of the same store, taken back or not. A repair behind
// one that was taken back is never meant.
func (a *App) findRepaired(name string) (*runs.Run, error) {
	r, err := a.findRun(name)
	if err != nil || name != last {
		return r, err
	}
	st, err := repair.StateOf(r.Path())
	if err != nil {
		return nil, err
	}
	if st.State != repair.None && st.State != repair.PlannedState {
		return r, nil
	}
	all, err := a.runsOfStore(r)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		st, err := repair.StateOf(one.Path())
		if err != nil {
			return nil, err
		}
		if st.State != repair.None && st.State != repair.PlannedState {
			a.say("last: the repair of run %s", one.ID())
			return one, nil
		}
	}
	return r, nil
}

// undone records and tells what was taken back.
func (s *session) undone(res *repair.UndoResult) error {
	a := s.app
	st, err := repair.StateOf(s.run.Path())
	if err != nil {
		return err
	}
	var outs []runs.Outcome
	for _, u := range st.Units {
		for _, step := range u.Steps {
			if step.State != repair.Undone {
				continue
			}
			for _, seq := range step.Findings {
				outs = append(outs, runs.Outcome{Seq: seq, Stage: "undo"})
			}
		}
	}
	if err := s.run.AddOutcomes(outs...); err != nil {
		return err
	}
	if err := os.Remove(s.run.File(verifyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Op: "undo", Err: err}
	}
	if a.json {
		return a.line(struct {
			Type   string              `json:"type"`
			Schema int                 `json:"schema"`
			Run    string              `json:"run"`
			State  repair.State        `json:"state"`
			Units  []repair.UndoneUnit `json:"units"`
		}{"undo", 1, s.run.ID(), st.State, res.Units})
	}
	store := storeLabel(s.run)
	if st.State == repair.Undone {
		a.print("%s: undone: every byte is as it was before the repair", store)
		return nil
	}
	a.print("%s: %s: the records of these steps are as they were before", store, st.State)
	a.print("  %s", a.commandLine("runs", "show", s.run.ID()))
	return nil
}
