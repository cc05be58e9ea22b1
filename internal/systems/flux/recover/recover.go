package recover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
)

// Engine is the check and repair of a database, lent by the caller. work is a directory that exists and is thrown away.
type Engine interface {
	// Check checks the database at path, read-only.
	Check(ctx context.Context, path, work string) (*Checked, error)
	// Repair repairs the database at path, which belongs to nobody else, by the rules (see finding.ParsePolicy), whatever
	// that drops, and checks it again.
	Repair(ctx context.Context, path, work string, rules []string) (*Repaired, error)
	// Allows tells whether a loss is within what the user allows (--max-loss).
	Allows(loss store.Loss) bool
}

// Checked is what a check found.
type Checked struct {
	Clean    bool           `json:"clean"`
	Findings int            `json:"findings"`
	ByClass  map[string]int `json:"by_class,omitempty"`
	Keys     int64          `json:"keys"` // below the root
	Titles   []string       `json:"titles,omitempty"`
	Notes    []string       `json:"notes,omitempty"`
}

// Repaired is what a repair did.
type Repaired struct {
	After *Checked   `json:"after"`
	Loss  store.Loss `json:"loss"`
	Lines []Line     `json:"lines,omitempty"`
	Notes []string   `json:"notes,omitempty"`
}

// Line is what became of one finding.
type Line struct {
	Class  string `json:"class"`
	What   string `json:"what"` // the key or the blob
	Action string `json:"action"`
	Result string `json:"result"`
	Loses  string `json:"loses,omitempty"`
}

// Config says what to recover and how far it may go.
type Config struct {
	StateDir string
	DumpDir  string // empty: the directory "dump" in StateDir
	DryRun   bool   // works everything out in a temporary directory and writes nothing to StateDir
	// Routes that must not be taken.
	NoRollback, NoRestore, NoForced, NoMinimal bool
	// Hash is the content hash of the instance, for when nothing is left that tells: "sha1" or "sha256".
	Hash string

	Engine Engine
	Tell   func(text string) // what is being done, for people; may be nil
	Now    func() time.Time  // nil is time.Now
	Files  Files             // nil is the operating system
}

// ErrRefused is the cause when a route is left that was forbidden, and no other.
var ErrRefused = errors.New("the routes that are left were forbidden")

// session is one recovery.
type session struct {
	Config
	ctx    context.Context
	db     string // the database, symlinks resolved
	dir    string // where the database lies
	work   string // thrown away at the end
	stamp  string // of everything this session leaves
	rep    *Report
	relic  *flux.Relic // nil: there is no database to read
	ev     *flux.Evidence
	dumps  []dump
	unlock []func() error
}

// Run recovers a state directory. The report is valid whenever it is not nil; the error says why it did not succeed, and
// then everything is as it was, or the next Run completes it.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	s := &session{Config: cfg, ctx: ctx}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range s.unlock {
			err = errors.Join(err, f())
		}
	}()
	if err := s.lock(); err != nil {
		return nil, err
	}
	done, err := s.finishInterrupted()
	if err != nil {
		return nil, err
	}
	if err := s.makeWork(); err != nil {
		return nil, err
	}
	defer func() {
		if s.relic != nil {
			err = errors.Join(err, s.relic.Close())
		}
		err = errors.Join(err, s.Files.RemoveAll(s.work))
	}()
	err = s.recover()
	if done != nil && err == nil && s.rep.Route == RouteNothing {
		done.Notes = append(done.Notes, "an earlier recovery was cut off; it has been completed now")
		return done, nil
	}
	return s.rep, err
}

// begin fills in defaults and finds the database.
func (s *session) begin() error {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Files == nil {
		s.Files = osFiles{}
	}
	if s.Tell == nil {
		s.Tell = func(string) {}
	}
	dir, err := filepath.Abs(s.StateDir)
	if err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return &fault.Error{Op: "recover", Where: s.StateDir, Err: err, Hint: "name the state directory of the Flux instance (flux getattr statedir)"}
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return &fault.Error{Op: "recover", Where: s.StateDir, Err: errors.New("this is not a directory"), Hint: "name the state directory, not the database in it"}
	}
	s.StateDir = dir
	if s.DumpDir == "" {
		s.DumpDir = filepath.Join(dir, "dump")
	}
	s.db = filepath.Join(dir, flux.FileName)
	if fi, err := os.Lstat(s.db); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		if s.db, err = filepath.EvalSymlinks(s.db); err != nil {
			return &fault.Error{Op: "recover", Where: s.db, Err: fmt.Errorf("it is a symlink to nothing: %w", err),
				Hint: "is a file system not mounted? If the database is really gone, remove the link and try again"}
		}
	}
	s.dir = filepath.Dir(s.db)
	s.rep = &Report{Type: "recover", Schema: 1, StateDir: dir, Database: s.db, Started: s.Now().UTC().Truncate(time.Second), DryRun: s.DryRun}
	s.stamp = s.freeStamp()
	s.rep.Stamp = s.stamp
	return nil
}

// freeStamp is the time, made unique among what earlier recoveries left.
func (s *session) freeStamp() string {
	base := s.rep.Started.Format("20060102_150405")
	for n := 1; ; n++ {
		stamp := base
		if n > 1 {
			stamp = fmt.Sprintf("%s-%d", base, n)
		}
		if !exists(s.asideName(stamp)) && !exists(filepath.Join(s.StateDir, reportName(stamp)+".json")) {
			return stamp
		}
	}
}

func (s *session) asideName(stamp string) string { return s.db + ".damaged-" + stamp }

// lock keeps other recoveries and Flux out. A dry run only looks.
func (s *session) lock() error {
	if who, err := sqlitefile.InUse(s.db); err == nil && who.Kind != sqlitefile.NoLock {
		return &fault.Error{Op: "recover", Where: s.db, Err: fmt.Errorf("it is in use: %s", who), Hint: "stop the Flux instance first"}
	}
	if s.DryRun {
		return nil
	}
	unlock, err := lockDir(s.dir)
	if err != nil {
		return &fault.Error{Op: "lock", Where: s.dir, Err: err, Hint: "another recovery may be under way"}
	}
	s.unlock = append(s.unlock, unlock)
	if fi, err := os.Stat(s.db); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	// SQLite cannot be locked out by a reader; whoever may not write cannot recover either, but may find that nothing is wrong.
	held, err := sqlitefile.LockExclusive(s.db)
	switch {
	case err == nil:
		s.unlock = append(s.unlock, held)
	case errors.Is(err, sqlitefile.ErrLocked):
		return &fault.Error{Op: "recover", Where: s.db, Err: err, Hint: "stop the Flux instance first"}
	}
	return nil
}

// workName is the directory for everything that is made on the way. It lies beside the database, because a rename must
// lead from there to it.
const workName = "fettle-recover.tmp"

func (s *session) makeWork() error {
	if s.DryRun {
		dir, err := os.MkdirTemp("", "fettle-recover-")
		if err != nil {
			return &fault.Error{Op: "recover", Err: err, Hint: "set TMPDIR to a directory with enough space"}
		}
		s.work = dir
		return nil
	}
	s.work = filepath.Join(s.dir, workName)
	if err := s.tidy(); err != nil {
		return err
	}
	if err := s.Files.Mkdir(s.work); err != nil {
		return &fault.Error{Op: "recover", Where: s.dir, Err: err, Hint: "the user who runs this must be able to write there"}
	}
	return nil
}

// tidy takes away what a session that was cut off left behind: files in the making, and second names of the database,
// which is still in its place.
func (s *session) tidy() error {
	if err := s.Files.RemoveAll(s.work); err != nil {
		return fmt.Errorf("remove what an earlier recovery left: %w", err)
	}
	partial, err := filepath.Glob(filepath.Join(s.dumpTarget(), "."+emergencyPrefix+"*.partial"))
	if err != nil {
		return err
	}
	for _, p := range partial {
		if err := gone(s.Files.Remove(p)); err != nil {
			return err
		}
	}
	here, err := os.Stat(s.db)
	if err != nil {
		return nil
	}
	names, err := filepath.Glob(s.asideName("*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if fi, err := os.Lstat(n); err == nil && os.SameFile(fi, here) {
			if err := s.Files.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// sub makes a new directory in the work directory.
func (s *session) sub(name string) (string, error) {
	dir := filepath.Join(s.work, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// recover does it all, between the locks.
func (s *session) recover() error {
	if err := s.look(); err != nil {
		return err
	}
	if s.rep.Route == RouteNothing {
		return s.settleLinkOnly()
	}
	if err := s.emergencyDump(); err != nil {
		return err
	}
	best, err := s.choose()
	if err != nil {
		return err
	}
	s.rep.Route, s.rep.Why = best.route, best.why
	if err := s.describe(best); err != nil {
		return err
	}
	if err := s.judgeLink(best); err != nil {
		return err
	}
	if s.DryRun {
		return nil
	}
	return s.swap(best)
}
