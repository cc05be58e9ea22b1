package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/lab"
	"fettle/internal/systems/flux/fluxlab"
)

func (a *App) newDemo() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "demo [DIR]",
		Short: "Make a small damaged store to try everything on",
		Long: `Makes a small content store of Flux with some damage in a temporary directory (or in DIR, which must not exist), and prints the
commands to try on it. Nothing else is touched; remove the directory when you are done.`,
		Example: "  fettle demo\n  fettle demo /tmp/try",
		Args:    wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 1 {
				dir = args[0]
			}
			return a.demo(c.Context(), dir)
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	return c
}

// demo makes the store and says what to do with it.
func (a *App) demo(ctx context.Context, dir string) (err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "fettle-demo-")
	} else {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return &fault.Error{Op: "make the demo", Err: err, Hint: "fettle demo DIR, where DIR does not exist"}
	}
	path, truth := filepath.Join(dir, "content.sqlite"), filepath.Join(dir, "truth.json")
	if _, err := fluxlab.Make(ctx, path, fluxlab.Options{Seed: 1, Jobs: 60}); err != nil {
		return err
	}
	t, err := fluxlab.Damage(ctx, path, 1, []lab.Injury{{Class: "flux/dangling-valref", Count: 3}, {Class: "flux/dangling-dirref", Count: 1},
		{Class: "flux/hash-mismatch", Count: 2}, {Class: "flux/bad-checkpoint", Count: 1}})
	if err != nil {
		return err
	}
	if err := t.Save(truth); err != nil {
		return err
	}
	next := []string{a.commandLine("check", path), a.commandLine("explain", "last#1"), a.commandLine("plan", "last"),
		a.commandLine("apply", "last"), "rm -r " + shellName(dir)}
	if a.json {
		return a.line(struct {
			Type  string   `json:"type"`
			Store string   `json:"store"`
			Truth string   `json:"truth"`
			Next  []string `json:"next"`
		}{"demo", path, truth, next})
	}
	a.print("%s: a Flux content store of 60 jobs, with damage that makes %s", path, count(len(t.Expected), "finding"))
	a.print("What a check must find is in %s. Try:", truth)
	for _, n := range next {
		a.print("  %s", n)
	}
	a.print("fettle apply ends with the command that takes the repair back.")
	return nil
}
