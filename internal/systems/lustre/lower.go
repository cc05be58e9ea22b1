package lustre

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/store"
	"fettle/internal/store/pagefile"
	"fettle/internal/systems/lustre/mdtrecord"
)

// Lower implements store.Writer: the records of a step are changed in copies of the targets' blocks, in the order of the step; what comes
// out are the blocks. The targets are opened anew, because earlier steps changed them.
func (w *writer) Lower(ctx context.Context, step store.Step) (out []store.Change, err error) {
	files, err := w.u.reopen()
	defer func() { err = errors.Join(err, closeAll(files)) }()
	if err != nil {
		return nil, err
	}
	mdts, err := w.u.edit(files, ext4edit.Options{})
	if err != nil {
		return nil, err
	}
	for _, c := range step.Changes {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		mdt, ok := w.places[c.Target]
		if !ok {
			return nil, fmt.Errorf("unknown target %q", c.Target)
		}
		now, err := mdts.Read(mdt, c.Addr)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Target, c.Addr, err)
		}
		if (now == nil) != (c.Before == nil) || !bytes.Equal(now, c.Before) {
			return nil, fmt.Errorf("record %s of %s is not as the plan says; make a new plan", c.Addr, c.Target)
		}
		if c.Guard() {
			continue
		}
		if err := mdts.Write(mdt, c.Addr, c.After); err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Target, c.Addr, err)
		}
	}
	return w.raw(mdts), nil
}

// raw gives the changed blocks of all targets in an order in which no name goes before what takes its place is there.
func (w *writer) raw(mdts *mdtrecord.Set) []store.Change {
	var byTurn [ext4edit.TurnGone + 1][]store.Change
	for i, t := range w.u.targets {
		size := int(t.fs.Super().BlockSize)
		for _, k := range mdts.Edit(i).Blocks() {
			byTurn[k.Turn] = append(byTurn[k.Turn], pagefile.Page{Number: k.Number, Size: size}.Change(t.name(), k.Before, k.After))
		}
	}
	return slices.Concat(byTurn[:]...)
}

// reopen opens the targets' file systems as they are now.
func (u *unit) reopen() ([]*ext4.FS, error) {
	var out []*ext4.FS
	for _, t := range u.targets {
		fs, err := ext4.Open(t.path)
		if err != nil {
			return out, fmt.Errorf("open %s again: %w", t.path, err)
		}
		out = append(out, fs)
	}
	return out, nil
}

// edit begins edits of the targets. files are their file systems, opened anew.
func (u *unit) edit(files []*ext4.FS, opt ext4edit.Options) (*mdtrecord.Set, error) {
	var list []mdtrecord.Target
	for i, t := range u.targets {
		list = append(list, mdtrecord.Target{FS: files[i], OI: t.marks.oi})
	}
	return mdtrecord.Open(list, opt)
}

func closeAll(files []*ext4.FS) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
