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
	"fettle/internal/finding"
	"fettle/internal/format/boltedit"
	"fettle/internal/format/boltfile"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// unit is one set of four layers with what the passes have found out about it.
type unit struct {
	layout
	opts options

	bolts []*boltLayer // in the order meta.db, metadata.db, pool database; those that are there
	thin  *thinView
	given *thinView // thin metadata that another unit has read, and closes; nil: read it
	tried bool      // the thin metadata was looked at

	active  active    // the pool, when it is active on this machine
	scratch string    // where copies go
	read    time.Time // when the analysis began

	locked bool // by this process's own writer: nobody else changes the files

	ev    *evidence
	found []judged
	index foundIndex
	told  time.Time // when that was judged
	print string    // fingerprint of what was analysed
}

// boltLayer is one opened and checked bolt file.
type boltLayer struct {
	target string // name of the target: the file's name
	path   string // of the store's file
	read   string // what is read: the file, or a copy of it when it is in use
	file   *boltfile.File
	report *boltfile.Report
}

// whole tells whether every record could be read.
func (b *boltLayer) whole() bool { return b != nil && b.report != nil && b.report.Sound() }

// ID implements store.Unit.
func (u *unit) ID() string { return u.dir }

// files are the paths of the layers that are files, by role.
func (u *unit) files() []string {
	var out []string
	for _, p := range []string{u.meta, u.store, u.pool, u.thinPath()} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// thinPath is the thin metadata's file, "" if there is none.
func (u *unit) thinPath() string { return u.layout.thin }

// Targets implements store.Unit.
func (u *unit) Targets() []store.Target {
	var out []store.Target
	for _, p := range u.files() {
		t := store.Target{Name: filepath.Base(p), Path: p}
		if fi, err := os.Stat(p); err == nil {
			t.Size = fi.Size()
		}
		out = append(out, t)
	}
	return out
}

// Fingerprint implements store.Unit: sizes, times and transaction numbers of the files.
func (u *unit) Fingerprint(ctx context.Context) (string, error) {
	return u.fingerprint(ctx, u.livePrint)
}

// fingerprint takes the live pool's part from live.
func (u *unit) fingerprint(ctx context.Context, live func(context.Context) (string, error)) (string, error) {
	var parts []string
	for _, p := range []string{u.meta, u.store, u.pool} {
		if p == "" {
			continue
		}
		fp, err := boltfile.ReadFingerprint(p)
		if err != nil {
			return "", &fault.Error{Op: "fingerprint", Where: p, Err: err}
		}
		parts = append(parts, fp)
	}
	if p := u.thinPath(); p != "" {
		fi, err := os.Stat(p)
		if err != nil {
			return "", &fault.Error{Op: "fingerprint", Where: p, Err: errors.Unwrap(err)}
		}
		parts = append(parts, fmt.Sprintf("%d@%d", fi.Size(), fi.ModTime().UnixNano()))
	}
	if u.active.pool != nil { // the last, see sameRecords
		fp, err := live(ctx)
		if err != nil {
			return "", err
		}
		parts = append(parts, fp)
	}
	return strings.Join(parts, " "), nil
}

// InUse implements store.Unit: containerd locks its databases as long as it runs.
func (u *unit) InUse(ctx context.Context) (string, error) {
	var holders []string
	for _, p := range []string{u.meta, u.store, u.pool} {
		if p == "" {
			continue
		}
		who, err := boltedit.InUse(p)
		if err != nil {
			return "", &fault.Error{Op: "look for locks on", Where: p, Err: err}
		}
		if who != "" && (len(holders) == 0 || holders[len(holders)-1] != who) {
			holders = append(holders, who)
		}
	}
	return strings.Join(holders, ", "), nil
}

// Passes implements store.Unit.
func (u *unit) Passes() []store.Pass {
	return []store.Pass{
		{Name: "databases", Title: "checking every page of the databases", Run: u.checkDatabases},
		{Name: "thin", Title: "checking the thin metadata", Run: u.checkThin},
		{Name: "judge", Title: "comparing the layers", Run: u.judgeAll},
	}
}

// Confirm implements store.Unit: a finding holds if an analysis of the present files still has it.
func (u *unit) Confirm(ctx context.Context, f *finding.Finding) (bool, error) {
	now, err := u.fingerprint(ctx, u.recentPrint)
	if err != nil {
		return false, err
	}
	same, busy := sameRecords(u.print, now), u.shared() && time.Since(u.told) <= sharedAge
	if u.ev == nil || !same && !busy || same && u.print != now && time.Since(u.read) > liveAge {
		if err := u.analyse(ctx); err != nil {
			return false, err
		}
	}
	return u.lookup(identity(f)) != nil, nil
}

// liveAge is how old an analysis of a live pool may be, to whose devices containers write all the time, when nothing else has changed.
const liveAge = time.Minute

// analyse does what the passes do, without an engine.
func (u *unit) analyse(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fettle-devmapper-")
	if err != nil {
		return &fault.Error{Op: "make a temporary directory", Err: err}
	}
	defer os.RemoveAll(dir)
	u.forget()
	if err := u.readDatabases(ctx, dir, nil); err != nil {
		return errors.Join(err, u.close())
	}
	if err := u.readThin(ctx, nil, thinmeta.CheckOptions{}); err != nil {
		return errors.Join(err, u.close())
	}
	if err := u.judge(ctx); err != nil {
		return errors.Join(err, u.close())
	}
	return u.closeBolts()
}

// forget drops what was found out, before it is found out anew.
func (u *unit) forget() {
	u.close()
	u.bolts, u.thin, u.tried, u.ev, u.found, u.print = nil, nil, false, nil, nil, ""
}

func (u *unit) closeBolts() error {
	var errs []error
	for _, b := range u.bolts {
		if b.file != nil {
			errs = append(errs, b.file.Close())
			b.file = nil
		}
	}
	return errors.Join(errs...)
}

func (u *unit) close() error {
	err := u.closeBolts()
	if u.thin != nil && u.thin.close != nil {
		err = errors.Join(err, u.thin.close())
		u.thin.close = nil
	}
	return err
}
