package devmapper

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/boltedit"
	"fettle/internal/format/boltfile"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// checkDatabases is the pass that reads the three bolt files.
func (u *unit) checkDatabases(ctx context.Context, env store.Env) error {
	u.forget()
	var total int64
	for _, p := range []string{u.meta, u.store, u.pool} {
		if fi, err := os.Stat(p); p != "" && err == nil {
			total += fi.Size()
		}
	}
	env.Total(0, total)
	err := u.readDatabases(ctx, env.Scratch(), func(n int64) error { return env.Did(ctx, 0, n) })
	if err != nil {
		return err
	}
	for _, b := range u.bolts {
		env.Fact("keys."+b.target, b.report.Keys)
	}
	return nil
}

// readDatabases opens and checks the bolt files. One that another program holds is copied first, so that what is read is one state.
func (u *unit) readDatabases(ctx context.Context, scratch string, progress func(int64) error) error {
	if progress == nil {
		progress = func(int64) error { return nil }
	}
	fp, err := u.Fingerprint(ctx)
	if err != nil {
		return err
	}
	u.print, u.read, u.scratch = fp, time.Now(), scratch
	for _, p := range []string{u.meta, u.store, u.pool} {
		if p == "" {
			continue
		}
		b := &boltLayer{target: filepath.Base(p), path: p, read: p}
		u.bolts = append(u.bolts, b)
		if !u.locked {
			if err := b.settle(ctx, scratch); err != nil {
				return err
			}
		}
		if b.file, err = boltfile.Open(b.read); err != nil {
			return &fault.Error{Op: "open", Where: p, Err: err}
		}
		if b.report, err = b.file.Check(ctx, progress); err != nil {
			return err
		}
	}
	return nil
}

// settle copies a database that is in use.
func (b *boltLayer) settle(ctx context.Context, scratch string) error {
	who, err := boltedit.InUse(b.path)
	if err != nil || who == "" {
		return err
	}
	b.read = filepath.Join(scratch, b.target)
	if err := os.Remove(b.read); err != nil && !os.IsNotExist(err) {
		return &fault.Error{Op: "remove an older copy", Where: b.read, Err: err}
	}
	if _, err := boltedit.CopyLive(ctx, b.path, b.read, 20); err != nil {
		return &fault.Error{Op: "copy", Where: b.path, Err: err, Hint: "the database is written to all the time; stop " + who + ", or check a copy"}
	}
	return nil
}

// checkThin is the pass that reads the thin metadata.
func (u *unit) checkThin(ctx context.Context, env store.Env) error {
	var total int64
	if fi, err := os.Stat(u.thinPath()); u.thinPath() != "" && err == nil {
		total = fi.Size()
	}
	env.Total(0, total)
	o := thinmeta.CheckOptions{Memory: env.Memory(), Workers: env.Workers(),
		Progress: func(blocks int64) error { return env.Did(ctx, blocks, blocks*thinmeta.BlockSize) }}
	if err := u.readThin(ctx, env.Note, o); err != nil {
		return err
	}
	if u.thin != nil {
		r := u.thin.report
		env.Fact("thin_devices", len(r.Devices))
		env.Fact("mappings", r.Mappings)
		if !u.thin.xml {
			env.Fact("data_blocks_used", r.DataAllocated)
			env.Fact("data_blocks", r.DataBlocks)
		}
	}
	return nil
}

// readThin opens and checks the thin metadata, if there is any.
func (u *unit) readThin(ctx context.Context, note func(string), o thinmeta.CheckOptions) error {
	u.tried = true
	path := u.thinPath()
	switch {
	case u.given != nil:
		v := *u.given
		v.close = nil
		u.thin = &v
		return nil
	case u.active.pool != nil:
		return u.readLive(ctx, o)
	case path == "":
		return nil
	case u.thinXML:
		return u.readXML(path)
	}
	f, err := thinmeta.Open(path)
	if err != nil {
		return &fault.Error{Op: "open", Where: path, Err: err}
	}
	r, err := f.Check(ctx, o)
	if err != nil {
		f.Close()
		return err
	}
	u.thin = &thinView{report: r, pool: f, whole: devicesKnown(f, r), close: f.Close}
	return nil
}

// devicesKnown tells whether the list of devices is complete, though mappings may be damaged.
func devicesKnown(f *thinmeta.File, r *thinmeta.Report) bool {
	if r.Complete {
		return true
	}
	_, err := f.Devices()
	return err == nil
}

func (u *unit) readXML(path string) error {
	in, _, err := quietfile.Open(path, 0)
	if err != nil {
		return &fault.Error{Op: "open", Where: path, Err: err}
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return &fault.Error{Op: "open", Where: path, Err: err}
	}
	d, err := thinmeta.ReadXML(in, fi.Size()+1)
	if err != nil {
		u.thin = &thinView{report: &thinmeta.Report{}, pool: d, xml: true, broken: err}
		return nil
	}
	u.thin = &thinView{report: d.Report(), pool: d, xml: true, whole: true}
	return nil
}

// gather reads the records out of the checked files.
func (u *unit) gather() *evidence {
	e := &evidence{poolName: u.poolName, thin: u.thin, live: u.live, fixed: u.fixedThin()}
	e.open, e.names = u.active.openDevices()
	for _, p := range u.extra {
		e.extraPools = append(e.extraPools, filepath.Base(p))
	}
	for _, b := range u.bolts {
		if _, ok := b.file.Current(); !ok {
			continue
		}
		switch b.path {
		case u.meta:
			e.meta = snapshotdb.ReadMeta(b.file, u.opts.snapshotter)
			e.wholeMeta = b.whole() && e.meta.Damage == nil
		case u.store:
			e.store = snapshotdb.ReadMetastore(b.file)
			e.wholeStore = b.whole() && e.store.Damage == nil
		case u.pool:
			e.pool = snapshotdb.ReadPool(b.file)
			e.wholePool = b.whole() && e.pool.Damage == nil
		}
	}
	e.foreign = foreignPrefix(e)
	return e
}

// foreignPrefix is what most device names begin with when that is not the pool's name, "" otherwise.
func foreignPrefix(e *evidence) string {
	if e.pool == nil {
		return ""
	}
	count := map[string]int{}
	for i := range e.pool.Devices {
		if p, _, ok := snapshotdb.SplitName(e.pool.Devices[i].Key); ok {
			count[p]++
		}
	}
	best := ""
	for p, n := range count {
		if n > count[best] || n == count[best] && p < best {
			best = p
		}
	}
	if best == e.poolName || len(count) == 0 {
		return ""
	}
	return best
}
