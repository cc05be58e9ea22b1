package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/runs"
	"fettle/internal/say"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper"
)

// newDevmapper is the parent of what is only about containerd's devmapper snapshotter.
func (a *App) newDevmapper() *cobra.Command {
	c := verb(cobra.Command{
		Use:   "devmapper",
		Short: "Look into containerd's devmapper snapshotter",
		Long: `Shows what the four layers of the devmapper snapshotter say together: containerd's meta.db, the snapshotter's metadata.db, its
database of devices, and the thin pool. None of it needs a running containerd, and only rewrite writes: to a new file.

STORE is containerd's root, a directory with copies (meta.db, metadata.db, POOL.db, thin.meta or thin.xml), or files separated
by commas. Without it this machine's containerd is meant. They are checked and repaired by the general commands.`,
		Example: `  fettle devmapper ls
  fettle devmapper show /var/lib/containerd web-1
  fettle devmapper tree copies/`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}, exitClean, exitUsage)
	return sub(c, a.newDevmapperLs(), a.newDevmapperShow(), a.newDevmapperTree(), a.newDevmapperRewrite())
}

// devmapperStore is the location that a person gave, or this machine's. Its paths are absolute.
func (a *App) devmapperStore(text string) (store.Location, error) {
	name := devmapper.System{}.Name()
	if text == "" {
		text = name + ":"
	}
	names := a.systemNames()
	if !slices.Contains(names, name) {
		names = append(names, name)
	}
	loc, err := store.ParseLocation(text, names)
	if err != nil {
		return loc, fault.NewUsage(err, "STORE is a directory or files")
	}
	if loc.System != "" && loc.System != name {
		return loc, usagef("fettle shell "+shellName(text)+" looks into it", "%s is a %s store", text, loc.System)
	}
	if loc.System == "" {
		loc, err = store.ParseLocation(name+":"+text, names)
		if err != nil {
			return loc, fault.NewUsage(err, "STORE is a directory or files")
		}
	}
	for i, p := range loc.Paths {
		if loc.Paths[i], err = filepath.Abs(p); err != nil {
			return loc, &fault.Error{Op: "open store", Where: text, Err: err}
		}
	}
	return loc, nil
}

// inventory reads a store and hands its rows to fn while it is open.
func (a *App) inventory(ctx context.Context, text string, set settings, fn func(inv *devmapper.Inventory) error) (err error) {
	loc, err := a.devmapperStore(text)
	if err != nil {
		return err
	}
	values, err := set.values()
	if err != nil {
		return err
	}
	st, err := devmapper.System{}.Open(ctx, loc, store.Options{Settings: values})
	if err != nil {
		return err
	}
	defer st.Close() // opened read-only: nothing can be lost
	scratch, err := os.MkdirTemp("", "fettle-devmapper-")
	if err != nil {
		return &fault.Error{Op: "make a temporary directory", Err: err, Hint: "TMPDIR says where; it must have room for copies of the databases"}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	p := a.newProgress("")
	begun := time.Now()
	inv, err := devmapper.ReadInventory(ctx, st, store.BrowseEnv{Scratch: scratch, Workers: a.workers, Memory: int64(a.memory),
		Progress: func(done, total int64) {
			pr := runs.Progress{Pass: "read", Title: "reading the layers", ETA: -1}
			pr.Bytes, pr.TotalBytes = done, total
			if s := time.Since(begun).Seconds(); s > 0 {
				pr.BytesPerSecond = float64(done) / s
			}
			p.update(pr)
		}})
	p.end()
	if errors.Is(err, context.Canceled) {
		return &fault.Error{Op: "read", Where: text, Err: err, Kind: fault.Cancelled}
	}
	if err != nil {
		return err
	}
	for _, n := range inv.Notes {
		a.say("note: %s", say.Clean(n))
	}
	if err := fn(inv); err != nil {
		return err
	}
	if !inv.Whole {
		return exit(exitError) // what was left out has been told
	}
	return nil
}

// addSet adds the flag for settings of the system.
func addSet(c *cobra.Command, s *settings) {
	c.Flags().StringArrayVar(&s.set, "set", nil, "a setting of the system, `KEY=VALUE` (repeatable): pool, config, meta, store, pool-db, thin, live, snapshotter")
}

// optBytes shows a number of bytes that may not be known.
func optBytes(n *uint64) string {
	if n == nil {
		return "-"
	}
	return bytesText(int64(min(*n, 1<<62)))
}
