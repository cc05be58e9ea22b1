package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fettle/internal/fault"
	"fettle/internal/report"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// Env is what the command line gets from outside.
type Env struct {
	Systems []store.System
	Version string
	In      io.Reader
	Out     io.Writer // results
	Err     io.Writer // everything about the work
}

// App is one execution of fettle: its surroundings and the global flags.
type App struct {
	Env
	root *cobra.Command

	stateDir string
	json     bool
	quiet    bool
	memory   size
	workers  int
	color    string

	started bool          // the command line made sense and a verb was entered
	input   *bufio.Reader // of answers, nil before the first question
	asking  io.Writer     // where questions go, nil before the first one
	shown   *progress     // the progress display that is on the terminal now, nil for none
}

// defaultMemory is the budget when --memory is not given.
const defaultMemory = 256 << 20

// Main executes one command line (without the program's name) and returns its exit code.
func Main(env Env, args []string) int {
	a := New(env)
	ctx, stop := interruptible(context.Background())
	defer stop()
	a.root.SetArgs(args)
	err := a.root.ExecuteContext(ctx)
	var f *fault.Error
	if err != nil && !a.started && !errors.As(err, &f) {
		// Whatever fails before a verb is entered is about the command line.
		err = fault.NewUsage(err, a.usageHint(args))
	}
	a.complain(err)
	return exitOfError(err)
}

// usageHint says which help to read after a command line that could not be read.
func (a *App) usageHint(args []string) string {
	if c, _, err := a.root.Find(args); err == nil && c != a.root {
		return c.CommandPath() + " --help lists its flags"
	}
	return "fettle --help lists the commands, fettle COMMAND --help explains one"
}

// New builds the tree of commands. Nothing is read or written.
func New(env Env) *App {
	a := &App{Env: env, memory: defaultMemory, workers: runtime.GOMAXPROCS(0)}
	a.root = a.newRoot()
	for _, c := range a.verbs() {
		a.root.AddCommand(c)
	}
	a.completeFlags(a.root)
	return a
}

// Root is the tree of commands, for what is generated from it.
func (a *App) Root() *cobra.Command { return a.root }

// verbs lists every verb in the order in which help shows them.
func (a *App) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.newCheck(), a.newPlan(), a.newApply(), a.newUndo(),
		a.newFindings(), a.newExplain(), a.newReport(), a.newRuns(), a.newPolicy(), a.newClasses(),
		a.newStatus(), a.newStop(), a.newResume(), a.newRate(), a.newShell(),
		a.newLab(), a.newDemo(),
		a.newFlux(), a.newDevmapper(),
		a.newCompletion(), a.newMan(), a.newVersion(),
	}
}

func (a *App) newRoot() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "fettle",
		Short: "Check and repair the metadata of storage systems",
		Long: `fettle finds and repairs inconsistencies in the metadata of storage systems.

A check never writes to the store. It ends with a verdict and the next command to type.
A repair is a plan that can be read first, and that can be taken back byte for byte.

STORE is a path (recognised by its content) or SYSTEM:PATH.
RUN is the id of a run, a beginning or an end of it that is unique, or "last".`,
		Example: `  fettle check /var/lib/flux/content.sqlite
  fettle plan last
  fettle apply last
  fettle undo last`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "fettle --help lists the commands"
			if s := c.SuggestionsFor(args[0]); len(s) > 0 {
				hint = "did you mean: fettle " + strings.Join(s, ", fettle ")
			}
			return usagef(hint, "unknown command %q", args[0])
		},
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { a.started = true; return a.setUp() },
		SilenceErrors:     true,
		SilenceUsage:      true,
	}, exitClean, exitRepaired, exitUnrepaired, exitError, exitUsage, exitCancelled)
	c.CompletionOptions.DisableDefaultCmd = true
	c.SuggestionsMinimumDistance = 2
	c.SetIn(a.In)
	c.SetOut(a.Out)
	c.SetErr(a.Err)
	c.SetHelpTemplate(helpTemplate)
	p := c.PersistentFlags()
	p.StringVar(&a.stateDir, "state-dir", "", "keep runs in `DIR` (default: $FETTLE_STATE_DIR, else the user's state directory)")
	p.BoolVar(&a.json, "json", false, "one JSON object per line on standard output; errors and progress as JSON on standard error")
	p.BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but errors; the exit code tells the rest")
	p.Var(&a.memory, "memory", "memory budget")
	p.IntVar(&a.workers, "workers", a.workers, "scan with `N` goroutines")
	p.StringVar(&a.color, "color", "auto", "`WHEN` to use colour: auto (on terminals), always or never")
	p.BoolP("help", "h", false, "explain this command")
	return c
}

// setUp makes the global flags true for this process.
func (a *App) setUp() error {
	switch a.color {
	case "auto", "always", "never":
	default:
		return usagef("--color auto, --color always or --color never", "unknown value %q of --color", a.color)
	}
	if a.workers < 1 {
		return usagef("leave it out to use every CPU", "--workers %d makes no sense", a.workers)
	}
	if a.memory < 16<<20 {
		return usagef("--memory 64MiB is enough for any store", "--memory %s is too little to work with", a.memory.String())
	}
	a.limitMemory(int64(a.memory))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	return nil
}

// limitMemory limits the heap to so many bytes and gives the way back. The limit is soft: it makes the collector work harder instead
// of letting the heap double. What the kernel counts beside the heap, above all the program itself, has its share set aside. An
// environment that says otherwise wins.
func (a *App) limitMemory(most int64) (back func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	m := min(most, 1<<50)
	was := debug.SetMemoryLimit(m - m/8)
	return func() { debug.SetMemoryLimit(was) }
}

// runsDir is the directory where runs are kept.
func (a *App) runsDir() (*runs.Dir, error) {
	dir := a.stateDir
	if dir == "" {
		var err error
		if dir, err = runs.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return runs.Open(dir)
}

// findRun finds the run that a person named.
func (a *App) findRun(name string) (*runs.Run, error) {
	dir, err := a.runsDir()
	if err != nil {
		return nil, err
	}
	r, err := dir.Find(name)
	if err != nil {
		return nil, err
	}
	if err := r.Broken(); err != nil {
		return nil, &fault.Error{Op: "read run", Where: r.ID(), Err: err, Hint: "fettle runs rm " + r.ID() + " removes it"}
	}
	return r, nil
}

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// isRegular tells whether a stream goes into a file.
func isRegular(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode().IsRegular()
}

// style is how text on the stream looks: colour if wanted, and in auto mode only on a capable terminal.
func (a *App) style(stream any) report.Style {
	switch a.color {
	case "always":
		return report.Style{Color: true}
	case "never":
		return report.Style{}
	}
	return report.Style{Color: isTerminal(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (a *App) outStyle() report.Style { return a.style(a.Out) }
func (a *App) errStyle() report.Style { return a.style(a.Err) }

// verb makes a command whose help has an EXIT STATUS section for the given codes.
func verb(c cobra.Command, exits ...int) *cobra.Command {
	c.Annotations = map[string]string{"exit": strings.TrimRight(exitHelp(exits), "\n")}
	return &c
}

// wants checks the number of arguments and says what is missing in the verb's own words.
func wants(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		hint := "usage: fettle " + strings.TrimPrefix(c.UseLine(), "fettle ")
		switch {
		case len(args) < least:
			return usagef(hint, "%s needs %s", c.CommandPath(), what)
		case most == 0 && len(args) > 0 && c.HasSubCommands():
			hint = c.CommandPath() + " --help lists the commands"
			c.SuggestionsMinimumDistance = 2
			if s := c.SuggestionsFor(args[0]); len(s) > 0 {
				hint = "did you mean: " + c.CommandPath() + " " + strings.Join(s, ", "+c.CommandPath()+" ")
			}
			return usagef(hint, "unknown command %q of %s", args[0], c.CommandPath())
		case most >= 0 && len(args) > most:
			return usagef(hint, "%s: too many arguments (%q)", c.CommandPath(), args[most])
		}
		return nil
	}
}

// sub adds sub-commands to c.
func sub(c *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	c.AddCommand(subs...)
	return c
}

// shellName quotes s for a command line that is printed to be copied.
func shellName(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=,+@%", r))
	}) < 0
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// commandLine is a command to be copied, with the state directory that this command was given.
func (a *App) commandLine(args ...string) string {
	words := []string{"fettle"}
	if a.stateDir != "" {
		words = append(words, "--state-dir", shellName(a.stateDir))
	}
	for _, w := range args {
		words = append(words, shellName(w))
	}
	return strings.Join(words, " ")
}
