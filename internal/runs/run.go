package runs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// Schema is the version of the files of a run. It changes only when a field is removed or changes its meaning.
const Schema = 1

// Names of the files in the directory of a run.
const (
	SpecFile       = "spec.json"
	StatusFile     = "status.json"
	ControlFile    = "control.json"
	LockFile       = "lock"
	FindingsFile   = "findings.jsonl"
	OutcomesFile   = "outcomes.jsonl"
	CheckpointFile = "checkpoint.json"
	SummaryFile    = "summary.json"
	ScratchDir     = "scratch"
)

// maxFile bounds the JSON files of a run that are read whole. A checkpoint carries the state of passes, which are small;
// anything larger is not ours.
const maxFile = 1 << 30

// Spec is what a run was asked to do. It never changes, so that a resumed run does the same as the first life did.
type Spec struct {
	Type    string    `json:"type"` // always "run"
	Schema  int       `json:"schema"`
	ID      string    `json:"id"`
	Version string    `json:"fettle"` // version of the program
	Host    string    `json:"host"`
	Argv    []string  `json:"argv"`
	Cwd     string    `json:"cwd"`
	Started time.Time `json:"started"`

	Store    string            `json:"store"`           // the location as the user wrote it
	System   string            `json:"system"`          // the system that was recognised or named
	Paths    []string          `json:"paths,omitempty"` // absolute paths of the location: a resume may start in another directory
	Settings map[string]string `json:"settings,omitempty"`
	Skip     []string          `json:"skip,omitempty"`

	Memory     int64         `json:"memory"`  // bytes
	Workers    int           `json:"workers"` // goroutines
	Rate       int64         `json:"rate,omitempty"`
	RateBytes  int64         `json:"rate_bytes,omitempty"`
	Interval   time.Duration `json:"interval_ns,omitempty"` // between checkpoints
	Severities []string      `json:"severities,omitempty"`  // rules CLASS[:KEY]=SEVERITY
	Baseline   string        `json:"baseline,omitempty"`    // absolute path of the file of accepted findings
}

// Options is the part of the spec that belongs to the system.
func (s Spec) Options() store.Options { return store.Options{Settings: s.Settings, Skip: s.Skip} }

// Location is where the store is, with absolute paths when they are known, and without any when the user named only the system.
func (s Spec) Location() store.Location {
	loc := store.Location{System: s.System, Paths: s.Paths, Text: s.Store}
	if len(loc.Paths) == 0 && s.Store != s.System+":" {
		loc.Paths = []string{s.Store}
	}
	return loc
}

// fill sets what the caller left empty.
func (s *Spec) fill() {
	s.Type, s.Schema = "run", Schema
	if s.Host == "" {
		s.Host = hostname()
	}
	if s.Argv == nil {
		s.Argv = os.Args
	}
	if s.Cwd == "" {
		s.Cwd, _ = os.Getwd() // only for the reader
	}
	if s.Started.IsZero() {
		s.Started = time.Now().UTC().Truncate(time.Millisecond)
	}
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return h
}

// Run is one run. Its methods may be called from several goroutines.
type Run struct {
	path   string
	id     string
	spec   Spec
	broken error

	mu       sync.Mutex
	lock     *os.File
	locks    int
	lastStat time.Time // when status.json was last written by this process
	lastSt   State
}

// load reads the run in the directory path. It always returns a run; Broken says what is wrong with it.
func load(path string) *Run {
	r := &Run{path: path, id: filepath.Base(path)}
	if err := r.ReadJSON(SpecFile, &r.spec); err != nil {
		r.broken = err
		return r
	}
	switch {
	case r.spec.Type != "run" || r.spec.ID == "":
		r.broken = fmt.Errorf("%s is not the spec of a run", r.File(SpecFile))
	case r.spec.Schema > Schema:
		r.broken = fmt.Errorf("%s was written by a newer fettle (schema %d, this one knows %d)", r.File(SpecFile), r.spec.Schema, Schema)
	}
	// A copy of a run may lie in a directory of any name.
	if r.broken == nil && !idPattern.MatchString(r.id) {
		r.id = r.spec.ID
	}
	return r
}

// ID is the run's id.
func (r *Run) ID() string { return r.id }

// Path is the absolute path of the run's directory.
func (r *Run) Path() string { return r.path }

// File is the path of a file of the run.
func (r *Run) File(name string) string { return filepath.Join(r.path, name) }

// Spec is what the run was asked to do; the zero Spec if the run is broken.
func (r *Run) Spec() Spec { return r.spec }

// Broken says why the spec of the run cannot be used; nil for a good run.
func (r *Run) Broken() error { return r.broken }

// Scratch is the directory of the passes' working files. It is created if need be.
func (r *Run) Scratch() (string, error) {
	p := r.File(ScratchDir)
	if err := os.MkdirAll(p, 0o700); err != nil {
		return "", &fault.Error{Op: "create scratch directory", Where: p, Err: err}
	}
	return p, nil
}

// started is when the run began: from the spec, else from the id.
func (r *Run) started() time.Time {
	if r.broken == nil {
		return r.spec.Started
	}
	if len(r.id) >= 15 {
		if t, err := time.Parse("20060102-150405", r.id[:15]); err == nil {
			return t
		}
	}
	return time.Time{}
}

// WriteJSON replaces the file name of the run by v, indented, so that the file is whole at any time: it is written under
// another name, fsynced and renamed.
func (r *Run) WriteJSON(name string, v any) error {
	return r.writeJSON(name, v, true)
}

func (r *Run) writeJSON(name string, v any, durable bool) (err error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", r.File(name), err)
	}
	defer func() {
		if err != nil {
			err = &fault.Error{Op: "write", Where: r.File(name), Err: err, Hint: "is the disk of the state directory full?"}
		}
	}()
	return r.replace(name, durable, func(dst io.Writer) error {
		_, err := dst.Write(append(b, '\n'))
		return err
	})
}

// replace writes a file of the run under another name and renames it, so that the old or the new content is there at any
// time. Without durable that holds for a crash of the process but not for power loss.
func (r *Run) replace(name string, durable bool, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(r.path, "."+name+".*")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), r.File(name))
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	if durable {
		return r.syncDir()
	}
	return nil
}

// syncDir makes renames and new files in the run's directory durable.
func (r *Run) syncDir() error {
	d, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReadJSON reads the file name of the run into v. The error is fs.ErrNotExist when there is no such file.
func (r *Run) ReadJSON(name string, v any) error {
	p := r.File(name)
	f, err := os.Open(p)
	if err != nil {
		return &fault.Error{Op: "read", Where: p, Err: errors.Unwrap(err)}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return &fault.Error{Op: "read", Where: p, Err: err}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &fault.Error{Op: "read", Where: p, Err: fmt.Errorf("not the JSON it should be: %w", err)}
	}
	return nil
}
