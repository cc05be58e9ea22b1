package lustrelab

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Make writes mdt0.img, mdt1.img and so on into a directory, which is created if it is not there. Images that exist are never
// overwritten. After an error what was made is removed.
func Make(ctx context.Context, dir string, o Options) (Made, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Made{}, fmt.Errorf("make a Lustre file system: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Made{}, fmt.Errorf("make a Lustre file system: %w", err)
	}
	b := &builder{plan: newPlan(o), pending: map[int][]pendingLink{}}
	for m, inodes := range b.plan.inodes() {
		var t *target
		if t, err = begin(dir, b.plan, m, inodes); err != nil {
			break
		}
		b.targets = append(b.targets, t)
	}
	if err == nil {
		err = b.build(ctx)
	}
	if err != nil {
		for _, t := range b.targets {
			t.im.Abandon()
			err = errors.Join(err, os.Remove(t.path))
		}
		return Made{}, fmt.Errorf("make a Lustre file system: %w", err)
	}
	for _, t := range b.targets {
		b.made.Paths = append(b.made.Paths, t.path)
		b.made.Inodes = append(b.made.Inodes, t.count)
	}
	return b.made, nil
}

// build writes everything, in the order in which a server would have made it.
func (b *builder) build(ctx context.Context) error {
	if err := b.root(); err != nil {
		return err
	}
	for i := range b.plan.dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.directory(i); err != nil {
			return fmt.Errorf("directory %d: %w", i, err)
		}
	}
	for m, t := range b.targets {
		if err := b.unlinked(t); err != nil {
			return err
		}
		if err := t.putLocals(b.plan, b.plan.seqs[m]); err != nil {
			return err
		}
		if err := t.finish(); err != nil {
			return err
		}
	}
	return nil
}
