package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fettle/internal/fault"
	"fettle/internal/format/boltedit"
	"fettle/internal/store"
	"fettle/internal/store/pagefile"
	"fettle/internal/store/wholefile"
)

// rawFile is the address of the raw record of a whole file; pages are page/NUMBER/SIZE. The live pool's raw records are those of the plan.
const rawFile = "file"

// writer makes changes true. It holds bolt's lock on every database, so that containerd cannot start meanwhile.
type writer struct {
	u      *unit
	work   string
	unlock []func() error
	paths  map[string]string         // of files, by target
	pages  map[string]*pagefile.File // of bolt files, by target
	shelf  wholefile.Shelf
	live   *livePool // nil when the pool is not live
}

// OpenWriter implements store.Planner.
func (u *unit) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, &fault.Error{Op: "make the work directory", Where: work, Err: errors.Unwrap(err)}
	}
	w := &writer{u: u, work: work, paths: map[string]string{}, pages: map[string]*pagefile.File{}}
	w.shelf = wholefile.Shelf{Work: work, Beside: u.files()}
	for _, p := range u.files() {
		w.paths[filepath.Base(p)] = p
	}
	for _, p := range []string{u.meta, u.store, u.pool} {
		if p == "" {
			continue
		}
		w.pages[filepath.Base(p)] = &pagefile.File{Path: p, Barrier: boltedit.IsMeta}
		unlock, err := boltedit.Lock(p)
		switch {
		case err == nil:
			w.unlock = append(w.unlock, unlock)
		case errors.Is(err, os.ErrNotExist):
			// Between the two renames of a swap that was cut off there is no file; the journal puts it back.
		default:
			return nil, errors.Join(&fault.Error{Op: "lock", Where: p, Err: err, Hint: lockHint(err)}, w.Close())
		}
	}
	if u.live {
		live, err := u.openLive(ctx)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		w.live = live
	}
	return w, nil
}

// lockHint says what to do about a database that cannot be opened for writing.
func lockHint(err error) string {
	switch {
	case errors.Is(err, boltedit.ErrLocked):
		return "stop containerd (systemctl stop containerd; running containers go on), then try again"
	case errors.Is(err, os.ErrPermission):
		return "run as root"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only: remount it writable, or repair a copy"
	}
	return "repair a copy elsewhere if this place cannot be written to"
}

// Close implements store.Writer.
func (w *writer) Close() error {
	var errs []error
	for _, f := range w.pages {
		errs = append(errs, f.Close())
	}
	for _, unlock := range w.unlock {
		errs = append(errs, unlock())
	}
	w.unlock = nil
	return errors.Join(errs...)
}

// Read implements store.Writer.
func (w *writer) Read(ctx context.Context, target, addr string) (store.Bytes, error) {
	if target == targetLive && w.live != nil {
		return w.live.read(ctx, addr)
	}
	path, ok := w.paths[target]
	switch {
	case !ok:
		return nil, fmt.Errorf("unknown target %q", target)
	case addr == rawFile:
		return wholefile.Read(path)
	case pagefile.Is(addr) && w.pages[target] != nil:
		return w.pages[target].Read(addr)
	}
	return nil, fmt.Errorf("unknown record %q of %s", addr, target)
}

// Write implements store.Writer.
func (w *writer) Write(ctx context.Context, c store.Change) error {
	if c.Guard() {
		return nil
	}
	if c.Target == targetLive && w.live != nil {
		return w.live.write(ctx, c)
	}
	path, ok := w.paths[c.Target]
	switch {
	case !ok:
		return fmt.Errorf("unknown target %q", c.Target)
	case c.Addr == rawFile:
		if f := w.pages[c.Target]; f != nil {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		return w.shelf.Place(path, c)
	case pagefile.Is(c.Addr) && w.pages[c.Target] != nil:
		return w.pages[c.Target].Write(c)
	}
	return fmt.Errorf("unknown record %q of %s", c.Addr, c.Target)
}

// Sync implements store.Writer.
func (w *writer) Sync(context.Context) error {
	for _, f := range w.pages {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// isThin tells whether a target is the thin metadata as a file.
func (w *writer) isThin(target string) bool {
	p := w.u.thinPath()
	return p != "" && target == filepath.Base(p)
}

// buildPath is where a new file is made before it is swapped in: beside the old one, on the same file system.
func buildPath(path string) string { return path + ".fettle-build" }

// clearBuild removes what an attempt that was cut off left.
func clearBuild(path string) error {
	err := os.Remove(buildPath(path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// isWhole tells whether a change of a plan is about a whole bolt file.
func isWhole(c store.Change) bool { return strings.HasPrefix(c.Addr, wholeAddr) }
