package flux

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"fettle/internal/store"
)

// walkState is the checkpoint of a walk, and with an empty stack its result; the bitmaps lie beside it in the scratch directory.
type walkState struct {
	Stack  []uint32   `json:"stack"`
	Counts walkCounts `json:"counts"`
	File   string     `json:"file"` // "" before the first checkpoint
}

// walkTree follows the tree from the chosen roots.
func (u *unit) walkTree(ctx context.Context, env store.Env) (err error) {
	if err := u.ensureIndex(ctx, env); err != nil {
		return err
	}
	if err := u.mendRows(ctx); err != nil {
		return err
	}
	if u.roots, err = u.chooseRoots(ctx); err != nil {
		return err
	}
	var st walkState
	done, err := u.loadResult(ctx, env.Scratch(), "walk", &st)
	if err != nil {
		return err
	}
	if !done {
		if _, err := env.Load(&st); err != nil {
			return err
		}
	}
	u.reach = newReach(u.idx.n)
	w := &walker{u: u, r: u.reach, env: env, stack: st.Stack}
	if st.File != "" {
		if err := u.reach.loadBitmaps(env.Scratch(), st.File); err != nil {
			return err
		}
		u.reach.counts = st.Counts
	} else {
		w.pushRoots()
	}
	if done {
		return nil
	}
	snapshot := func() (err error) {
		st.Stack, st.Counts = w.stack, u.reach.counts
		st.File, err = u.reach.saveBitmaps(env.Scratch(), st.File)
		return err
	}
	w.save = func() error {
		if err := snapshot(); err != nil {
			return err
		}
		return env.Save(st)
	}
	if err := w.walk(ctx, env.Workers()); err != nil {
		return err
	}
	c := u.reach.counts
	env.Fact("directories", c.Dirs)
	env.Fact("keys", c.Keys)
	env.Fact("jobs", c.Jobs)
	if err := snapshot(); err != nil {
		return err
	}
	return u.saveResult(ctx, env.Scratch(), "walk", st)
}

// pushRoots puts the chosen roots on the stack. Those that are not there are judged by the report, not by the walk.
func (w *walker) pushRoots() {
	for _, r := range w.u.roots {
		if n := w.u.idx.find(r.ref.Sum()); n >= 0 && w.u.readable(n) {
			w.push([]uint32{uint32(n)})
		}
	}
}

// saveBitmaps writes the bitmaps of r to a new file in dir and returns its name. Two names take turns, so that the one
// that the last checkpoint counts on is never being written.
func (r *reach) saveBitmaps(dir, last string) (string, error) {
	name := "walk.a"
	if last == name {
		name = "walk.b"
	}
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("save walk: %w", err)
	}
	defer f.Close()
	for _, b := range []bitmap{r.visited, r.hurt, r.notDir, r.used} {
		if err := binary.Write(f, binary.LittleEndian, []uint64(b)); err != nil {
			return "", fmt.Errorf("save walk: %w", err)
		}
	}
	return name, f.Sync()
}

func (r *reach) loadBitmaps(dir, name string) error {
	f, err := os.Open(filepath.Join(dir, filepath.Base(name)))
	if err != nil {
		return fmt.Errorf("load walk: %w", err)
	}
	defer f.Close()
	for _, b := range []bitmap{r.visited, r.hurt, r.notDir, r.used} {
		if err := binary.Read(f, binary.LittleEndian, []uint64(b)); err != nil {
			return fmt.Errorf("load walk %s: %w", name, err)
		}
	}
	return nil
}
