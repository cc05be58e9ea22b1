package livepool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
)

// Node is an active device of the pool: one that has a name below /dev/mapper.
type Node struct {
	Name      string
	Device    uint32 // id of the thin device
	Open      int    // how many hold it open: mounts, containers, other devices above it
	Suspended bool
}

// Nodes lists the active devices of the pool, in the order in which dmsetup tells of them.
func (p *Pool) Nodes(ctx context.Context) ([]Node, error) {
	out, err := dmsetup(ctx, askTime, nil, "table", "--target", "thin")
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for line := range strings.Lines(out) {
		name, table, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok {
			continue // "No devices found", or a device without a table
		}
		pool, id, err := parseThin(table)
		if err != nil {
			return nil, &fault.Error{Op: "read the table of", Where: name, Err: err}
		}
		if pool != p.number && pool != "/dev/mapper/"+p.Name {
			continue
		}
		nodes = append(nodes, Node{Name: name, Device: id})
	}
	if len(nodes) == 0 {
		return nil, nil
	}
	return p.addState(ctx, nodes)
}

// parseThin reads "0 LENGTH thin POOL ID [ORIGIN]". In a pool that has failed the kernel does not say more than that; pool is empty then.
func parseThin(table string) (pool string, id uint32, err error) {
	f := strings.Fields(table)
	switch {
	case len(f) == 4 && f[2] == "thin" && (f[3] == "Fail" || f[3] == "Error" || f[3] == "-"):
		return "", 0, nil
	case len(f) < 5 || f[2] != "thin":
		return "", 0, fmt.Errorf("not the table of a thin device: %q", oneLine(table))
	}
	n, err := strconv.ParseUint(f[4], 10, 32)
	if err != nil || n > thinmeta.MaxDevice {
		return "", 0, fmt.Errorf("device id %q", f[4])
	}
	return f[3], uint32(n), nil
}

// addState fills in who is open. A device that was removed in between is left out.
func (p *Pool) addState(ctx context.Context, nodes []Node) ([]Node, error) {
	all, err := infos(ctx, "")
	if err != nil {
		return nil, err
	}
	byName := make(map[string]info, len(all))
	for _, i := range all {
		byName[i.name] = i
	}
	out := nodes[:0]
	for _, n := range nodes {
		if i, ok := byName[n.Name]; ok {
			n.Open, n.Suspended = i.open, i.suspended
			out = append(out, n)
		}
	}
	return out, nil
}

// ErrActive is wrapped by the error of Delete when the device is active.
var ErrActive = errors.New("the thin device is active")

// How long Delete waits for a busy pool.
const (
	deleteTries = 10
	deletePause = 200 * time.Millisecond
)

// Delete deletes a thin device from the pool, for ever. One that is not there is deleted already. One that is active is refused,
// whether or not somebody has it open; the kernel would refuse it as well.
func (p *Pool) Delete(ctx context.Context, id uint32) error {
	where := fmt.Sprintf("%s device %d", p.Name, id)
	if id > thinmeta.MaxDevice {
		return &fault.Error{Op: "delete thin device", Where: where, Err: fmt.Errorf("ids go up to %d", thinmeta.MaxDevice)}
	}
	for try := 1; ; try++ {
		nodes, err := p.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Device != id {
				continue
			}
			hint := "stop what uses it: fuser -vm /dev/mapper/" + n.Name + " tells who"
			if n.Open == 0 {
				hint = "if nothing needs it: dmsetup remove " + n.Name
			}
			return &fault.Error{Op: "delete thin device", Where: where, Err: fmt.Errorf("%w as %s, open count %d", ErrActive, n.Name, n.Open), Hint: hint}
		}
		err = p.message(ctx, nil, fmt.Sprintf("delete %d", id))
		switch {
		case err == nil, says(err, textNoData):
			return nil
		case !says(err, textBusy) || try == deleteTries:
			return err
		}
		if err := pause(ctx, deletePause); err != nil {
			return err
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
