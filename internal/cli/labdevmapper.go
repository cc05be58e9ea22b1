package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper/dmlab"
)

// labDevmapper is what the lab's commands know of the devmapper snapshotter.
func labDevmapper() labSystem {
	return labSystem{
		name: "devmapper", recipes: dmlab.Recipes, damage: dmlab.Damage, make: (*App).newLabMakeDevmapper,
		owns: func(path string) bool {
			_, err := os.Stat(filepath.Join(path, "metadata.db"))
			return err == nil
		},
		locate: func(path string) string { return path },
		kit: func(sys store.System, size labSize) *lab.Kit {
			opt := dmlab.Options{Images: 6, Layers: 5, Containers: 60}
			if size.containers > 0 {
				opt.Containers = size.containers
			}
			return dmlab.Kit(sys, opt)
		},
		demoName: "set", demoText: "the databases and thin pool of a node with 20 containers",
		demoMake: func(ctx context.Context, path string) error {
			_, err := dmlab.Make(ctx, path, dmlab.Options{Seed: 1, Containers: 20})
			return err
		},
		demoInjuries: []lab.Injury{{Class: "devmapper/snapshot-without-device", Count: 1}, {Class: "devmapper/leaked-thin-device", Count: 2},
			{Class: "devmapper/state-stuck", Count: 1}, {Class: "devmapper/id-faulty-orphan", Count: 1}},
	}
}

func (a *App) newLabMakeDevmapper() *cobra.Command {
	var opt dmlab.Options
	var out string
	c := verb(cobra.Command{
		Use:   "devmapper",
		Short: "Make the databases and the thin pool of containerd's devmapper snapshotter",
		Long: `Makes a directory with meta.db, metadata.db, POOL.db and thin.meta as a node leaves them that has pulled images and run containers,
some of which are gone again. The databases are written by containerd's own code.`,
		Example: `  fettle lab make devmapper -o set --containers 100
  fettle lab make devmapper -o big --snapshots 50000 --seed 7`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := mayMake(out, "set"); err != nil {
				return err
			}
			start := time.Now()
			m, err := dmlab.Make(c.Context(), out, opt)
			if err != nil {
				return err
			}
			return a.made(start, struct {
				madeLine
				dmlab.Made
			}{aMadeLine, m}, out, out, fmt.Sprintf("%d snapshots of %d images and %d containers, %d data blocks", m.Snapshots, m.Images, m.Containers, m.Mapped))
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	madeFlags(p, &out, &opt.Seed)
	p.StringVar(&opt.Pool, "pool", "containerd-pool", "`NAME` of the thin pool")
	p.IntVar(&opt.Images, "images", 0, "pull `N` images (default 3)")
	p.IntVar(&opt.Layers, "layers", 0, "give an image about `N` layers (default 4)")
	p.IntVar(&opt.Containers, "containers", 0, "run `N` containers (default 10)")
	p.IntVar(&opt.Snapshots, "snapshots", 0, "choose images and containers so that there are about `N` snapshots")
	p.IntVar(&opt.BaseBlocks, "base-blocks", 64, "map `N` blocks of 64 KiB for a new file system")
	p.Uint64Var(&opt.BaseSize, "base-size", 10<<30, "size of a device in `BYTES`")
	c.MarkFlagsMutuallyExclusive("snapshots", "images")
	c.MarkFlagsMutuallyExclusive("snapshots", "containers")
	return c
}
