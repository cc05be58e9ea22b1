package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/runs"
	"fettle/internal/say"
)

func (a *App) newStatus() *cobra.Command {
	var format string
	c := verb(cobra.Command{
		Use:   "status RUN",
		Short: "Show how far a check is, while it runs and afterwards",
		Long: `Shows the state of a check, its pass and how far that is, speed, limits, and the age of the last checkpoint. The time that is left
is that of the pass at work: what the next one will have to do is not known before.

--format lfsck writes a check of a Lustre file system as "lctl get_param mdd.*.lfsck_namespace" would, for scripts that parse that:
one block for each MDT. Phase 1 is the sweep, phase 2 what comes after it. Before a repair it looks like a dry run, with counters of
what was found (_inconsistent); afterwards the counters are of what was repaired (_repaired). Findings that LFSCK has no counter for are
in unknown_inconsistency.`,
		Example: `  fettle status last
  fettle status last --json | jq .records_per_s
  fettle status last --format lfsck | awk '/^status:/ { print $2 }'`,
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			switch format {
			case "text", "json", "lfsck":
			default:
				return usagef("text, json or lfsck", "--format %q is none that there is", format)
			}
			if a.json && format == "lfsck" {
				return usagef("leave one of them out", "--json and --format lfsck exclude each other")
			}
			a.json = a.json || format == "json"
			r, err := a.findRun(args[0])
			if err != nil {
				return err
			}
			if format == "lfsck" {
				return lfsckReport(a.Out, r)
			}
			return a.status(r)
		},
	}, exitClean, exitError, exitUsage)
	c.Flags().StringVar(&format, "format", "text", "`FORM`: text, json (as --json) or lfsck")
	complete(c, "format", "text", "json", "lfsck")
	return c
}

// status prints where a run is.
func (a *App) status(r *runs.Run) error {
	st, err := r.Status()
	if err != nil {
		return err
	}
	if a.json {
		return a.line(st)
	}
	spec := r.Spec()
	a.print("run         %s", r.ID())
	a.print("store       %s", say.Clean(spec.Store))
	a.print("state       %s", st.State)
	if st.Error != "" {
		a.print("error       %s", say.Clean(st.Error))
	}
	if st.Pass != "" && st.State != runs.Finished {
		a.print("at          %s", progressLine(st.Progress))
	}
	if st.State == runs.Running {
		a.print("limits      %s, %s", limitText(st.Rate, "records/s"), limitText(st.RateBytes, "bytes/s"))
	}
	a.print("time        %s", durationText(st.Elapsed))
	for _, p := range st.ByPass {
		a.print("  %-9s %s records in %s", say.Clean(p.Pass), countText(float64(p.Records)), durationText(p.Seconds))
	}
	if c := st.Checkpoint; c != nil && st.State != runs.Finished {
		a.print("checkpoint  %s ago", durationText(time.Since(c.Saved).Seconds()))
	}
	if sum, err := r.Summary(); err == nil && sum.State == runs.Finished {
		a.print("verdict     %s, %s", sum.Verdict, say.Count(sum.Findings, "finding"))
	} else if err == nil {
		a.print("verdict     %s: not finished, %s so far", sum.Verdict, say.Count(sum.Findings, "finding"))
	} else if st.Findings > 0 {
		a.print("found       %s so far", say.Count(st.Findings, "finding"))
	}
	for _, l := range nextOf(a, r, st) {
		a.print("%s", l)
	}
	return nil
}

// nextOf says what can be done with a run in that state.
func nextOf(a *App, r *runs.Run, st runs.Status) []string {
	switch {
	case st.State == runs.Running:
		return []string{fmt.Sprintf("stop it with  %s", a.commandLine("stop", r.ID()))}
	case st.Resumable():
		return []string{fmt.Sprintf("go on with  %s", a.commandLine("resume", r.ID()))}
	}
	return nil
}
