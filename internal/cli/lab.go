package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fettle/internal/fault"
	"fettle/internal/lab"
	"fettle/internal/say"
	"fettle/internal/store"
)

func (a *App) newLab() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "lab",
		Short: "Make stores, injure them, and score check and repair",
		Long: `The lab makes stores from a seed, injures them and writes down what a check must find, and scores fettle against that.
It is there so that everybody can see what fettle finds, what it misses and whether its repairs keep their promises.

Injuring destroys: give the lab nothing but stores that it made, or copies.`,
		Example: `  fettle lab make flux -o content.sqlite --objects 100000
  fettle lab damage content.sqlite --class dangling-valref --percent 1 -o bad.sqlite --truth truth.json
  fettle lab score --seeds 3`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}, exitClean, exitError, exitUsage, exitCancelled)
	return sub(c, a.newLabMake(), a.newLabDamage(), a.newLabScore())
}

// labSystem is what the lab's commands know of one system.
type labSystem struct {
	name    string
	recipes func() []lab.Recipe
	damage  func(ctx context.Context, path string, seed uint64, injuries []lab.Injury) (*lab.Truth, error)
	kit     func(sys store.System, size labSize) *lab.Kit
	// owns tells whether a path is a store of the system, by its shape only; nil for the system that everything else is of.
	owns func(path string) bool
	// locate is how the store is named to fettle check.
	locate func(path string) string
	make   func(*App) *cobra.Command
	// The demo: what the store is called in its directory, what it is in words, and its injuries.
	demoName, demoText string
	demoMake           func(ctx context.Context, path string) error
	demoInjuries       []lab.Injury
}

// labSize is how large the stores of lab score are; 0 stands for a system's default.
type labSize struct{ jobs, containers, mdts, files int }

// labSystems lists the systems of the lab, the default first.
func labSystems() []labSystem { return []labSystem{labFlux(), labDevmapper(), labLustre()} }

// labOf finds a system of the lab by name.
func labOf(name string) (labSystem, error) {
	var names []string
	for _, s := range labSystems() {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return labSystem{}, usagef("one of "+strings.Join(names, ", "), "the lab does not know %q", name)
}

// labOwner finds the system of a store by its shape.
func labOwner(path string) labSystem {
	all := labSystems()
	for _, s := range all {
		if s.owns != nil && s.owns(path) {
			return s
		}
	}
	return all[0]
}

// labKit is the kit of a system of the lab.
func (a *App) labKit(l labSystem, size labSize) (*lab.Kit, error) {
	sys, ok := a.system(l.name)
	if !ok {
		return nil, &fault.Error{Op: "lab", Err: fmt.Errorf("this program does not know %s", l.name)}
	}
	return l.kit(sys, size), nil
}

func (a *App) newLabMake() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "make SYSTEM",
		Short: "Make a healthy store from a seed",
		Long: `Makes a healthy store of a system. The same seed and options give the same bytes; only containerd's databases (devmapper) hold
times and random numbers of their own.`,
		Example: `  fettle lab make flux -o content.sqlite --jobs 500
  fettle lab make devmapper -o set --containers 100
  fettle lab make lustre -o mdts --mdts 2 --files 100000`,
		Args: wants(1, -1, "a system (flux, devmapper, lustre)"),
		// The flags are those of the systems; of one that is not known they do not matter.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(c *cobra.Command, args []string) error {
			return usagef("fettle lab make flux, devmapper or lustre", "the lab cannot make a store of %q", args[0])
		},
	}, exitClean, exitUsage)
	for _, s := range labSystems() {
		c.AddCommand(s.make(a))
	}
	return c
}

// mayMake checks the path of a store that is to be made.
func mayMake(out, example string) error {
	if out == "" {
		return usagef("-o "+example, "--output is missing")
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return usagef("choose another name", "%s is there already", out)
	}
	return nil
}

// madeLine is the head of the JSON line that says what was made.
type madeLine struct {
	Type   string `json:"type"`
	Schema int    `json:"schema"`
}

var aMadeLine = madeLine{"made", 1}

// made says that a store was made at out: what there is in it, and how it is checked. line is the same for --json.
func (a *App) made(start time.Time, line any, out, location, what string) error {
	if a.json {
		return a.line(line)
	}
	a.print("%s: %s, %s", out, what, time.Since(start).Round(100*time.Millisecond))
	a.print("  %s", a.commandLine("check", location))
	return nil
}

// madeFlags are the flags that all systems have.
func madeFlags(p *pflag.FlagSet, out *string, seed *uint64) {
	p.StringVarP(out, "output", "o", "", "write the store to `PATH`, which must not exist")
	p.Uint64Var(seed, "seed", 1, "`NUMBER` that everything follows from")
}

func (a *App) newLabDamage() *cobra.Command {
	var in lab.Injury
	var classes []string
	var seed uint64
	var out, truth string
	c := verb(cobra.Command{
		Use:   "damage STORE",
		Short: "Injure a store and write down what a check must find",
		Long: "Injures a store, or with --output a copy of it, and writes what a check must find to the truth file: one entry per finding.\n" +
			"The truth is worked out by a walker that is as simple as possible and has nothing in common with fettle check.\n\n" +
			"Damage that can be done:\n\n" + damageHelp(),
		Example: `  fettle lab damage content.sqlite --class hash-mismatch --count 5 -o bad.sqlite --truth truth.json
  fettle lab damage bad.sqlite --class random-rows --percent 10 --seed 3 --truth truth.json
  fettle lab damage mdts --class orphan-object --class dangling-name --percent 1 --truth truth.json`,
		Args: wants(1, 1, "a store (a file, or a directory that lab make made)"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(classes) == 0 || truth == "" {
				return usagef("--class CLASS --truth truth.json", "--class and --truth are needed")
			}
			if in.Count < 0 || in.Percent < 0 || in.Percent > 100 {
				return usagef("", "--count cannot be negative, --percent is from 0 to 100")
			}
			path := args[0]
			sys := labOwner(path)
			if out != "" {
				if err := lab.CopyStore(path, out); err != nil {
					return &fault.Error{Op: "copy the store", Err: err}
				}
				path = out
			}
			var injuries []lab.Injury
			for _, class := range classes {
				injuries = append(injuries, lab.Injury{Class: class, Count: in.Count, Percent: in.Percent})
			}
			t, err := sys.damage(c.Context(), path, seed, injuries)
			if err != nil {
				return err
			}
			if err := t.Save(truth); err != nil {
				return err
			}
			if a.json {
				return a.line(t)
			}
			a.printTruth(sys.locate(path), truth, t)
			return nil
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringArrayVar(&classes, "class", nil, "do damage of `CLASS` (repeatable)")
	p.IntVar(&in.Count, "count", 0, "injure `N` things of each class (default 1)")
	p.Float64Var(&in.Percent, "percent", 0, "injure `P` percent of everything that can be injured in this way")
	p.Uint64Var(&seed, "seed", 1, "`NUMBER` that decides what is hit")
	p.StringVarP(&out, "output", "o", "", "leave STORE alone and injure a copy at `PATH`")
	p.StringVar(&truth, "truth", "", "write what must be found to `FILE`")
	c.MarkFlagsMutuallyExclusive("count", "percent")
	complete(c, "class", damageNames()...)
	return c
}

// damageNames lists the damage that can be done, for completion.
func damageNames() []string {
	var out []string
	for _, s := range labSystems() {
		for _, r := range s.recipes() {
			out = append(out, strings.TrimPrefix(r.Class, s.name+"/")+"\t"+s.name+": "+r.Title)
		}
	}
	return out
}

func damageHelp() string {
	var b strings.Builder
	for i, s := range labSystems() {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s:\n", s.name)
		for _, r := range s.recipes() {
			fmt.Fprintf(&b, "  %-20s %s\n", strings.TrimPrefix(r.Class, s.name+"/"), r.Title)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// printTruth says what was done, in a few lines.
func (a *App) printTruth(path, truth string, t *lab.Truth) {
	for _, d := range t.Done {
		for i, w := range d.What {
			if i == 5 {
				a.print("  and %d more", d.Made()-i)
				break
			}
			a.print("  %s: %s", d.Class, w)
		}
	}
	hidden := ""
	if t.HiddenCount > 0 {
		hidden = fmt.Sprintf(", and cannot see %d things that are out of reach", t.HiddenCount)
	}
	a.print("%s: a check must report %s%s (%s)", path, say.Count(len(t.Expected), "finding"), hidden, truth)
	a.print("  %s", a.commandLine("check", path))
}

func (a *App) newLabScore() *cobra.Command {
	var cfg lab.Config
	var size labSize
	var system string
	var markdown bool
	c := verb(cobra.Command{
		Use:   "score",
		Short: "Score check, repair and undo against stores whose damage is known",
		Long: `For every kind of damage: makes stores, injures them, checks them, repairs them by the default actions, checks again, and takes
the repair back. The table says what was injected, found, missed and falsely reported, how many findings were repaired, how
often the second check was clean, and how often undo gave back every byte.

The exit code is 4 when anything is not as it must be.`,
		Example: `  fettle lab score
  fettle lab score --classes dangling-valref,bad-page --seeds 10 --jobs 500
  fettle lab score --system lustre --seeds 2
  fettle lab score --seeds 3 --markdown > docs/reference/lab-score.md`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			sys, err := labOf(system)
			if err != nil {
				return err
			}
			if size.jobs < 0 || size.containers < 0 || size.mdts < 0 || size.files < 0 {
				return usagef("leave it out for the default", "a store cannot have less than nothing")
			}
			if cfg.Kit, err = a.labKit(sys, size); err != nil {
				return err
			}
			return a.labScore(c.Context(), cfg, markdown)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringVar(&system, "system", "flux", "score `SYSTEM`: flux, devmapper or lustre")
	p.IntVar(&size.jobs, "jobs", 0, "flux: stores of `N` jobs (default 120)")
	p.IntVar(&size.containers, "containers", 0, "devmapper: sets of `N` containers (default 60)")
	p.IntVar(&size.mdts, "mdts", 0, "lustre: file systems of `N` MDTs (default 2)")
	p.IntVar(&size.files, "files", 0, "lustre: file systems of `N` files (default 700)")
	p.IntVar(&cfg.Seeds, "seeds", 1, "try on `K` stores")
	p.Uint64Var(&cfg.Seed, "seed", 1, "begin with the seed `NUMBER`")
	p.StringSliceVar(&cfg.Cases, "classes", nil, "only these `CLASSES` or cases, comma separated")
	p.StringVar(&cfg.Dir, "dir", "", "make the stores in `DIR` (default: a temporary directory)")
	p.BoolVar(&markdown, "markdown", false, "write the table as Markdown")
	return c
}

func (a *App) labScore(ctx context.Context, cfg lab.Config, markdown bool) error {
	cfg.OnTrial = func(t *lab.Trial) {
		if a.json || a.quiet || markdown {
			return
		}
		a.clearProgress()
		for _, e := range a.trialComplaints(t) {
			fmt.Fprintln(a.Err, e)
		}
	}
	ctx, done := a.metered(ctx, "")
	rep, err := lab.Run(ctx, cfg)
	done()
	if err != nil {
		return err
	}
	switch {
	case a.json:
		err = a.line(rep)
	case markdown:
		err = rep.WriteMarkdown(a.Out)
	case !a.quiet:
		err = rep.WriteText(a.Out)
	}
	if err == nil && !rep.Total.Good() {
		err = exit(exitUnrepaired)
	}
	return err
}

// trialComplaints says in a few lines what was wrong in a trial.
func (a *App) trialComplaints(t *lab.Trial) (out []string) {
	const most = 5
	say := func(what string, list []lab.Expect) {
		for i, e := range list {
			if i == most {
				out = append(out, fmt.Sprintf("%s, seed %d: %s: and %d more", t.Case, t.Seed, what, len(list)-most))
				return
			}
			line, _ := json.Marshal(e.Line()) // quotes what a store may contain
			out = append(out, fmt.Sprintf("%s, seed %d: %s: %s %s", t.Case, t.Seed, what, line, e.Note))
		}
	}
	if c := t.Comparison; c != nil {
		say("missed", c.Missing)
		say("false", c.Wrong)
	}
	if t.Clean == lab.No {
		say("left after repair", t.Left)
	}
	if t.Undone == lab.No {
		out = append(out, fmt.Sprintf("%s, seed %d: undo did not give back every byte", t.Case, t.Seed))
	}
	return out // an error of the trial is shown below the table
}
