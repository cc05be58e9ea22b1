package realctr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Health is what containerd makes of a set of files.
type Health struct {
	*Result
	// Dead are the keys of containers' snapshots that cannot be mounted, with containerd's reason: data that is lost, or a device
	// that containerd does not activate.
	Dead []string
	// Jams are lines of the log that say that garbage collection could not do its work.
	Jams []string
}

// Err is the first thing that does not work for the node as a whole; a dead container is none.
func (h *Health) Err() error {
	if err := h.Result.Err(); err != nil {
		return err
	}
	if len(h.Jams) > 0 {
		return fmt.Errorf("garbage collection: %s", h.Jams[0])
	}
	return nil
}

// maxTops bounds from how many images Try makes a container.
const maxTops = 8

// checkKey begins the keys of what Try makes.
const checkKey = "fettle-check-"

// Works tells whether containerd can go on with the four files in dir, which stay as they are: see Try. The error is containerd's.
func Works(ctx context.Context, dir string) error {
	h, err := Try(ctx, dir)
	if err == nil {
		err = h.Err()
	}
	return err
}

// Try starts containerd after a reboot on a copy of the four files in dir, makes a container from the top layer of each
// image (of at most 8), a new base with a child on it, mounts, commits, removes all that, collects garbage, and starts again.
func Try(ctx context.Context, dir string) (h *Health, err error) {
	tmp, err := os.MkdirTemp("", "fettle-works-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	files := filepath.Join(tmp, "files")
	pool, err := copySet(dir, files)
	if err != nil {
		return nil, err
	}
	m, err := LoadMachine(files, filepath.Join(tmp, "work"), pool)
	if err != nil {
		return nil, err
	}
	h = &Health{}
	if h.Result, err = m.Run(ctx); err != nil || h.Start != "" || h.Killed {
		return h, err
	}
	p, err := Look(files, pool)
	if err != nil {
		return h, err
	}
	if h.Result, err = m.Run(ctx, p.exercise()...); err != nil {
		return nil, err
	}
	h.judge(p)
	if h.Result.Err() != nil {
		return h, nil
	}
	again, err := m.Run(ctx)
	if err == nil && again.Err() != nil {
		h.Result = again
	}
	return h, err
}

// exercise is what Try does.
func (p *Picture) exercise() []string {
	var ops, away []string
	for _, id := range slices.Sorted(maps.Keys(p.Containers)) {
		ops = append(ops, "mounts,"+p.Containers[id])
	}
	ops = append(ops, "lease,"+checkKey+"lease")
	make1 := func(key, parent string) {
		ops = append(ops, "prepare,"+key+","+parent, "mounts,"+key, "write,"+key+",64")
	}
	for i, top := range p.tops() {
		key := fmt.Sprintf("%s%d", checkKey, i)
		make1(key, top)
		away = append(away, key)
	}
	make1(checkKey+"base", "")
	ops = append(ops, "commit,"+checkKey+"layer,"+checkKey+"base")
	make1(checkKey+"child", checkKey+"layer")
	away = append(away, checkKey+"child", checkKey+"layer")
	for _, key := range away {
		ops = append(ops, "remove,"+key)
	}
	ops = append(ops, "unlease,"+checkKey+"lease", "gc")
	for _, key := range away {
		ops = append(ops, "gone,"+key)
	}
	return ops
}

// tops are the committed snapshots that no committed one has as parent.
func (p *Picture) tops() []string {
	committed, below := map[string]bool{}, map[string]bool{}
	for key, k := range p.Keys {
		if p.Snapshots[k.Name].Kind == kindCommitted {
			committed[key] = true
			below[k.Parent] = true
		}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(committed)) {
		if !below[key] && len(out) < maxTops {
			out = append(out, key)
		}
	}
	return out
}

const kindCommitted = 3

// judge takes the mounts of containers out of the results, and looks for jams.
func (h *Health) judge(p *Picture) {
	for i := range h.Ops[:min(len(h.Ops), len(p.Containers))] {
		if o := &h.Ops[i]; o.Error != "" {
			h.Dead = append(h.Dead, strings.TrimPrefix(o.Op, "mounts,")+": "+o.Error)
			o.Error = ""
		}
	}
	for _, l := range h.Log {
		for _, bad := range []string{"failed to remove snapshot", "failed to remove device", "garbage collection failed", "failed to cleanup"} {
			if strings.Contains(l, bad) {
				h.Jams = append(h.Jams, l)
				break
			}
		}
	}
}

// copySet copies the four files and returns the name of the pool.
func copySet(from, to string) (string, error) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	var pools []string
	list, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	for _, e := range list {
		name := e.Name()
		if !e.Type().IsRegular() || !strings.HasSuffix(name, ".db") && name != "thin.meta" {
			continue
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return "", err
		}
		if strings.HasSuffix(name, ".db") && name != "meta.db" && name != "metadata.db" {
			pools = append(pools, strings.TrimSuffix(name, ".db"))
		}
	}
	if len(pools) != 1 {
		return "", fmt.Errorf("%s holds databases of %d pools %q, should be one", from, len(pools), pools)
	}
	return pools[0], nil
}
