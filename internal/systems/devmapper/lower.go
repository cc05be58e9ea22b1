package devmapper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltedit"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
	"fettle/internal/store/pagefile"
	"fettle/internal/store/wholefile"
)

// Lower implements store.Writer: records of a bolt file become the pages that one transaction changes, changes of the thin metadata a new
// file, deletions in a live pool stay what they are.
func (w *writer) Lower(ctx context.Context, step store.Step) ([]store.Change, error) {
	var order []string
	by := map[string][]store.Change{}
	for _, c := range step.Changes {
		if _, ok := by[c.Target]; !ok {
			order = append(order, c.Target)
		}
		by[c.Target] = append(by[c.Target], c)
	}
	var out []store.Change
	for _, target := range order {
		raw, err := w.lowerTarget(ctx, target, by[target])
		if err != nil {
			return nil, err
		}
		out = append(out, raw...)
	}
	return out, nil
}

func (w *writer) lowerTarget(ctx context.Context, target string, cs []store.Change) ([]store.Change, error) {
	switch {
	case target == targetLive && w.live != nil:
		return w.live.lower(ctx, cs)
	case w.isThin(target):
		return w.lowerThin(ctx, target, cs)
	case w.pages[target] == nil:
		return nil, fmt.Errorf("unknown target %q", target)
	case isWhole(cs[0]):
		if len(cs) != 1 {
			return nil, fmt.Errorf("%s: records of a file that is written anew", target)
		}
		return w.lowerRebuild(ctx, target, cs[0])
	}
	return w.lowerBolt(ctx, target, cs)
}

// lowerBolt makes all changes of one database in one transaction on a copy.
func (w *writer) lowerBolt(ctx context.Context, target string, cs []store.Change) ([]store.Change, error) {
	r, err := boltedit.Edit(ctx, w.paths[target], w.work, func(tx *bbolt.Tx) error {
		places := make([]boltPlace, len(cs))
		for i, c := range cs {
			p, err := parseBoltAddr(c.Addr)
			if err != nil {
				return err
			}
			places[i] = p
			now, err := txRecord(tx, p)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Addr, err)
			}
			if (now == nil) != (c.Before == nil) || !bytes.Equal(now, c.Before) {
				return fmt.Errorf("record %s of %s is not as the plan says; make a new plan", c.Addr, target)
			}
		}
		for i, c := range cs {
			if err := txWrite(tx, places[i], c.After); err != nil {
				return fmt.Errorf("%s: %w", c.Addr, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []store.Change
	for _, p := range r.Pages {
		out = append(out, pagefile.Page{Number: p.Number, Size: r.PageSize}.Change(target, p.Before, p.After))
	}
	return out, nil
}

// lowerThin writes the thin metadata anew beside the old file.
func (w *writer) lowerThin(ctx context.Context, target string, cs []store.Change) ([]store.Change, error) {
	path := w.paths[target]
	before, err := wholefile.Describe(path)
	if err != nil {
		return nil, err
	}
	drop, planned, order := map[uint32]string{}, map[uint32]store.Bytes{}, thinOrder{}
	for _, c := range cs {
		if c.Addr == thinMetadata {
			if !bytes.Equal(before.Bytes(), c.Before) {
				return nil, fmt.Errorf("%s is not as the plan says; make a new plan", target)
			}
			if err := json.Unmarshal(c.After, &order); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Addr, err)
			}
			continue
		}
		id, err := parseThinAddr(c.Addr)
		if err != nil {
			return nil, err
		}
		if c.After != nil {
			return nil, fmt.Errorf("%s: a thin device can only be deleted", c.Addr)
		}
		drop[id], planned[id] = "as planned", c.Before
	}
	if err := clearBuild(path); err != nil {
		return nil, err
	}
	if w.u.thinXML {
		err = rewriteXML(path, buildPath(path), drop, planned)
	} else {
		err = w.rewriteRaw(ctx, path, drop, planned, order)
	}
	if err != nil {
		return nil, errors.Join(err, clearBuild(path))
	}
	after, err := w.shelf.AdoptBuilt(buildPath(path), path)
	if err != nil {
		return nil, err
	}
	return []store.Change{{Target: target, Addr: rawFile, Before: before.Bytes(), After: after.Bytes(), Note: "the old file is kept beside it"}}, nil
}

func (w *writer) rewriteRaw(ctx context.Context, path string, drop map[uint32]string, planned map[uint32]store.Bytes, order thinOrder) error {
	f, err := thinmeta.Open(path)
	if err != nil {
		return err
	}
	have, err := f.Devices()
	f.Close()
	if err != nil && len(drop) > 0 && !order.Rebuilt {
		return err
	}
	if err := asPlanned(have, planned); err != nil {
		return err
	}
	e, err := w.u.thinEdits(drop, order.ClearNeedsCheck)
	if err != nil {
		return err
	}
	_, err = rewriteThin(ctx, path, buildPath(path), e)
	return err
}

// asPlanned refuses to delete a device that is not there or is another one: then the plan is about something else.
func asPlanned(have []thinmeta.Device, planned map[uint32]store.Bytes) error {
	there := make(map[uint32]*thinmeta.Device, len(have))
	for i := range have {
		there[have[i].ID] = &have[i]
	}
	for _, id := range slices.Sorted(maps.Keys(planned)) {
		if d := there[id]; d == nil || !bytes.Equal(fileRecord(d), planned[id]) {
			return fmt.Errorf("thin device %d is not as the plan says; make a new plan", id)
		}
	}
	return nil
}

// without is a pool that lacks some devices.
type without struct {
	thinmeta.Pool
	drop map[uint32]string
}

// Devices implements thinmeta.Pool.
func (p without) Devices() ([]thinmeta.Device, error) {
	all, err := p.Pool.Devices()
	var out []thinmeta.Device
	for _, d := range all {
		if _, gone := p.drop[d.ID]; !gone {
			out = append(out, d)
		}
	}
	return out, err
}

// rewriteXML writes the XML of a pool without some devices.
func rewriteXML(path, to string, drop map[uint32]string, planned map[uint32]store.Bytes) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	d, err := thinmeta.ReadXML(in, fi.Size()+1)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	have, err := d.Devices()
	if err != nil {
		return err
	}
	if err := asPlanned(have, planned); err != nil {
		return err
	}
	var b strings.Builder
	if err := thinmeta.WriteXML(&b, without{d, drop}); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.WriteString(b.String())
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}
