package devmapper

import (
	"context"
	"errors"
	"fmt"

	"fettle/internal/fault"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper/livepool"
)

// livePool is the pool of this machine as a Writer sees it: its records are thin devices, which are there or not. All that can be done to one
// is to delete it.
type livePool struct{ pool *livepool.Pool }

// openLive is the live pool for a Writer.
func (u *unit) openLive(ctx context.Context) (*livePool, error) {
	if u.active.pool == nil {
		return nil, &fault.Error{Op: "repair", Where: u.poolName, Err: errors.New("the thin pool is not active"), Hint: "it was when the store was opened; check again"}
	}
	return &livePool{u.active.pool}, nil
}

// read is the record of a thin device, nil when it is gone.
func (l *livePool) read(ctx context.Context, addr string) (store.Bytes, error) {
	id, err := parseThinAddr(addr)
	if err != nil {
		return nil, err
	}
	there, err := l.pool.Exists(ctx, []uint32{id})
	if err != nil || !there[id] {
		return nil, err
	}
	return thinRecord(id), nil
}

// lower refuses devices that are open: what a plan wanted to delete may be in use by now. Changes stay what they are.
func (l *livePool) lower(ctx context.Context, cs []store.Change) ([]store.Change, error) {
	nodes, err := l.pool.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	open := map[uint32]livepool.Node{}
	for _, n := range nodes {
		if n.Open > 0 {
			open[n.Device] = n
		}
	}
	for _, c := range cs {
		id, err := parseThinAddr(c.Addr)
		if err != nil {
			return nil, err
		}
		if c.After != nil {
			return nil, fmt.Errorf("%s: a thin device of a live pool can only be deleted", c.Addr)
		}
		if n, is := open[id]; is {
			return nil, &fault.Error{Op: "delete thin device", Where: fmt.Sprintf("%s device %d", l.pool.Name, id), Err: fmt.Errorf("%s is open (%d)", n.Name, n.Open),
				Hint: "fuser -vm /dev/mapper/" + n.Name + " tells who has it; stop that, and make a new plan"}
		}
	}
	return cs, nil
}

// write deletes a thin device. Nobody has it open, but it may still be active: containerd activates what its records call Activated.
func (l *livePool) write(ctx context.Context, c store.Change) error {
	id, err := parseThinAddr(c.Addr)
	if err != nil {
		return err
	}
	if c.After != nil {
		return fmt.Errorf("%s: a deleted thin device cannot be made again", c.Addr)
	}
	if err := l.pool.Deactivate(ctx, id); err != nil {
		return err
	}
	return l.pool.Delete(ctx, id)
}
