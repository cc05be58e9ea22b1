package recover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fettle/internal/fault"
	"fettle/internal/systems/flux"
)

// pendingName is the note of a swap that is under way.
const pendingName = "fettle-recover.pending"

// pending is what has to be known to complete a swap after it was cut off.
type pending struct {
	Stamp  string   `json:"stamp"`
	New    string   `json:"new"`    // the file that is to be put in place; empty: none
	NewIs  identity `json:"new_is"` // how to know it again once it is there
	OldIs  identity `json:"old_is"` // what it replaces; zero: nothing
	Report *Report  `json:"report"`
}

// identity knows a file again.
type identity struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Time  int64  `json:"mtime_ns"`
}

func identityOf(path string) identity {
	fi, err := os.Lstat(path)
	if err != nil {
		return identity{}
	}
	id := identity{Size: fi.Size(), Time: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.Inode = st.Ino
	}
	return id
}

func (s *session) pendingPath() string { return filepath.Join(s.dir, pendingName) }

// swap puts the new database in place. Until the note is written everything is as it was; from then on whoever comes next
// completes it.
func (s *session) swap(c *candidate) error {
	s.Tell("putting the new database in place")
	aside := s.asideName(s.stamp)
	p := pending{Stamp: s.stamp, OldIs: identityOf(s.db), Report: s.rep}
	if c.path != "" {
		p.New = c.path
		if err := s.dress(c.path); err != nil {
			return err
		}
		p.NewIs = identityOf(c.path)
	}
	if fi, err := os.Lstat(s.db); err == nil && fi.Mode().IsRegular() {
		// A second name costs nothing and survives the rename over the first.
		if err := s.Files.Link(s.db, aside); err != nil {
			if err := s.Files.Copy(s.db, aside); err != nil {
				return &fault.Error{Op: "keep the damaged database", Where: aside, Err: err, Hint: "nothing was changed"}
			}
		}
		if err := s.Files.SyncDir(s.dir); err != nil {
			return err
		}
	}
	note, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.Files.Write(s.pendingPath(), note); err != nil {
		return fmt.Errorf("note what is about to be done: %w", err)
	}
	return s.complete(&p)
}

// dress gives the new database the mode and owner of the old one, and makes its name durable.
func (s *session) dress(path string) error {
	like, mode := s.db, os.FileMode(0o600)
	if fi, err := os.Stat(s.db); err == nil && fi.Mode().IsRegular() {
		mode = fi.Mode().Perm() | 0o600
	} else {
		like = s.StateDir
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	if err := flux.GiveOwner(like, path); err != nil {
		return err
	}
	return s.Files.SyncDir(filepath.Dir(path))
}

// complete does what the note says. Every part of it may have been done before.
func (s *session) complete(p *pending) error {
	s.rep = p.Report
	aside := s.asideName(p.Stamp)
	if err := s.moveLink(); err != nil {
		return err
	}
	// The -wal leaves before the new file comes: it must never be read on top of it.
	for _, side := range sidecars {
		if err := gone(s.Files.Rename(s.db+side, aside+side)); err != nil {
			return err
		}
	}
	fi, err := os.Lstat(s.db)
	placed := p.New == "" || err == nil && identityOf(s.db) == p.NewIs
	if err == nil && (p.New == "" || !fi.Mode().IsRegular()) && !placed || err == nil && p.New == "" {
		if exists(aside) && fi.Mode().IsRegular() {
			err = s.Files.Remove(s.db) // its other name stays
		} else {
			err = s.Files.Rename(s.db, aside)
		}
		if err != nil {
			return err
		}
	}
	if !placed {
		if err := s.Files.Rename(p.New, s.db); err != nil {
			return err
		}
	}
	if err := s.Files.SyncDir(s.dir); err != nil {
		return err
	}
	if exists(aside) || exists(aside+"-wal") {
		s.rep.Aside = aside
	}
	if err := s.writeReport(); err != nil {
		return err
	}
	if err := s.Files.Remove(s.pendingPath()); err != nil {
		return err
	}
	return s.Files.SyncDir(s.dir)
}

// finishInterrupted completes a swap that was cut off, and returns its report; nil if there was none.
func (s *session) finishInterrupted() (*Report, error) {
	note, err := os.ReadFile(s.pendingPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the note of an earlier recovery: %w", err)
	}
	var p pending
	if err := json.Unmarshal(note, &p); err != nil || p.Report == nil || p.Stamp == "" {
		return nil, &fault.Error{Op: "recover", Where: s.pendingPath(), Err: errors.New("the note of an earlier recovery cannot be read"),
			Hint: "look at it, remove it, and try again"}
	}
	now := identityOf(s.db)
	fresh := p.New != "" && exists(p.New) && identityOf(p.New) == p.NewIs
	switch {
	case s.DryRun:
		s.rep.note("an earlier recovery (%s) was cut off while it put its database in place; a real run completes it", p.Stamp)
		return nil, nil
	case now == p.NewIs && p.New != "", now == p.OldIs && (fresh || p.New == ""), p.New == "" && now == identity{}:
	default:
		// Somebody has used the database since, or took the new one away: what was worked out then is no longer about it.
		s.rep.note("an earlier recovery (%s) was cut off and the database was changed since; it is looked at anew", p.Stamp)
		return nil, s.Files.Remove(s.pendingPath())
	}
	mine := s.rep
	s.work = filepath.Join(s.dir, workName)
	if err := s.complete(&p); err != nil {
		return nil, err
	}
	s.rep = mine
	return p.Report, nil
}
