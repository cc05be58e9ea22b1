package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/systems/flux/recover"
)

// newFlux is the parent of what is only about Flux.
func (a *App) newFlux() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "flux",
		Short: "What only a Flux instance needs",
		Long:  `Commands about a whole Flux state directory. Content stores themselves are checked and repaired by the general commands.`,
		Example: `  fettle flux recover --dry-run /var/lib/flux
  fettle flux recover /var/lib/flux`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}, exitClean, exitUsage)
	return sub(c, a.newFluxRecover())
}

// recoverFlags are the flags of fettle flux recover.
type recoverFlags struct {
	dryRun  bool
	maxLoss string
	dumpDir string
	hash    string

	noRollback, noRestore, noForced, noMinimal bool
}

func (a *App) newFluxRecover() *cobra.Command {
	var f recoverFlags
	c := verb(cobra.Command{
		Use:   "recover STATEDIR",
		Short: "Make a state directory startable, whatever happened to it",
		Long: `Brings a Flux state directory into a state from which Flux starts, without asking. Run it before Flux is started: if nothing
is wrong it writes nothing and exits 0.

Routes, in this order: repair, if no more than --max-loss is dropped; else back to the newest checkpoint that is good as a
whole; else the newest dump that is known to be good; a repair that drops more, where going back would lose more still; and
if nothing else is left a minimal store. Drained nodes are kept by the latest evidence anywhere, and later job ids are above
all that were ever seen.

Before anything is changed, everything readable is written to an emergency dump. The damaged database is never written to
and never deleted: it is kept as content.sqlite.damaged-TIME. The new one is put in place by one rename after a check found
it clean, so that recover can be killed at any moment and simply be run again. A dump/RESTORE link that would undo the
result at the next start is set aside. A report (text and JSON) is left in the state directory.

Exit 0: nothing was wrong. Exit 1: recovered, it is safe to start. For systemd: SuccessExitStatus=1.
With --dry-run exit 4: something would be done.`,
		Example: `  fettle flux recover --dry-run /var/lib/flux
  fettle flux recover /var/lib/flux
  fettle flux recover --max-loss 5% --no-minimal --json /var/lib/flux`,
		Args: wants(1, 1, "the state directory of a Flux instance"),
		RunE: func(c *cobra.Command, args []string) error { return a.fluxRecover(c.Context(), args[0], &f) },
	}, exitClean, exitRepaired, exitUnrepaired, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.BoolVar(&f.dryRun, "dry-run", false, "show what would be done and write nothing")
	p.StringVar(&f.maxLoss, "max-loss", "1%,100", "prefer going back to a repair that drops more than `PART`: a percentage, a count, or the larger of both")
	p.StringVar(&f.dumpDir, "dump-dir", "", "`DIR` with the dumps of flux dump (default: dump in STATEDIR)")
	p.StringVar(&f.hash, "hash", "", "`HASH` is content.hash of the instance, for when nothing is left that tells: sha1 or sha256")
	p.BoolVar(&f.noRollback, "no-rollback", false, "do not go back to an older checkpoint")
	p.BoolVar(&f.noRestore, "no-restore", false, "do not restore a dump")
	p.BoolVar(&f.noForced, "no-forced", false, "do not repair beyond --max-loss")
	p.BoolVar(&f.noMinimal, "no-minimal", false, "do not make a minimal store")
	return c
}

func (a *App) fluxRecover(ctx context.Context, dir string, f *recoverFlags) error {
	limit, err := repair.ParseThreshold(f.maxLoss)
	if err != nil {
		return usagef("for example --max-loss 1%% or --max-loss 200", "--max-loss: %w", err)
	}
	if f.hash != "" && f.hash != "sha1" && f.hash != "sha256" {
		return usagef("--hash sha1 or --hash sha256", "unknown value %q of --hash", f.hash)
	}
	ctx, done := a.metered(ctx, "")
	rep, err := recover.Run(ctx, recover.Config{StateDir: dir, DumpDir: f.dumpDir, DryRun: f.dryRun, NoRollback: f.noRollback, NoRestore: f.noRestore,
		NoForced: f.noForced, NoMinimal: f.noMinimal, Hash: f.hash, Engine: recoverEngine{app: a, limit: limit}, Now: time.Now, Tell: a.tell})
	done()
	if errors.Is(err, context.Canceled) {
		err = &fault.Error{Op: "recover", Where: dir, Err: err, Kind: fault.Cancelled, Hint: "run it again"}
	}
	if err != nil {
		if rep != nil && !a.json {
			for _, n := range rep.Notes {
				a.tell(n)
			}
		}
		return err
	}
	if a.json {
		if err := a.line(rep); err != nil {
			return err
		}
	} else if !a.quiet {
		if _, err := a.Out.Write([]byte(rep.Text())); err != nil {
			return err
		}
	}
	code := rep.Code()
	if f.dryRun && code == exitRepaired {
		code = exitUnrepaired // nothing is recovered yet, and it is not safe to start
	}
	return exit(code)
}

// tell says what is being done, for a log. Nothing with --json or --quiet.
func (a *App) tell(text string) {
	if !a.json && !a.quiet {
		a.clearProgress()
		a.Err.Write([]byte(text + "\n")) // about the work only: nothing depends on it
	}
}
