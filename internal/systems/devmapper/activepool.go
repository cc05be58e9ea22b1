package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/livepool"
)

// active is the thin pool as it runs on this machine. The zero value: it does not, or nobody looked.
type active struct {
	pool   *livepool.Pool // nil: not active
	status livepool.Status
	asked  bool // status is known
	nodes  []livepool.Node
	// print is what livePrint said at the time printed.
	print   string
	printed time.Time
	// why says, in words for a person, why the pool is not read though it may be active; "" when it is read, or when thin metadata
	// was given.
	why string
}

// Values of the setting live.
const (
	liveAuto = "auto" // when the pool is active and the place is this machine's own
	liveYes  = "yes"  // or fail
	liveNo   = "no"
)

// attach finds out whether the pool is active on this machine. Where thin metadata is named, dmsetup is never asked. A place that is
// not this machine's own, like a copy, is compared with the active pool only when that is asked for: it has most likely another one.
func (u *unit) attach(ctx context.Context) error {
	want, name := u.opts.live, u.poolName
	switch {
	case u.layout.thin != "" && want == liveYes:
		return fault.NewUsage(fmt.Errorf("live=yes, but the thin metadata is a file: %s", u.layout.thin), "leave out live=yes, or check a place without thin metadata of its own")
	case u.layout.thin != "" || want == liveNo:
		return nil
	case name == "" && want == liveYes:
		return fault.NewUsage(errors.New("live=yes, but the name of the pool is not known: neither the configuration nor a database tells"), "--set pool=NAME; dmsetup ls --target thin-pool lists the active ones")
	case name == "":
		return nil
	case want == liveAuto && !u.here:
		u.active.why = "this is not the place of this machine's containerd: --set live=yes compares with the active pool " + name + ", --set thin=FILE with a copy of its metadata"
		return nil
	}
	p, ok, err := livepool.Find(ctx, name)
	switch {
	case err != nil && want == liveYes:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		u.active.why = inWords(err)
	case ok:
		u.active.pool, u.layout.live = p, true
	case want == liveYes:
		return &fault.Error{Op: "look for thin pool", Where: name, Err: errors.New("it is not active on this machine, or dmsetup is not in PATH"),
			Hint: "dmsetup ls --target thin-pool lists the active ones; --set pool=NAME names another, --set thin=DEVICE names the metadata of one that is not active"}
	default:
		u.active.why = "pool " + name + " is not active on this machine, or dmsetup is not in PATH: --set thin=DEVICE names its metadata"
	}
	return nil
}

// inWords is an error with its hints in one line.
func inWords(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if h := fault.Hints(err); len(h) > 0 {
		text += " (" + strings.Join(h, "; ") + ")"
	}
	return text
}

// markerDir is where notes about metadata snapshots of live pools are kept: one place for all runs, whatever --state-dir says, so
// that a later one finds what a killed one has left. Only root can read a live pool, whose home directory depends on how he became root.
func markerDir() (string, error) {
	if d := os.Getenv("FETTLE_STATE_DIR"); d != "" {
		abs, err := filepath.Abs(d)
		return filepath.Join(abs, "thin-pools"), err
	}
	if os.Geteuid() == 0 {
		return "/var/lib/fettle/thin-pools", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &fault.Error{Op: "find the state directory", Err: err, Hint: "FETTLE_STATE_DIR names one"}
	}
	return filepath.Join(home, ".local", "state", "fettle", "thin-pools"), nil
}

// readLive asks the active pool: its status, its metadata as of one moment, and who has which device open. With live=auto a pool that
// cannot be read is no error; why then says so.
func (u *unit) readLive(ctx context.Context, o thinmeta.CheckOptions) error {
	u.active.why = ""
	err := u.copyLive(ctx, o)
	if err == nil || ctx.Err() != nil || u.opts.live == liveYes {
		return err
	}
	if o.Progress != nil && errors.Is(err, errProgress) {
		return err
	}
	u.active.why = inWords(err)
	return nil
}

// errProgress is wrapped around errors of the engine, which end a check whatever the pool is like.
var errProgress = errors.New("the check was stopped")

func (u *unit) copyLive(ctx context.Context, o thinmeta.CheckOptions) error {
	a := &u.active
	dir, err := markerDir()
	if err != nil {
		return err
	}
	if a.status, err = a.pool.Status(ctx); err != nil {
		return err
	}
	a.asked = true
	if a.nodes, err = a.pool.Nodes(ctx); err != nil {
		return err
	}
	c, err := a.pool.Capture(ctx, dir, u.scratch)
	if err != nil {
		return err
	}
	if tell := o.Progress; tell != nil {
		o.Progress = func(blocks int64) error {
			if err := tell(blocks); err != nil {
				return errors.Join(errProgress, err)
			}
			return nil
		}
	}
	r, err := c.File.Check(ctx, o)
	if err == nil {
		err = c.Settled(ctx)
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	if !c.Frozen {
		r.Problems = withoutOwnHold(r.Problems)
		r.DataAllocated, r.MetadataAllocated = a.status.UsedData, a.status.UsedMetadata
	}
	u.thin = &thinView{report: r, pool: c.File, whole: devicesKnown(c.File, r), close: c.Close}
	return nil
}

// withoutOwnHold leaves out that a metadata snapshot is held: it was ours, and is released.
func withoutOwnHold(ps []thinmeta.Problem) []thinmeta.Problem {
	out := ps[:0]
	for _, p := range ps {
		if p.Kind != thinmeta.HeldRoot {
			out = append(out, p)
		}
	}
	return out
}

// livePrint is the live pool's part of a fingerprint. What comes behind usedMark changes whenever a container writes to a new block;
// the databases do not depend on it.
func (u *unit) livePrint(ctx context.Context) (string, error) {
	s, err := u.active.pool.Status(ctx)
	if err != nil {
		if u.opts.live == liveYes || ctx.Err() != nil {
			return "", err
		}
		return "live:unknown", nil
	}
	return fmt.Sprintf("live:%s:%d:%v%s%d/%d:%d/%d", s.Mode, s.TransactionID, s.NeedsCheck, usedMark, s.UsedMetadata, s.TotalMetadata, s.UsedData, s.TotalData), nil
}

const usedMark = ":used:"

// recentPrint is livePrint, or what that was a moment ago: thousands of findings may be confirmed one after the other, and dmsetup is a
// process each time.
func (u *unit) recentPrint(ctx context.Context) (string, error) {
	a := &u.active
	if a.printed.IsZero() || time.Since(a.printed) > printAge {
		text, err := u.livePrint(ctx)
		if err != nil {
			return "", err
		}
		a.print, a.printed = text, time.Now()
	}
	return a.print, nil
}

// printAge is how old the state of a live pool may be for confirming a finding. What a repair rests on is asked anew.
const printAge = time.Second

// sameRecords tells whether two fingerprints are of the same databases and a pool in the same state, whatever was written to its devices.
func sameRecords(a, b string) bool {
	a, _, _ = strings.Cut(a, usedMark)
	b, _, _ = strings.Cut(b, usedMark)
	return a == b
}

// openDevices tells, by device id, the names of active devices and how many hold them open; nil when the pool is not live.
func (a *active) openDevices() (open map[uint32]int, names map[uint32]string) {
	if a.pool == nil {
		return nil, nil
	}
	open, names = map[uint32]int{}, map[uint32]string{}
	for _, n := range a.nodes {
		open[n.Device] += n.Open
		names[n.Device] = n.Name
	}
	return open, names
}
