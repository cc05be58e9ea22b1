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

	"fettle/internal/fault"
	"fettle/internal/lab"
	"fettle/internal/say"
	"fettle/internal/store"
	"fettle/internal/systems/flux/fluxlab"
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

func (a *App) newLabMake() *cobra.Command {
	var opt fluxlab.Options
	var out string
	c := verb(cobra.Command{
		Use:   "make SYSTEM",
		Short: "Make a healthy store from a seed",
		Long: `Makes a healthy store. The same seed and options give the same bytes.

For flux that is a content.sqlite as an instance leaves it that has run so many jobs: their directories and eventlogs, values
of users, symbolic links, deep and wide directories, several checkpoints, and the superseded versions of all that.`,
		Example: `  fettle lab make flux -o content.sqlite --jobs 500
  fettle lab make flux -o big.sqlite --objects 1000000 --seed 7 --hash sha256`,
		Args: wants(1, 1, "a system (flux)"),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "flux" {
				return usagef("fettle lab make flux", "the lab cannot make a store of %q", args[0])
			}
			if out == "" {
				return usagef("-o content.sqlite", "--output is missing")
			}
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				return usagef("choose another name", "%s is there already", out)
			}
			start := time.Now()
			m, err := fluxlab.Make(c.Context(), out, opt)
			if err != nil {
				return err
			}
			if a.json {
				return a.line(struct {
					Type   string `json:"type"`
					Schema int    `json:"schema"`
					fluxlab.Made
				}{"made", 1, m})
			}
			a.print("%s: %d objects of %d jobs in %d commits, %s", out, m.Objects, m.Jobs, m.Commits, time.Since(start).Round(100*time.Millisecond))
			a.print("  %s", a.commandLine("check", out))
			return nil
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringVarP(&out, "output", "o", "", "write the store to `FILE`, which must not exist")
	p.Uint64Var(&opt.Seed, "seed", 1, "`NUMBER` that everything follows from")
	p.IntVar(&opt.Jobs, "jobs", 0, "run `N` jobs (default 100)")
	p.IntVar(&opt.Objects, "objects", 0, "run so many jobs that about `N` objects are left")
	p.StringVar(&opt.Hash, "hash", "sha1", "content hash: sha1 or sha256")
	p.IntVar(&opt.Checkpoints, "checkpoints", 5, "keep `N` checkpoints")
	p.BoolVar(&opt.Legacy, "legacy", false, "schema of before Flux 0.77: one checkpoint in the table checkpt")
	p.BoolVar(&opt.NoEpoch, "no-epoch", false, "schema of before Flux 0.87: no epoch column")
	p.IntVar(&opt.PageSize, "page-size", 4096, "SQLite page size in `BYTES`")
	c.MarkFlagsMutuallyExclusive("jobs", "objects")
	return c
}

func (a *App) newLabDamage() *cobra.Command {
	var in lab.Injury
	var classes []string
	var seed uint64
	var out, truth string
	c := verb(cobra.Command{
		Use:   "damage FILE",
		Short: "Injure a store and write down what a check must find",
		Long: "Injures a store, or with --output a copy of it, and writes what a check must find to the truth file: one entry per finding.\n" +
			"The truth is worked out by a walker that is as simple as possible and has nothing in common with fettle check.\n\n" +
			"Damage that can be done:\n\n" + damageHelp(),
		Example: `  fettle lab damage content.sqlite --class hash-mismatch --count 5 -o bad.sqlite --truth truth.json
  fettle lab damage bad.sqlite --class random-rows --percent 10 --seed 3 --truth truth.json`,
		Args: wants(1, 1, "a store"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(classes) == 0 || truth == "" {
				return usagef("--class CLASS --truth truth.json", "--class and --truth are needed")
			}
			if in.Count < 0 || in.Percent < 0 || in.Percent > 100 {
				return usagef("", "--count cannot be negative, --percent is from 0 to 100")
			}
			path := args[0]
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
			t, err := fluxlab.Damage(c.Context(), path, seed, injuries)
			if err != nil {
				return err
			}
			if err := t.Save(truth); err != nil {
				return err
			}
			if a.json {
				return a.line(t)
			}
			a.printTruth(path, truth, t)
			return nil
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringArrayVar(&classes, "class", nil, "do damage of `CLASS` (repeatable)")
	p.IntVar(&in.Count, "count", 0, "injure `N` things of each class (default 1)")
	p.Float64Var(&in.Percent, "percent", 0, "injure `P` percent of everything that can be injured in this way")
	p.Uint64Var(&seed, "seed", 1, "`NUMBER` that decides what is hit")
	p.StringVarP(&out, "output", "o", "", "leave FILE alone and injure a copy at `FILE`")
	p.StringVar(&truth, "truth", "", "write what must be found to `FILE`")
	c.MarkFlagsMutuallyExclusive("count", "percent")
	return c
}

func damageHelp() string {
	var b strings.Builder
	for _, r := range fluxlab.Recipes() {
		fmt.Fprintf(&b, "  %-20s %s\n", strings.TrimPrefix(r.Class, "flux/"), r.Title)
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
		hidden = fmt.Sprintf(", and cannot see %d keys that are out of reach", t.HiddenCount)
	}
	a.print("%s: a check must report %s%s (%s)", path, say.Count(len(t.Expected), "finding"), hidden, truth)
	a.print("  %s", a.commandLine("check", path))
}

func (a *App) newLabScore() *cobra.Command {
	var cfg lab.Config
	var jobs int
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
  fettle lab score --seeds 3 --markdown > docs/reference/lab-score.md`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.labScore(c.Context(), cfg, jobs, markdown) },
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.IntVar(&jobs, "jobs", 120, "stores of `N` jobs")
	p.IntVar(&cfg.Seeds, "seeds", 1, "try on `K` stores")
	p.Uint64Var(&cfg.Seed, "seed", 1, "begin with the seed `NUMBER`")
	p.StringSliceVar(&cfg.Cases, "classes", nil, "only these `CLASSES` or cases, comma separated")
	p.StringVar(&cfg.Dir, "dir", "", "make the stores in `DIR` (default: a temporary directory)")
	p.BoolVar(&markdown, "markdown", false, "write the table as Markdown")
	return c
}

func (a *App) labScore(ctx context.Context, cfg lab.Config, jobs int, markdown bool) error {
	kit, err := a.fluxKit(jobs)
	if err != nil {
		return err
	}
	cfg.Kit = kit
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

// fluxKit finds the system that the lab has a kit for.
func (a *App) fluxKit(jobs int) (*lab.Kit, error) {
	if jobs < 1 {
		return nil, usagef("leave it out for 120", "--jobs %d makes no sense", jobs)
	}
	var sys store.System
	for _, s := range a.Systems {
		if s.Name() == "flux" {
			sys = s
		}
	}
	if sys == nil {
		return nil, &fault.Error{Op: "lab", Err: errors.New("this program does not know flux")}
	}
	return fluxlab.Kit(sys, jobs), nil
}
