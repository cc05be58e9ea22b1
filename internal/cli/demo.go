package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/lab"
	"fettle/internal/say"
	"fettle/internal/systems/flux/fluxlab"
)

func (a *App) newDemo() *cobra.Command {
	var check bool
	c := verb(cobra.Command{
		Use:   "demo [DIR]",
		Short: "Make a small damaged store to try everything on",
		Long: `Makes a small content store of Flux with some damage in a temporary directory (or in DIR, which must not exist), and prints the
commands to try on it. With --check it runs the check as well, and says whether it found exactly what was injured.

Nothing but the directory (and, with --check, a run) is made; remove it when you are done.`,
		Example: "  fettle demo\n  fettle demo --check\n  fettle demo /tmp/try",
		Args:    wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 1 {
				dir = args[0]
			}
			return a.demo(c.Context(), dir, check)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	c.Flags().BoolVar(&check, "check", false, "check the store too, and compare the findings with the damage")
	return c
}

// demo makes the store, checks it if wanted, and says what to do with it.
func (a *App) demo(ctx context.Context, dir string, check bool) (err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "fettle-demo-")
	} else {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return &fault.Error{Op: "make the demo", Err: err, Hint: "fettle demo DIR, where DIR does not exist"}
	}
	path, truth := filepath.Join(dir, "content.sqlite"), filepath.Join(dir, "truth.json")
	t, err := makeDemo(ctx, path)
	if err != nil {
		return err
	}
	if err := t.Save(truth); err != nil {
		return err
	}
	a.print("%s: a Flux content store of %d jobs, with damage that makes %s", path, demoJobs, say.Count(len(t.Expected), "finding"))
	a.print("What a check must find is in %s.", truth)
	next, run := []string{a.commandLine("check", path)}, "last"
	var found *lab.Comparison
	if check {
		next = nil
		if run, found, err = a.demoCheck(ctx, path, t); err != nil {
			return err
		}
	}
	next = append(next, a.commandLine("explain", run+"#1"), a.commandLine("plan", run), a.commandLine("apply", run), "rm -r "+shellName(dir))
	if a.json {
		err = a.line(struct {
			Type   string          `json:"type"`
			Schema int             `json:"schema"`
			Store  string          `json:"store"`
			Truth  string          `json:"truth"`
			Found  *lab.Comparison `json:"found,omitempty"`
			Next   []string        `json:"next"`
		}{"demo", 1, path, truth, found, next})
	}
	a.print("Try next:")
	for _, n := range next {
		a.print("  %s", n)
	}
	a.print("fettle apply ends with the command that takes the repair back.")
	if err == nil && found != nil && !found.Good() {
		err = exit(exitUnrepaired)
	}
	return err
}

// demoJobs is how many jobs the demo's instance has run.
const demoJobs = 60

// makeDemo makes a store at path and injures it; the same bytes every time.
func makeDemo(ctx context.Context, path string) (*lab.Truth, error) {
	if _, err := fluxlab.Make(ctx, path, fluxlab.Options{Seed: 1, Jobs: demoJobs}); err != nil {
		return nil, err
	}
	return fluxlab.Damage(ctx, path, 1, []lab.Injury{{Class: "flux/dangling-valref", Count: 3}, {Class: "flux/dangling-dirref", Count: 1},
		{Class: "flux/hash-mismatch", Count: 2}, {Class: "flux/bad-checkpoint", Count: 1}})
}

// demoCheck checks the store as fettle check would, and compares what it finds with the truth. It returns the id of the run.
func (a *App) demoCheck(ctx context.Context, path string, t *lab.Truth) (string, *lab.Comparison, error) {
	kit, err := a.fluxKit(demoJobs)
	if err != nil {
		return "", nil, err
	}
	dir, err := a.runsDir()
	if err != nil {
		return "", nil, err
	}
	j, err := a.prepare("flux:"+path, &checkFlags{})
	if err != nil {
		return "", nil, err
	}
	st, err := j.sys.Open(ctx, j.spec.Location(), j.spec.Options())
	if err != nil {
		return "", nil, err
	}
	defer st.Close() // opened read-only: nothing can be lost
	r, err := dir.New(j.spec)
	if err != nil {
		return "", nil, err
	}
	a.print("")
	a.print("$ %s", a.commandLine("check", path))
	sum, err := a.runCheck(ctx, r, j, st, false)
	if err != nil {
		return "", nil, err
	}
	if a.json {
		err = a.line(sum)
	} else {
		err = a.showRunText(r, sum, j.sys, nil)
	}
	if err != nil {
		return "", nil, err
	}
	var seen []lab.Expect
	for f, err := range real(r) {
		if err != nil {
			return "", nil, err
		}
		seen = append(seen, kit.Observe(&f))
	}
	c := lab.Compare(t, seen)
	a.print("")
	a.print("The check found %d of %d; it reported %d that are not there.", c.Found, c.Injected, c.False)
	return r.ID(), c, nil
}
