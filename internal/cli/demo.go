package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/lab"
	"fettle/internal/say"
)

func (a *App) newDemo() *cobra.Command {
	var check bool
	var system string
	c := verb(cobra.Command{
		Use:   "demo [DIR]",
		Short: "Make a small damaged store to try everything on",
		Long: `Makes a small store with some damage in a temporary directory (or in DIR, which must not exist), and prints the commands to try on
it: a content store of Flux, or one of another system with --system. With --check it runs the check as well, and says whether it found exactly what was injured.

Nothing but the directory (and, with --check, a run) is made; remove it when you are done.`,
		Example: "  fettle demo\n  fettle demo --check\n  fettle demo --system lustre\n  fettle demo /tmp/try",
		Args:    wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 1 {
				dir = args[0]
			}
			sys, err := labOf(system)
			if err != nil {
				return err
			}
			return a.demo(c.Context(), sys, dir, check)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	c.Flags().StringVar(&system, "system", "flux", "a store of `SYSTEM`: flux, devmapper or lustre")
	c.Flags().BoolVar(&check, "check", false, "check the store too, and compare the findings with the damage")
	return c
}

// demo makes the store, checks it if wanted, and says what to do with it.
func (a *App) demo(ctx context.Context, l labSystem, dir string, check bool) (err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "fettle-demo-")
	} else {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return &fault.Error{Op: "make the demo", Err: err, Hint: "fettle demo DIR, where DIR does not exist"}
	}
	path, truth := filepath.Join(dir, l.demoName), filepath.Join(dir, "truth.json")
	t, err := makeDemo(ctx, l, path)
	if err != nil {
		return err
	}
	if err := t.Save(truth); err != nil {
		return err
	}
	at := l.locate(path)
	a.print("%s: %s, with damage that makes %s", path, l.demoText, say.Count(len(t.Expected), "finding"))
	a.print("What a check must find is in %s.", truth)
	next, run := []string{a.commandLine("check", at)}, "last"
	var found *lab.Comparison
	if check {
		next = nil
		if run, found, err = a.demoCheck(ctx, l, at, t); err != nil {
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

// makeDemo makes a store at path and injures it; the same damage every time.
func makeDemo(ctx context.Context, l labSystem, path string) (*lab.Truth, error) {
	if err := l.demoMake(ctx, path); err != nil {
		return nil, err
	}
	return l.damage(ctx, path, 1, l.demoInjuries)
}

// demoCheck checks the store as fettle check would, and compares what it finds with the truth. It returns the id of the run.
func (a *App) demoCheck(ctx context.Context, l labSystem, at string, t *lab.Truth) (string, *lab.Comparison, error) {
	kit, err := a.labKit(l, labSize{})
	if err != nil {
		return "", nil, err
	}
	dir, err := a.runsDir()
	if err != nil {
		return "", nil, err
	}
	j, err := a.prepare(l.name+":"+strings.TrimPrefix(at, l.name+":"), &checkFlags{})
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
	a.print("$ %s", a.commandLine("check", at))
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
