package devmapper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/store"
)

// System is containerd's devmapper snapshotter.
type System struct{}

// Name implements store.System.
func (System) Name() string { return "devmapper" }

// Title implements store.System.
func (System) Title() string {
	return "containerd devmapper snapshotter (meta.db, metadata.db, POOL.db, thin pool)"
}

// Classes implements store.System.
func (System) Classes() finding.Classes { return Classes }

// Recognize implements store.System: a containerd root, a directory with databases of the snapshotter, or one of the files.
func (System) Recognize(path string) (bool, error) {
	if isDir(path) {
		return isFile(filepath.Join(path, metaInRoot)) || isFile(filepath.Join(path, metaName)) || isFile(filepath.Join(path, storeName)), nil
	}
	fi, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if m := fi.Mode(); !m.IsRegular() && m.Type() != os.ModeDevice {
		return false, nil // opening a FIFO would wait for a writer
	}
	k, err := kindByContent(path)
	return k != kindNone, err
}

// kindByContent is kindOf for a file whose name says nothing.
func kindByContent(path string) (kind, error) {
	k, err := kindOf(path)
	if err != nil || k == kindThin || k == kindXML || k == kindNone {
		return k, err
	}
	return kindOfBolt(path), nil
}

// Settings that Open understands (--set key=value).
const (
	SetPool        = "pool"        // name of the thin pool
	SetConfig      = "config"      // containerd's configuration file
	SetMeta        = "meta"        // path of meta.db
	SetStore       = "store"       // path of metadata.db
	SetPoolDB      = "pool-db"     // path of the pool database
	SetThin        = "thin"        // path of the thin metadata: raw or XML, a file or a device
	SetLive        = "live"        // auto, yes, no: read the thin metadata of the active pool through dmsetup
	SetSnapshotter = "snapshotter" // name under which containerd knows the snapshotter
	// What only the superblock of the thin metadata knows, for a repair when it is damaged: as dmsetup table POOL has them.
	SetBlockSize = "data-block-size" // sectors
	SetBlocks    = "data-blocks"     // number of data blocks
)

type options struct {
	pool, config, meta, store, poolDB, thin string
	live                                    string
	snapshotter                             string
	blockSize, blocks                       string
}

// geometry is what the user says about the size of data blocks (in sectors) and their number, 0 for nothing.
func (o *options) geometry() (size uint32, blocks uint64, err error) {
	for _, p := range []struct {
		name, text string
		at         func(uint64)
	}{{SetBlockSize, o.blockSize, func(n uint64) { size = uint32(min(n, 1<<31)) }}, {SetBlocks, o.blocks, func(n uint64) { blocks = n }}} {
		if p.text == "" {
			continue
		}
		n, err := strconv.ParseUint(p.text, 10, 64)
		if err != nil {
			return 0, 0, fault.NewUsage(fmt.Errorf("devmapper: %s=%s", p.name, p.text), "a number, as dmsetup table POOL shows it")
		}
		p.at(n)
	}
	return size, blocks, nil
}

// override puts what the user said in the place of what was found.
func (o *options) override(l *layout) {
	for _, p := range []struct {
		said string
		at   *string
	}{{o.pool, &l.poolName}, {o.meta, &l.meta}, {o.store, &l.store}, {o.poolDB, &l.pool}, {o.thin, &l.thin}} {
		if p.said != "" {
			*p.at = p.said
		}
	}
	if o.thin != "" {
		k, err := kindOf(o.thin)
		l.thinXML = err == nil && k == kindXML
	}
	if o.poolDB != "" {
		l.extra = nil
	}
}

// Open implements store.System.
func (System) Open(ctx context.Context, loc store.Location, opts store.Options) (store.Store, error) {
	o := options{live: liveAuto, snapshotter: snapshotdb.Snapshotter}
	known := map[string]*string{SetPool: &o.pool, SetConfig: &o.config, SetMeta: &o.meta, SetStore: &o.store, SetPoolDB: &o.poolDB,
		SetThin: &o.thin, SetLive: &o.live, SetSnapshotter: &o.snapshotter, SetBlockSize: &o.blockSize, SetBlocks: &o.blocks}
	for k, v := range opts.Settings {
		at := known[k]
		if at == nil {
			return nil, fault.NewUsage(fmt.Errorf("devmapper: unknown setting %q", k), "known settings: pool, config, meta, store, pool-db, thin, live, snapshotter, data-block-size, data-blocks")
		}
		*at = v
	}
	if o.live != liveAuto && o.live != liveYes && o.live != liveNo {
		return nil, fault.NewUsage(fmt.Errorf("devmapper: live=%s", o.live), "one of auto, yes, no")
	}
	if _, _, err := o.geometry(); err != nil {
		return nil, err
	}
	l, err := findLayers(loc.Paths, o)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{l.meta, l.store, l.pool, l.thin} {
		if _, err := os.Stat(p); p != "" && err != nil {
			return nil, fault.Opening(p, err, placesHint)
		}
	}
	if err := l.resolve(); err != nil {
		return nil, err
	}
	u := &unit{layout: l, opts: o}
	if err := u.attach(ctx); err != nil {
		return nil, err
	}
	return &opened{u}, nil
}

// opened is an opened set of layers: one unit.
type opened struct{ unit *unit }

// Units implements store.Store.
func (o *opened) Units() []store.Unit { return []store.Unit{o.unit} }

// Close implements store.Store.
func (o *opened) Close() error { return o.unit.close() }
