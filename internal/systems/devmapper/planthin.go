package devmapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/thinbuild"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
	"fettle/internal/store/wholefile"
)

// targetLive is the live pool: its records are thin devices, and deleting one cannot be undone.
const targetLive = "pool"

// Addresses of records of the thin metadata.
//
//	device/11  a thin device: what the details tree says of it (fileRecord); of a live pool only that it is there (thinRecord)
//	metadata   everything, as a wholefile.Record; afterwards a thinOrder
const (
	thinDevice   = "device/"
	thinMetadata = "metadata"
)

func thinAddr(id uint32) string { return thinDevice + strconv.FormatUint(uint64(id), 10) }

func parseThinAddr(addr string) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(addr, thinDevice), 10, 32)
	if err != nil || !strings.HasPrefix(addr, thinDevice) {
		return 0, fmt.Errorf("bad address of a thin device %q", addr)
	}
	return uint32(n), nil
}

// thinRecord is the record of a thin device of a live pool.
func thinRecord(id uint32) store.Bytes {
	return store.Bytes(fmt.Sprintf(`{"device":%d}`, id))
}

// fileRecord is the record of a thin device of metadata that is a file: also when it was made and how much it maps, so that a plan is not
// applied to another device that got the same id meanwhile.
func fileRecord(d *thinmeta.Device) store.Bytes {
	return store.Bytes(fmt.Sprintf(`{"device":%d,"created":%d,"snapped":%d,"mapped":%d}`, d.ID, d.Details.CreationTime, d.Details.SnapshotTime, d.Details.MappedBlocks))
}

// thinOrder is what a rewrite of the metadata is asked to do, as the content of the record metadata afterwards.
type thinOrder struct {
	Rebuilt         bool `json:"rebuilt"`
	ClearNeedsCheck bool `json:"clear_needs_check,omitempty"`
}

func (o thinOrder) bytes() store.Bytes {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // booleans always marshal
	}
	return b
}

func sortedIDs(m map[uint32]string) []uint32 {
	out := make([]uint32, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// actRebuild is about whole files.
func (p *planner) actRebuild(f *judged) (result, loses string, err error) {
	switch f.Class {
	case BoltEmpty, BoltTruncated, BoltNoMeta, BoltPage, BoltFreelist:
		p.rebuild[f.Subject] = true
		return f.Subject + " written anew from every readable record and what the other layers prove; the old file is kept", "", nil
	}
	if why := p.u.fixedThin(); why != "" {
		return "left: " + why, "", nil
	}
	p.details = true
	return "thin metadata written anew into a new file, every count worked out again", "", nil
}

// fixedThin says why the thin metadata cannot be exchanged for a new file, "" if it can.
func (u *unit) fixedThin() string {
	path := u.thinPath()
	switch {
	case u.live:
		return "the pool is live; deactivate it, and give its metadata as a file or device"
	case path == "":
		return "there is no thin metadata"
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	if !fi.Mode().IsRegular() {
		return fmt.Sprintf("%s is a device, which is never written in place: fettle devmapper rewrite %s NEWFILE makes new metadata, for you to look at and to write with dd", path, path)
	}
	return ""
}

// thinChanges are the changes of the thin metadata as a file, tried out first so that the plan can show devices and mapped blocks before
// and after.
func (p *planner) thinChanges(ctx context.Context, out *store.Proposal) ([]store.Change, error) {
	if len(p.drop) == 0 && !p.details {
		return nil, nil
	}
	if why := p.u.fixedThin(); why != "" {
		for i := range out.Outcomes {
			if o := &out.Outcomes[i]; o.Action == finding.Discard {
				o.Result = "left: " + why
			}
		}
		return nil, nil
	}
	path := p.u.thinPath()
	var changes []store.Change
	for _, id := range sortedIDs(p.drop) {
		changes = append(changes, store.Change{Target: p.target(path), Addr: thinAddr(id), Before: fileRecord(p.device(id)), Note: fmt.Sprintf("thin device %d, %d blocks mapped", id, p.device(id).Mapped)})
	}
	if p.details {
		rec, err := wholefile.Describe(path)
		if err != nil {
			return nil, err
		}
		changes = append(changes, store.Change{Target: p.target(path), Addr: thinMetadata, Before: rec.Bytes(),
			After: thinOrder{Rebuilt: true, ClearNeedsCheck: p.clear}.bytes(), Note: "all trees, counts and space maps written anew into a new file"})
	}
	if p.u.thinXML {
		return changes, nil
	}
	return p.tryThin(ctx, path, out, changes)
}

// tryThin makes the new metadata and throws it away, for what it says about the devices. It returns the changes if they can be made.
func (p *planner) tryThin(ctx context.Context, path string, out *store.Proposal, changes []store.Change) ([]store.Change, error) {
	dir, err := os.MkdirTemp(p.work, "thin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e, err := p.u.thinEdits(p.drop, p.clear)
	if err != nil {
		return nil, err
	}
	c, err := rewriteThin(ctx, path, filepath.Join(dir, "new"), e)
	var lost *thinbuild.SuperblockError
	if errors.As(err, &lost) {
		for i := range out.Outcomes {
			if o := &out.Outcomes[i]; o.Action == finding.Discard || o.Action == finding.Rebuild {
				o.Result = fmt.Sprintf("left: %v; give them to the check: --set %s=N --set %s=N", lost, SetBlockSize, SetBlocks)
			}
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("try to write the thin metadata anew: %w", err)
	}
	out.Notes = append(out.Notes, compareNotes(c)...)
	p.loss += int64(len(c.Losses()))
	return changes, nil
}

// thinEdits says what a rewrite of the metadata changes.
func (u *unit) thinEdits(drop map[uint32]string, clearFlag bool) (thinbuild.Edits, error) {
	size, blocks, err := u.opts.geometry()
	return thinbuild.Edits{Drop: drop, ClearNeedsCheck: clearFlag, DataBlockSize: size, DataBlocks: blocks}, err
}

// rewriteThin writes the metadata at path to a new file. The new file is as long as the old one.
func rewriteThin(ctx context.Context, path, to string, e thinbuild.Edits) (*thinbuild.Comparison, error) {
	f, err := thinmeta.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := thinbuild.Rewrite(ctx, f, to, e)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(to)
	if err != nil {
		return nil, err
	}
	if fi.Size() < f.Size() {
		err = lengthen(to, f.Size())
	}
	return c, err
}

// lengthen makes a file size bytes long, durably.
func lengthen(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// maxCompared is how many devices are listed one by one.
const maxCompared = 50

// compareNotes says what a rewrite changes.
func compareNotes(c *thinbuild.Comparison) []string {
	var out []string
	before, after := uint64(0), uint64(0)
	listed := 0
	for _, d := range c.Devices {
		before += d.MappedBefore
		after += d.MappedAfter
		if !d.Dropped && d.Lost == "" && !d.Rebuilt && d.MappedBefore == d.MappedAfter && d.Claimed == d.MappedAfter {
			continue
		}
		if listed++; listed > maxCompared {
			continue
		}
		text := fmt.Sprintf("thin device %d: %d mapped blocks before, %d after", d.ID, d.MappedBefore, d.MappedAfter)
		switch {
		case d.Dropped:
			text += "; deleted (" + d.Why + ")"
		case d.Lost != "":
			text += "; LOST: " + d.Lost
		case d.Rebuilt:
			text += "; its details are made anew"
		case d.Claimed != d.MappedAfter:
			text += fmt.Sprintf("; its details said %d", d.Claimed)
		}
		out = append(out, text)
	}
	if listed > maxCompared {
		out = append(out, fmt.Sprintf("%d more thin devices change", listed-maxCompared))
	}
	out = append(out, fmt.Sprintf("all %d thin devices: %d mapped blocks before, %d after", len(c.Devices), before, after))
	return append(append(out, c.Lost...), c.Notes...)
}
