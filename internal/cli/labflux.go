package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/systems/flux/fluxlab"
)

const (
	scoreJobs = 120
	demoJobs  = 60 // that the demo's instance has run
)

// labFlux is what the lab's commands know of Flux.
func labFlux() labSystem {
	return labSystem{
		name: "flux", recipes: fluxlab.Recipes, damage: fluxlab.Damage, make: (*App).newLabMakeFlux,
		locate: func(path string) string { return path },
		kit: func(sys store.System, size labSize) *lab.Kit {
			if size.jobs == 0 {
				size.jobs = scoreJobs
			}
			return fluxlab.Kit(sys, size.jobs)
		},
		demoName: "content.sqlite", demoText: "a Flux content store of 60 jobs",
		demoMake: func(ctx context.Context, path string) error {
			_, err := fluxlab.Make(ctx, path, fluxlab.Options{Seed: 1, Jobs: demoJobs})
			return err
		},
		demoInjuries: []lab.Injury{{Class: "flux/dangling-valref", Count: 3}, {Class: "flux/dangling-dirref", Count: 1},
			{Class: "flux/hash-mismatch", Count: 2}, {Class: "flux/bad-checkpoint", Count: 1}},
	}
}

func (a *App) newLabMakeFlux() *cobra.Command {
	var opt fluxlab.Options
	var out string
	c := verb(cobra.Command{
		Use:   "flux",
		Short: "Make a content store of Flux",
		Long: `Makes a content.sqlite as an instance leaves it that has run so many jobs: their directories and eventlogs, values of users,
symbolic links, deep and wide directories, several checkpoints, and the superseded versions of all that.`,
		Example: `  fettle lab make flux -o content.sqlite --jobs 500
  fettle lab make flux -o big.sqlite --objects 1000000 --seed 7 --hash sha256`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := mayMake(out, "content.sqlite"); err != nil {
				return err
			}
			start := time.Now()
			m, err := fluxlab.Make(c.Context(), out, opt)
			if err != nil {
				return err
			}
			return a.made(start, struct {
				madeLine
				fluxlab.Made
			}{aMadeLine, m}, out, out, fmt.Sprintf("%d objects of %d jobs in %d commits", m.Objects, m.Jobs, m.Commits))
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	madeFlags(p, &out, &opt.Seed)
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
