package lustre

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/store"
)

// System is the namespace of a Lustre file system.
type System struct{}

// SetJournal=ignore reads targets whose journal was not replayed as they are.
const SetJournal = "journal"

// Name implements store.System.
func (System) Name() string { return "lustre" }

// Title implements store.System.
func (System) Title() string {
	return "Lustre namespace (ldiskfs images, devices or file-level backups of MDTs)"
}

// Classes implements store.System.
func (System) Classes() finding.Classes { return Classes }

// Recognize implements store.System: ext4 whose names carry FIDs, or that is labelled as an MDT or configured to be one, or a
// file-level backup of such.
func (System) Recognize(path string) (bool, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if m := fi.Mode(); !m.IsRegular() && m.Type() != os.ModeDevice {
		return isBackup(path, fi)
	}
	fs, err := ext4.Open(path)
	if errors.Is(err, ext4.ErrNotExt4) || errors.Is(err, ext4.ErrGeometry) {
		return isBackup(path, fi)
	}
	if err != nil {
		return false, err
	}
	return isMDT(fs), fs.Close()
}

// Open implements store.System.
func (System) Open(ctx context.Context, loc store.Location, opts store.Options) (store.Store, error) {
	ignore := false
	for k, v := range opts.Settings {
		switch {
		case k == SetJournal && v == "ignore":
			ignore = true
		case k == SetJournal && v == "refuse":
		case k == SetJournal:
			return nil, fault.NewUsage(fmt.Errorf("lustre: %s=%s", k, v), "one of refuse, ignore")
		default:
			return nil, fault.NewUsage(fmt.Errorf("lustre: unknown setting %q", k), "known settings: "+SetJournal)
		}
	}
	if len(loc.Paths) == 0 {
		return nil, fault.NewUsage(errors.New("lustre: no MDT was given"), "lustre:mdt0.img,mdt1.img: all MDTs of one file system, as images, devices or file-level backups")
	}
	u := &unit{}
	if err := u.open(ctx, loc.Paths, ignore); err != nil {
		return nil, errors.Join(err, u.close())
	}
	return &opened{u}, nil
}

// open opens all targets, which must belong together.
func (u *unit) open(ctx context.Context, paths []string, ignoreJournal bool) error {
	for _, p := range paths {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t, err := openTarget(ctx, p, ignoreJournal)
		if err != nil {
			return err
		}
		u.targets = append(u.targets, t)
		first := u.targets[0]
		if t.fsname != first.fsname {
			return &fault.Error{Op: "open", Where: p, Err: fmt.Errorf("it belongs to the file system %s, %s to %s", t.fsname, first.path, first.fsname),
				Hint: "give the MDTs of one file system", Kind: fault.Usage}
		}
		for _, o := range u.targets[:len(u.targets)-1] {
			if o.index == t.index {
				return &fault.Error{Op: "open", Where: p, Err: fmt.Errorf("it is %s, and so is %s", t.name(), o.path),
					Hint: "give each MDT once; of a snapshot and its origin only one", Kind: fault.Usage}
			}
		}
	}
	slices.SortFunc(u.targets, func(a, b *target) int { return cmp.Compare(a.index, b.index) })
	u.survey()
	return nil
}

// opened is an opened file system: one unit.
type opened struct{ unit *unit }

// Units implements store.Store.
func (o *opened) Units() []store.Unit { return []store.Unit{o.unit} }

// Close implements store.Store.
func (o *opened) Close() error { return o.unit.close() }
