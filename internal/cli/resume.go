package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/runs"
)

func (a *App) newResume() *cobra.Command {
	return verb(cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a check that was stopped or killed",
		Long: `Goes on with a check from its last checkpoint, with everything that was asked for when it was started. What was found after
that checkpoint is found again. A part of the store that was written to in the meantime is checked from its beginning.

A repair that was interrupted is completed with fettle apply --resume.`,
		Example:           "  fettle resume last",
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.findRun(args[0])
			if err != nil {
				return err
			}
			code, err := a.resumeRun(c.Context(), r)
			if err != nil {
				return err
			}
			return exit(code)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
}

func (a *App) resumeRun(ctx context.Context, r *runs.Run) (int, error) {
	status, err := r.Status()
	if err != nil {
		return exitError, err
	}
	if status.State == runs.Running {
		return exitError, &fault.Error{Op: "resume", Where: r.ID(), Err: fmt.Errorf("it is running (process %d on %s)", status.PID, status.Host),
			Hint: a.commandLine("runs", "show", r.ID()) + " shows how far it is", Kind: fault.Usage}
	}
	spec := r.Spec()
	sys, err := a.systemOf(r.ID(), spec.System)
	if err != nil {
		return exitError, err
	}
	j := &job{sys: sys, spec: spec}
	if err := j.parse(); err != nil {
		return exitError, err
	}
	st, err := sys.Open(ctx, spec.Location(), spec.Options())
	if err != nil {
		return exitError, err
	}
	defer st.Close()
	sum, err := a.runCheck(ctx, r, j, st, true)
	if err != nil {
		return exitError, err
	}
	if a.json {
		return exitOf(sum.Verdict), a.line(sum)
	}
	return exitOf(sum.Verdict), a.showRunText(r, sum, sys, a.next(r, sum))
}
