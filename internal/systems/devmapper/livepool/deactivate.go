package livepool

import (
	"context"
	"fmt"

	"fettle/internal/fault"
)

// Deactivate takes the device-mapper nodes of a thin device away, so that it can be deleted. The thin device itself and its content stay, and
// it can be activated again. A node that somebody has open is refused, with ErrActive.
func (p *Pool) Deactivate(ctx context.Context, id uint32) error {
	nodes, err := p.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Device != id {
			continue
		}
		if n.Open > 0 {
			return &fault.Error{Op: "deactivate thin device", Where: fmt.Sprintf("%s device %d", p.Name, id), Err: fmt.Errorf("%w as %s, open count %d", ErrActive, n.Name, n.Open),
				Hint: "stop what uses it: fuser -vm /dev/mapper/" + n.Name + " tells who"}
		}
		// Whoever opens it between the look and this call makes the kernel refuse.
		if _, err := dmsetup(ctx, askTime, nil, "remove", n.Name); err != nil {
			return err
		}
	}
	return nil
}
