package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/runs"
	"fettle/internal/say"
	"fettle/internal/shell"
	"fettle/internal/store"
)

// shellFlags are the flags of fettle shell.
type shellFlags struct {
	commands []string
	unit     string
	settings
}

func (a *App) newShell() *cobra.Command {
	var f shellFlags
	c := verb(cobra.Command{
		Use:   "shell STORE",
		Short: "Browse a store like a tree of files, read-only",
		Long: `Opens a store, however damaged, to look around in: list directories, read values and raw records, compare checkpoints, save
what is readable. Type help to see the commands of the store at hand. The shell never writes to the store.

With -c it runs the given commands and ends. Without, it reads commands from standard input, with line editing, history and
completion when that is a terminal. The commands of one call run one after the other; the first one that fails ends them,
unless it did all that could be done with a damaged store. With --json, ls, stat and find given with -c write one line per node.`,
		Example: `  fettle shell /var/lib/flux/content.sqlite
  fettle shell content.sqlite -c 'ls -l job' -c checkpoints
  fettle shell content.sqlite -c 'cat resource.eventlog' > resource.eventlog
  fettle shell content.sqlite -c 'find -damaged'
  fettle shell --json content.sqlite -c 'ls -l job' | jq -r .path
  fettle shell --checkpoint 7 content.sqlite -c 'dump rescue.tgz'`,
		Args: wants(1, 1, "a store"),
		RunE: func(c *cobra.Command, args []string) error { return a.shell(c.Context(), args[0], &f) },
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringArrayVarP(&f.commands, "command", "c", nil, "run `COMMAND` and end (repeatable)")
	p.StringVar(&f.unit, "unit", "", "browse the unit `ID`, in stores that have several")
	f.settings.add(p)
	return c
}

func (a *App) shell(ctx context.Context, text string, f *shellFlags) (err error) {
	if a.json && len(f.commands) == 0 {
		return usagef("give commands with -c, such as -c 'ls -l'", "only commands given with -c have JSON output")
	}
	// A reader that goes away (| head) is an error like any other, so that nothing is left behind.
	signal.Ignore(syscall.SIGPIPE)
	sys, loc, err := a.locate(text)
	if err != nil {
		return err
	}
	set, err := f.values()
	if err != nil {
		return err
	}
	st, err := sys.Open(ctx, loc, store.Options{Settings: set})
	if err != nil {
		return err
	}
	defer st.Close() // opened read-only: nothing can be lost
	unit, err := browsable(st, sys, f.unit)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "fettle-shell-")
	if err != nil {
		return &fault.Error{Op: "make a temporary directory", Err: err, Hint: "TMPDIR says where; a few MiB are enough"}
	}
	defer func() {
		if rerr := os.RemoveAll(scratch); rerr != nil && err == nil {
			err = &fault.Error{Op: "remove the temporary directory", Err: rerr}
		}
	}()
	view, err := a.browse(ctx, unit, scratch)
	if err != nil {
		return &fault.Error{Op: "browse", Where: text, Err: err}
	}
	for _, n := range view.Notes() {
		a.say("note: %s", say.Clean(n))
	}
	sh := shell.New(shell.Config{View: view, Name: storeName(loc), Out: a.Out, Err: a.Err, OutTerminal: isTerminal(a.Out),
		ErrTerminal: isTerminal(a.Err), Clean: say.Clean, JSON: a.json})
	return a.runShell(ctx, sh, f.commands)
}

// runShell runs the commands of the command line, of the terminal, or of standard input.
func (a *App) runShell(ctx context.Context, sh *shell.Shell, commands []string) error {
	switch {
	case len(commands) > 0:
		var partly error
		for _, c := range commands {
			err := sh.Run(ctx, c)
			switch {
			case errors.Is(err, shell.ErrExit):
				return a.shellEnd(partly)
			case errors.Is(err, store.ErrPartial):
				a.complain(err)
				partly = err
			case err != nil:
				return a.shellEnd(err)
			}
		}
		return a.shellEnd(partly)
	case isTerminal(a.In) && isTerminal(a.Out) && liner.TerminalSupported():
		a.say("read-only; help lists the commands, exit or Ctrl-D leaves")
		// Ctrl-C is for the command that runs, not for the whole shell.
		return sh.Interactive(context.WithoutCancel(ctx), a.complain)
	}
	err := sh.Script(ctx, a.In, a.complain)
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return exit(exitOfError(err)) // it has been shown where it happened
}

// shellEnd is the error of a one-shot shell. What a closed pipe did not take is nobody's loss, and partial success was told before.
func (a *App) shellEnd(err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE):
		return nil
	case errors.Is(err, store.ErrPartial):
		return exit(exitError)
	}
	return err
}

// browsable finds the unit to browse.
func browsable(st store.Store, sys store.System, id string) (store.Browser, error) {
	var found []store.Browser
	var ids []string
	for _, u := range st.Units() {
		if b, ok := u.(store.Browser); ok && (id == "" || u.ID() == id) {
			found = append(found, b)
		}
		ids = append(ids, u.ID())
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, usagef("add --unit with one of: "+strings.Join(ids, ", "), "the store has %d units", len(found))
	case id != "":
		return nil, usagef("the units are: "+strings.Join(ids, ", "), "no unit %q to browse", id)
	}
	return nil, &fault.Error{Op: "browse", Err: fmt.Errorf("this kind of %s store can only be checked", sys.Name())}
}

// browse prepares the unit, with progress on a terminal if that takes long.
func (a *App) browse(ctx context.Context, u store.Browser, scratch string) (store.View, error) {
	p := a.newProgress("")
	defer p.end()
	begun := time.Now()
	return u.Browse(ctx, store.BrowseEnv{Scratch: scratch, Workers: a.workers, Memory: int64(a.memory), Progress: func(done, total int64) {
		pr := runs.Progress{Pass: "browse", Title: "reading the store", ETA: -1}
		pr.Bytes, pr.TotalBytes = done, total
		if s := time.Since(begun).Seconds(); s > 0 && done > 0 {
			pr.BytesPerSecond = float64(done) / s
			pr.ETA = float64(max(0, total-done)) / pr.BytesPerSecond
		}
		p.update(pr)
	}})
}

// storeName is what the prompt calls a store.
func storeName(loc store.Location) string {
	if len(loc.Paths) == 0 {
		return loc.System
	}
	return filepath.Base(loc.Paths[0])
}
