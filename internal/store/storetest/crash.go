package storetest

import (
	"context"

	"fettle/internal/store"
)

// Crashing is a Planner whose Writers die when the Power goes out. It works on any system: a lost or torn write is made with
// the Writer's own Write. Writers must not write in Close, because Close is called after the crash to release locks.
type Crashing struct {
	store.Planner
	Power *Power
	// Fate decides, when the power goes out, about each write since the last Sync; nil keeps them all.
	Fate func() Fate
}

// OpenWriter implements store.Planner.
func (c *Crashing) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	if err := c.Power.alive(); err != nil {
		return nil, err
	}
	w, err := c.Planner.OpenWriter(ctx, work)
	if err != nil {
		return nil, err
	}
	return &CrashWriter{Writer: w, power: c.Power, fate: c.Fate}, nil
}

// CrashWriter is the Writer of a Crashing unit.
type CrashWriter struct {
	store.Writer
	power   *Power
	fate    func() Fate
	pending []store.Change
}

// Lower implements store.Writer.
func (w *CrashWriter) Lower(ctx context.Context, s store.Step) ([]store.Change, error) {
	if err := w.power.alive(); err != nil {
		return nil, err
	}
	return w.Writer.Lower(ctx, s)
}

// Write implements store.Writer. It is one operation of the Power.
func (w *CrashWriter) Write(ctx context.Context, c store.Change) error {
	half, err := w.power.op()
	if err == nil {
		w.pending = append(w.pending, c)
		return w.Writer.Write(ctx, c)
	}
	if half && c.After != nil {
		torn := c
		torn.After = tear(c.Before, c.After)
		if werr := w.Writer.Write(ctx, torn); werr != nil {
			return werr
		}
	}
	return w.die(ctx, err)
}

// Sync implements store.Writer. It is one operation of the Power.
func (w *CrashWriter) Sync(ctx context.Context) error {
	if _, err := w.power.op(); err != nil {
		return w.die(ctx, err)
	}
	w.pending = nil
	return w.Writer.Sync(ctx)
}

// die takes back what the power failure loses, and makes the rest durable.
func (w *CrashWriter) die(ctx context.Context, err error) error {
	if w.fate == nil || !w.power.Out() {
		return err
	}
	for i := len(w.pending) - 1; i >= 0; i-- {
		c := w.pending[i].Inverse()
		switch w.fate() {
		case Kept:
			continue
		case Half:
			if c.After != nil && c.Before != nil {
				c.After = tear(c.After, c.Before)
			}
		}
		if werr := w.Writer.Write(ctx, c); werr != nil {
			return werr
		}
	}
	w.pending = nil
	if werr := w.Writer.Sync(ctx); werr != nil {
		return werr
	}
	return err
}
