package runs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fettle/internal/fault"
)

// DefaultDir is where runs are kept when the user says nothing: $FETTLE_STATE_DIR, else $XDG_STATE_HOME/fettle, else
// ~/.local/state/fettle, else (root without a home) /var/lib/fettle.
func DefaultDir() (string, error) {
	if d := os.Getenv("FETTLE_STATE_DIR"); d != "" {
		return filepath.Abs(d)
	}
	// The XDG base directory specification says that a relative value is to be ignored.
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "fettle"), nil
	}
	if d := os.Getenv("HOME"); d != "" {
		return filepath.Join(d, ".local", "state", "fettle"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/fettle", nil
	}
	return "", &fault.Error{Op: "find the state directory", Err: errors.New("neither FETTLE_STATE_DIR, XDG_STATE_HOME nor HOME is set"),
		Hint: "say where runs are kept with --state-dir DIR"}
}

// Dir is the directory that holds all runs, each in a directory of its own named by its id.
type Dir struct{ path string }

// Open names the directory that holds the runs. It need not exist: the first New creates it with mode 0700.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &fault.Error{Op: "open state directory", Where: path, Err: err}
	}
	st, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, &fault.Error{Op: "open state directory", Where: abs, Err: err, Hint: "choose another with --state-dir DIR"}
	case !st.IsDir():
		return nil, &fault.Error{Op: "open state directory", Where: abs, Err: errors.New("not a directory"), Hint: "choose another with --state-dir DIR"}
	}
	return &Dir{path: abs}, nil
}

// Path is the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// idPattern is the form of a run id: UTC date, time, and three characters against collisions.
var idPattern = regexp.MustCompile(`^\d{8}-\d{6}-[a-z0-9]{3}$`)

// idLetters has 32 letters that are hard to mistake for one another.
const idLetters = "abcdefghijkmnpqrstuvwxyz23456789"

func newID(t time.Time) string {
	var b [3]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	for i, v := range b {
		b[i] = idLetters[int(v)%len(idLetters)]
	}
	return t.UTC().Format("20060102-150405") + "-" + string(b[:])
}

// New creates a run for spec and writes its spec.json and a first status.json (running, this process). ID, Type, Schema,
// Host, Argv, Cwd and Started are filled in when they are empty.
func (d *Dir) New(spec Spec) (*Run, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, &fault.Error{Op: "create state directory", Where: d.path, Err: err, Hint: "choose another with --state-dir DIR"}
	}
	spec.fill()
	given := spec.ID != ""
	if given && !idPattern.MatchString(spec.ID) {
		return nil, fmt.Errorf("create run: %q is not a run id", spec.ID)
	}
	for try := 0; ; try++ {
		if !given {
			spec.ID = newID(spec.Started)
		}
		err := os.Mkdir(filepath.Join(d.path, spec.ID), 0o700)
		if err == nil {
			break
		}
		// 32768 ids per second exist; a second of hard luck is not worth waiting for.
		if given || !errors.Is(err, fs.ErrExist) || try == 100 {
			return nil, &fault.Error{Op: "create run", Where: filepath.Join(d.path, spec.ID), Err: err, Hint: "choose another place with --state-dir DIR"}
		}
	}
	r := &Run{path: filepath.Join(d.path, spec.ID), id: spec.ID, spec: spec}
	if err := r.WriteJSON(SpecFile, spec); err != nil {
		os.RemoveAll(r.path)
		return nil, err
	}
	if err := r.WriteStatus(Status{State: Running}); err != nil {
		os.RemoveAll(r.path)
		return nil, err
	}
	return r, nil
}

// List returns all runs, newest first. A run whose spec.json cannot be read is listed too: see Run.Broken.
func (d *Dir) List() ([]*Run, error) {
	ents, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{Op: "list runs", Where: d.path, Err: err}
	}
	var out []*Run
	for _, e := range ents {
		if e.IsDir() && idPattern.MatchString(e.Name()) {
			out = append(out, load(filepath.Join(d.path, e.Name())))
		}
	}
	slices.SortFunc(out, func(a, b *Run) int {
		if c := b.started().Compare(a.started()); c != 0 {
			return c
		}
		return strings.Compare(b.id, a.id)
	})
	return out, nil
}

// Find returns the run that name means: a whole id, "last" (the newest), a prefix or suffix of just one id, or a path to
// the directory of a run, which need not be in d.
func (d *Dir) Find(name string) (*Run, error) {
	if name == "" {
		return nil, fault.NewUsage(errors.New("empty name of a run"), "fettle runs lists them; \"last\" is the newest")
	}
	if strings.ContainsRune(name, filepath.Separator) || name == "." || name == ".." {
		return findPath(name)
	}
	all, err := d.List()
	if err != nil {
		return nil, err
	}
	if name == "last" {
		for _, r := range all {
			if r.broken == nil {
				return r, nil
			}
		}
		return nil, &fault.Error{Op: "find run", Where: name, Err: fmt.Errorf("there are no runs in %s", d.path), Hint: "start one with: fettle check STORE", Kind: fault.Usage}
	}
	var hits []*Run
	for _, r := range all {
		if r.id == name {
			return r, nil
		}
		if strings.HasPrefix(r.id, name) || strings.HasSuffix(r.id, name) {
			hits = append(hits, r)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return nil, ambiguous(name, hits)
	}
	if _, err := os.Stat(filepath.Join(name, SpecFile)); err == nil {
		return findPath(name)
	}
	return nil, &fault.Error{Op: "find run", Where: name, Err: fmt.Errorf("no such run in %s", d.path),
		Hint: "fettle runs lists them; \"last\" is the newest", Kind: fault.Usage}
}

// ambiguous names up to five of the runs that name could mean.
func ambiguous(name string, hits []*Run) error {
	var ids []string
	for _, r := range hits[:min(len(hits), 5)] {
		ids = append(ids, r.id)
	}
	if len(hits) > 5 {
		ids = append(ids, "...")
	}
	return &fault.Error{Op: "find run", Where: name, Err: fmt.Errorf("means %d runs", len(hits)),
		Hint: "give more of the id: " + strings.Join(ids, ", "), Kind: fault.Usage}
}

func findPath(path string) (*Run, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &fault.Error{Op: "find run", Where: path, Err: err}
	}
	r := load(abs)
	if r.broken != nil {
		return nil, &fault.Error{Op: "find run", Where: path, Err: r.broken, Hint: "the directory of a run holds a " + SpecFile, Kind: fault.Usage}
	}
	return r, nil
}

// Remove deletes a run of d with all its files. It refuses a run that a process works on, and one that is kept elsewhere.
func (d *Dir) Remove(r *Run) error {
	if filepath.Dir(r.path) != d.path || !idPattern.MatchString(filepath.Base(r.path)) {
		return &fault.Error{Op: "remove run", Where: r.path, Err: fmt.Errorf("it is not kept in %s", d.path), Hint: "delete that directory by hand", Kind: fault.Usage}
	}
	unlock, err := r.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(r.path); err != nil {
		return &fault.Error{Op: "remove run", Where: r.path, Err: err}
	}
	return nil
}
