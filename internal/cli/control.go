package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/runs"
)

// stopPatience is how long fettle stop waits for the run to end.
const stopPatience = 30 * time.Second

func (a *App) newStop() *cobra.Command {
	var wait bool
	c := verb(cobra.Command{
		Use:   "stop RUN",
		Short: "Stop a running check at its next safe point",
		Long: `Asks the process of a running check to stop. It takes a checkpoint first, so that fettle resume goes on from there.
The command waits until the run has stopped.`,
		Example:           "  fettle stop last",
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.running(args[0])
			if err != nil {
				return err
			}
			if err := r.Request(runs.Control{Stop: true}); err != nil {
				return err
			}
			if !wait {
				return nil
			}
			for end := time.Now().Add(stopPatience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				st, err := r.Status()
				if err != nil {
					return err
				}
				if st.State != runs.Running {
					a.say("run %s is %s", r.ID(), st.State)
					return nil
				}
				if err := c.Context().Err(); err != nil {
					return err
				}
			}
			return &fault.Error{Op: "stop", Where: r.ID(), Err: errors.New("it was asked to, but has not stopped yet"), Hint: "fettle runs shows when it has"}
		},
	}, exitClean, exitError, exitUsage)
	c.Flags().BoolVar(&wait, "wait", true, "wait until the run has stopped")
	return c
}

func (a *App) newRate() *cobra.Command {
	var bytes string
	c := verb(cobra.Command{
		Use:   "rate RUN [N]",
		Short: "Change how fast a running check may go",
		Long: `Limits a running check to N records per second, and with --bytes to so many bytes per second. 0 lifts a limit.
Without either it shows the limits in force.`,
		Example:           "  fettle rate last 5000\n  fettle rate last --bytes 20MiB\n  fettle rate last 0",
		Args:              wants(1, 2, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.running(args[0])
			if err != nil {
				return err
			}
			var ask runs.Control
			if len(args) == 2 {
				n, err := strconv.ParseInt(args[1], 10, 64)
				if err != nil || n < 0 {
					return usagef("records per second; 0 lifts the limit", "%q is not a rate", args[1])
				}
				ask.Rate = &n
			}
			if bytes != "" {
				n, err := parseSize(bytes)
				if err != nil {
					return usagef("", "--bytes: %w", err)
				}
				ask.RateBytes = &n
			}
			if ask != (runs.Control{}) {
				return r.Request(ask)
			}
			st, err := r.Status()
			if err != nil {
				return err
			}
			if a.json {
				return a.line(st)
			}
			a.print("%s, %s", limitText(st.Rate, "records/s"), limitText(st.RateBytes, "bytes/s"))
			return nil
		},
	}, exitClean, exitError, exitUsage)
	c.Flags().StringVar(&bytes, "bytes", "", "limit in `BYTES` per second, such as 20MiB")
	return c
}

func limitText(n int64, unit string) string {
	if n == 0 {
		return "no limit of " + unit
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// running finds a run that a process works on.
func (a *App) running(name string) (*runs.Run, error) {
	r, err := a.findRun(name)
	if err != nil {
		return nil, err
	}
	st, err := r.Status()
	if err != nil {
		return nil, err
	}
	if st.State != runs.Running {
		hint := "fettle runs lists them"
		if st.Resumable() {
			hint = a.commandLine("resume", r.ID()) + " goes on with it"
		}
		return nil, &fault.Error{Op: "find run", Where: r.ID(), Err: fmt.Errorf("it is not running but %s", st.State), Hint: hint, Kind: fault.Usage}
	}
	return r, nil
}
