package lustre

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/store"
	"fettle/internal/store/pagefile"
)

// writer makes changes true. It holds a lock on every target while it is open.
type writer struct {
	u      *unit
	locks  []*os.File
	places map[string]int            // of targets, by name
	pages  map[string]*pagefile.File // of targets, by name
}

// OpenWriter implements store.Planner.
func (u *unit) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	if err := u.noRepair(); err != nil {
		return nil, err
	}
	if who, err := u.InUse(ctx); err != nil || who != "" {
		if err == nil {
			err = errors.New("in use: " + who)
		}
		return nil, &fault.Error{Op: "lock", Where: u.ID(), Err: err, Hint: "unmount the targets, or repair copies"}
	}
	w := &writer{u: u, places: map[string]int{}, pages: map[string]*pagefile.File{}}
	for i, t := range u.targets {
		f, err := lockTarget(t.path)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		w.locks = append(w.locks, f)
		w.places[t.name()] = i
		w.pages[t.name()] = &pagefile.File{Path: t.path}
	}
	return w, nil
}

// lockTarget keeps others from opening a target: a device exclusively, as a mount would, an image by an advisory lock.
func lockTarget(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, &fault.Error{Op: "lock", Where: path, Err: errors.Unwrap(err)}
	}
	flags := os.O_RDWR
	if fi.Mode()&os.ModeDevice != 0 {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		hint := "run as a user that may write it, or repair a copy"
		if errors.Is(err, unix.EBUSY) {
			hint = "unmount it, or stop what has it, or repair a copy"
		}
		return nil, &fault.Error{Op: "lock", Where: path, Err: errors.Unwrap(err), Hint: hint}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&fault.Error{Op: "lock", Where: path, Err: err, Hint: "another program works on it: wait for it, or stop it"}, f.Close())
	}
	return f, nil
}

// Read implements store.Writer.
func (w *writer) Read(ctx context.Context, target, addr string) (store.Bytes, error) {
	f := w.pages[target]
	if f == nil {
		return nil, fmt.Errorf("unknown target %q", target)
	}
	return f.Read(addr)
}

// Write implements store.Writer.
func (w *writer) Write(ctx context.Context, c store.Change) error {
	if c.Guard() {
		return nil
	}
	f := w.pages[c.Target]
	if f == nil {
		return fmt.Errorf("unknown target %q", c.Target)
	}
	return f.Write(c)
}

// Sync implements store.Writer.
func (w *writer) Sync(context.Context) error {
	for _, f := range w.pages {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	// Also what an earlier process wrote and did not make durable.
	for _, f := range w.locks {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", f.Name(), err)
		}
	}
	return nil
}

// Close implements store.Writer.
func (w *writer) Close() error {
	var errs []error
	for _, f := range w.pages {
		errs = append(errs, f.Close())
	}
	for _, f := range w.locks {
		errs = append(errs, f.Close())
	}
	w.locks = nil
	return errors.Join(errs...)
}
