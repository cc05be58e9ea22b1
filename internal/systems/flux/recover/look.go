package recover

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fettle/internal/format/fluxdump"
	"fettle/internal/systems/flux"
)

// sidecars are the files that SQLite keeps beside a database.
var sidecars = []string{"-wal", "-journal", "-shm"}

// look finds out what is there: the verdict on the database, what it still tells, and the dumps. If nothing is wrong it
// sets the route to RouteNothing.
func (s *session) look() error {
	fi, err := os.Stat(s.db)
	regular := err == nil && fi.Mode().IsRegular()
	hasWAL := exists(s.db + "-wal")
	if err := s.findDumps(); err != nil {
		return err
	}
	if !regular && !hasWAL {
		return s.noDatabase(err == nil)
	}
	if regular {
		s.Tell("checking " + s.db)
		work, err := s.sub("first")
		if err != nil {
			return err
		}
		s.rep.Before, err = s.Engine.Check(s.ctx, s.db, work)
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err != nil {
			s.rep.note("the database cannot be checked: %v", err)
		} else if s.rep.Before.Clean {
			s.rep.Route, s.rep.Why = RouteNothing, "the database is in order"
			return nil
		}
	} else {
		s.rep.note("there is a -wal but no database")
	}
	source, err := s.copyOf("source", !regular)
	if err != nil {
		return err
	}
	return s.readRelic(source)
}

// noDatabase is for a state directory without one: that of a new instance, or one that lost it.
func (s *session) noDatabase(other bool) error {
	s.ev = &flux.Evidence{Active: []flux.Job{}}
	old, err := s.kept()
	if err != nil {
		return err
	}
	if !other && len(old) == 0 && len(s.dumps) == 0 {
		s.rep.Route, s.rep.Why = RouteNothing, "there is no database, no dump and no trace of one: a new instance"
		return nil
	}
	if !other && len(old) > 0 {
		// The newest one that was kept is asked, so that at least drained nodes and job ids are not forgotten.
		if err := s.askKept(old[len(old)-1]); err != nil {
			return err
		}
	}
	switch {
	case other:
		s.rep.note("what is called %s is not a file", flux.FileName)
	default:
		s.rep.note("there is no database, though there are dumps or earlier databases")
	}
	if err := s.verifyDumps(); err != nil {
		return err
	}
	if !other && s.goodDump() == nil && !s.ev.State.Known() {
		s.rep.Route, s.rep.Why = RouteNothing, "there is no database, and nothing that is left tells anything: a new instance"
	}
	return nil
}

// kept lists the databases that earlier recoveries kept, oldest first, without their sidecars.
func (s *session) kept() ([]string, error) {
	all, err := filepath.Glob(s.asideName("*"))
	return slices.DeleteFunc(all, func(name string) bool {
		return slices.ContainsFunc(sidecars, func(side string) bool { return strings.HasSuffix(name, side) })
	}), err
}

// askKept takes the state from a database that an earlier recovery kept.
func (s *session) askKept(path string) error {
	dir, err := s.sub("kept")
	if err != nil {
		return err
	}
	relic, err := flux.OpenRelic(s.ctx, path, dir)
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err != nil {
		s.rep.note("%s: %v", path, err)
		return nil
	}
	defer relic.Close()
	ev, err := relic.Evidence(s.ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	s.ev.State, s.ev.Algorithm = ev.State, ev.Algorithm
	return nil
}

// readRelic asks the database what it still tells. The file it is given is a copy, so that no hot journal or empty main
// file stands in the way.
func (s *session) readRelic(source string) error {
	s.Tell("reading what is left")
	work, err := s.sub("relic")
	if err != nil {
		return err
	}
	s.ev = &flux.Evidence{Active: []flux.Job{}}
	relic, err := flux.OpenRelic(s.ctx, source, work)
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err != nil {
		s.rep.note("nothing can be read of the database: %v", err)
	} else {
		s.relic = relic
		if s.ev, err = relic.Evidence(s.ctx); err != nil {
			return fmt.Errorf("read what is left of the database: %w", err)
		}
		if relic.Fresh() && len(s.dumps) == 0 && !exists(s.db+"-wal") {
			s.rep.Route, s.rep.Why = RouteNothing, "the database was never used: a new instance"
			return nil
		}
	}
	return s.verifyDumps()
}

// copyOf copies the database and its -wal into a directory of the work directory. A hot journal is left out: it is Flux's
// habit to use a -wal, so a journal is a remainder; the pages are judged as they stand.
func (s *session) copyOf(name string, empty bool) (string, error) {
	dir, err := s.sub(name)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, flux.FileName)
	if empty {
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			return "", err
		}
	} else if err := s.Files.Copy(s.db, to); err != nil {
		return "", fmt.Errorf("copy the database: %w", err)
	}
	if exists(s.db + "-wal") {
		if err := s.Files.Copy(s.db+"-wal", to+"-wal"); err != nil {
			return "", fmt.Errorf("copy the -wal: %w", err)
		}
	}
	return to, nil
}

// emergencyPrefix begins the names of emergency dumps.
const emergencyPrefix = "emergency-"

// dumpTarget is where the emergency dump goes: the dump directory, or the state directory when that cannot be one.
func (s *session) dumpTarget() string {
	if fi, err := os.Stat(s.DumpDir); err == nil && !fi.IsDir() || err != nil && exists(s.DumpDir) {
		return s.StateDir
	}
	return s.DumpDir
}

// emergencyDump writes everything that is readable into an archive, before anything is changed. The damaged database
// itself is kept as well, so that a failure here is told and no reason to leave Flux down.
func (s *session) emergencyDump() error {
	if s.relic == nil || s.ev.Root == "" {
		s.rep.note("no emergency dump: no tree is left that could be listed")
		return nil
	}
	target := s.dumpTarget()
	if s.DryRun {
		target = s.work
	} else if !exists(target) {
		if err := s.Files.Mkdir(target); err != nil {
			s.rep.note("no emergency dump: %v", err)
			return nil
		}
		s.owned(target)
	}
	s.Tell("writing an emergency dump")
	name := filepath.Join(target, emergencyPrefix+s.stamp+".tgz")
	part := filepath.Join(target, "."+emergencyPrefix+s.stamp+".partial")
	counts, err := s.writeDump(part)
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	switch {
	case err != nil:
		s.rep.note("no emergency dump: %v", err)
	case counts == nil:
		s.rep.note("no emergency dump: no key can be read")
	case s.DryRun:
		s.rep.Emergency = &Emergency{Path: filepath.Join(s.dumpTarget(), filepath.Base(name)), DumpCounts: *counts}
		return nil
	default:
		if err := s.Files.Rename(part, name); err != nil {
			return err
		}
		s.owned(name)
		s.rep.Emergency = &Emergency{Path: name, DumpCounts: *counts}
		return s.Files.SyncDir(target)
	}
	return gone(s.Files.Remove(part))
}

// writeDump returns nil counts when there was nothing to write.
func (s *session) writeDump(path string) (_ *flux.DumpCounts, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	at := s.ev.RootTime
	if at.IsZero() {
		at = s.Now()
	}
	w, err := fluxdump.NewWriter(f, fluxdump.Gzip, fluxdump.Meta{Time: at.Unix(), UID: os.Getuid(), GID: os.Getgid()})
	if err != nil {
		return nil, err
	}
	counts, err := s.relic.Dump(s.ctx, w)
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if w.Keys() == 0 {
		return nil, nil
	}
	return &counts, f.Sync()
}

// owned gives a new file or directory the owner of the state directory.
func (s *session) owned(path string) {
	if err := flux.GiveOwner(s.StateDir, path); err != nil {
		s.rep.note("owner of %s: %v", path, err)
	}
}
