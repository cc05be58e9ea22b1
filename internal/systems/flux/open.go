package flux

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
)

// System is the Flux KVS content store.
type System struct{}

// Name implements store.System.
func (System) Name() string { return "flux" }

// Title implements store.System.
func (System) Title() string { return "Flux KVS content store (content.sqlite)" }

// Classes implements store.System.
func (System) Classes() finding.Classes { return Classes }

// FileName is what Flux calls the database in its state directory.
const FileName = "content.sqlite"

// Recognize implements store.System: a database with the tables of a content store, a directory that holds one, or,
// when the content is past recognising, the right name.
func (System) Recognize(path string) (bool, error) {
	path, err := locate(path)
	if err != nil {
		return false, nil
	}
	if strings.HasPrefix(filepath.Base(path), FileName) {
		return true, nil
	}
	fi, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if m := fi.Mode(); !m.IsRegular() && m.Type() != fs.ModeDevice {
		return false, nil // opening a FIFO would wait for a writer
	}
	f, _, err := quietfile.Open(path, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [16]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != "SQLite format 3\x00" {
		return false, nil
	}
	db, err := sqlitefile.Open(path, sqlitefile.Options{})
	if err != nil {
		return false, err
	}
	defer db.Close()
	objects, _ := db.Schema()
	for _, o := range objects {
		if o.Type == "table" && (o.Name == "objects" || o.Name == "checkpt_v2" || o.Name == "checkpt") {
			return true, nil
		}
	}
	return false, nil
}

// placesHint says what can be given.
const placesHint = "give " + FileName + ", or the directory that it is in, which is the state directory of the Flux instance (flux getattr statedir)"

// locate finds the database behind what the user named: the file itself or the state directory.
func locate(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return path, err
	}
	if !fi.IsDir() {
		return path, nil
	}
	inside := filepath.Join(path, FileName)
	if _, err := os.Stat(inside); err != nil {
		return inside, &fault.Error{Op: "open", Where: path, Err: fmt.Errorf("no %s in this directory", FileName),
			Hint: placesHint}
	}
	return inside, nil
}

// Settings that Open understands (--set key=value); the first two have flags of their own.
const (
	SetCheckpoint = "checkpoint"       // id, sequence or rootref of the checkpoint to start from
	SetScan       = "scan-checkpoints" // "true": judge the trees of all checkpoints
	SetWAL        = "wal"              // path of the -wal, or "none"
	SetJobs       = "jobs"             // what a repair moves of a damaged job: "whole", "keys", "auto"
)

// Open implements store.System.
func (System) Open(ctx context.Context, loc store.Location, opts store.Options) (store.Store, error) {
	if len(loc.Paths) != 1 {
		return nil, fault.NewUsage(fmt.Errorf("flux: one path is needed, %d given", len(loc.Paths)), "flux:/path/to/content.sqlite")
	}
	path, err := locate(loc.Paths[0])
	if err != nil {
		return nil, fault.Opening(loc.Paths[0], err, placesHint)
	}
	o := options{skip: opts.Skip}
	for k, v := range opts.Settings {
		switch k {
		case SetCheckpoint:
			o.checkpoint = v
		case SetScan:
			o.scan = v == "true" || v == "1" || v == "yes"
		case SetWAL:
			o.wal = v
		case SetJobs:
			if v != "whole" && v != "keys" && v != "auto" {
				return nil, fault.NewUsage(fmt.Errorf("flux: jobs=%s", v), "one of whole, keys, auto")
			}
			o.jobs = v
		default:
			return nil, fault.NewUsage(fmt.Errorf("flux: unknown setting %q", k), "known settings: checkpoint, scan-checkpoints, wal, jobs")
		}
	}
	u, err := openUnit(path, o)
	if err != nil {
		return nil, err
	}
	return &content{unit: u}, nil
}

// content is an opened content store. It is one unit.
type content struct{ unit *unit }

// Units implements store.Store.
func (c *content) Units() []store.Unit { return []store.Unit{c.unit} }

// Close implements store.Store.
func (c *content) Close() error { return c.unit.file.Close() }

type options struct {
	checkpoint string
	scan       bool
	wal        string
	jobs       string // "whole", "keys" or "" (whole when the eventlog or jobspec is damaged)
	skip       []string
}

// unit is one content store with what the passes have found out about it so far.
type unit struct {
	path string
	opts options
	file *sqlitefile.File

	layout
	checkpoints []checkpoint // newest first; salvaged ones are added by the sweep

	// Set by the sweep.
	counts sweepCounts
	faults []pageFault
	idx    *index
	// Set by the comparison of the index.
	indexed indexState
	// Set by the walk.
	mended map[uint32]mended // by entry number
	roots  []chosenRoot
	reach  *reach
}

func openUnit(path string, o options) (*unit, error) {
	f, err := sqlitefile.Open(path, o.fileOptions())
	if err != nil {
		return nil, fault.Opening(path, err, placesHint)
	}
	u := &unit{path: path, opts: o, file: f}
	u.layout = readLayout(f)
	u.checkpoints = u.readCheckpoints()
	if o.checkpoint != "" && len(u.checkpoints) > 0 {
		if _, err := u.findRoot(u.distinctRoots(), o.checkpoint); err != nil {
			f.Close()
			return nil, err
		}
	}
	return u, nil
}

func (o options) fileOptions() sqlitefile.Options {
	switch o.wal {
	case "":
		return sqlitefile.Options{}
	case "none":
		return sqlitefile.Options{IgnoreWAL: true}
	}
	return sqlitefile.Options{WALPath: o.wal}
}

// ID implements store.Unit.
func (u *unit) ID() string { return u.path }

// Targets implements store.Unit.
func (u *unit) Targets() []store.Target {
	t := []store.Target{{Name: targetDB, Path: u.path, Size: u.file.Size()}}
	if w := u.file.WAL(); w.Exists {
		t = append(t, store.Target{Name: targetWAL, Path: w.Path, Size: w.Size})
	}
	return t
}

// Names of the targets.
const (
	targetDB  = "content.sqlite"
	targetWAL = "content.sqlite-wal"
)

// Fingerprint implements store.Unit.
func (u *unit) Fingerprint(context.Context) (string, error) {
	p, err := sqlitefile.FingerprintOf(u.path, u.opts.fileOptions())
	if err != nil {
		return "", &fault.Error{Op: "fingerprint", Where: u.path, Err: err}
	}
	return p.String(), nil
}

// InUse implements store.Unit.
func (u *unit) InUse(context.Context) (string, error) {
	l, err := sqlitefile.InUse(u.path)
	if err != nil {
		return "", &fault.Error{Op: "look for locks on", Where: u.path, Err: err}
	}
	if l.Kind == sqlitefile.NoLock {
		return "", nil
	}
	return l.String(), nil
}

// Passes implements store.Unit.
func (u *unit) Passes() []store.Pass {
	return []store.Pass{
		{Name: "sweep", Title: "verifying every blob", Run: u.sweep},
		{Name: "index", Title: "comparing the hash index", Run: u.checkIndex},
		{Name: "walk", Title: "following the tree", Run: u.walkTree},
		{Name: "report", Title: "naming the damage", Run: u.reportDamage},
	}
}
