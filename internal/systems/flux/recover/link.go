package recover

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fettle/internal/format/fluxdump"
	"fettle/internal/systems/flux"
)

// What Flux does with dump/RESTORE, read in its start script (rc1): with the broker attribute content.restore=auto, a
// symlink of that name makes it EMPTY the database and then restore the archive that the link leads to. The archive is not
// looked at before. If it is missing, Flux starts with an empty store and leaves the link, so that every later start
// empties the database again; if it is garbage, the start fails with the database already gone. Without the attribute the
// link means nothing. In an instance that uses sha256, flux restore fails on its first blob, and the start with it.
//
// Therefore:
//
//   - Recovery never sets the link. A dump that is to be restored is made into the database directly: that works whatever
//     the attribute says, for either hash, without the size limit, and with the drained nodes and job ids of all evidence,
//     which are newer than the dump.
//   - A link that leads to no good dump is set aside, and so is any link beside a store that uses sha256.
//   - A link to a good dump stays where it takes nothing away: as long as the dump is as new as the database that was
//     found and knows its job ids. That is the state after every clean shutdown with content.dump=auto.
//   - A link to an older dump is somebody's wish, and stays as long as nothing had to be repaired. After a repair it is set
//     aside: it would silently throw the repaired database away.
//
// Set aside means renamed to RESTORE.set-aside-TIME.

// Link says what became of dump/RESTORE.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
	Good   bool   `json:"good"` // the target is a good dump
	Aside  string `json:"set_aside,omitempty"`
	Why    string `json:"why"`
}

// readLink looks at the link; nil if there is none.
func (s *session) readLink() (*Link, *fluxdump.Report, error) {
	path := filepath.Join(s.DumpDir, restoreLink)
	to, err := os.Readlink(path)
	if err != nil {
		return nil, nil, nil // absent, or no symlink: Flux does not look at it
	}
	l := &Link{Path: path, Target: to}
	full, err := filepath.EvalSymlinks(path)
	if err != nil {
		l.Why = fmt.Sprintf("it leads to nothing: %v", err)
		return l, nil, nil
	}
	for i := range s.dumps {
		if s.dumps[i].path != full {
			continue
		}
		if err := s.read(&s.dumps[i]); err != nil {
			return nil, nil, err
		}
		l.Good = s.dumps[i].good()
		if !l.Good {
			l.Why = "its target is not a good dump: " + s.dumps[i].report.Faults[0]
		}
		return l, s.dumps[i].report, nil
	}
	l.Why = "its target is not a file"
	return l, nil, nil
}

// covers tells whether restoring the dump gives at least the state of the database that was found.
func (s *session) covers(r *fluxdump.Report) bool {
	if s.ev == nil || s.ev.LastTime.IsZero() {
		return false
	}
	return !time.Unix(r.NewestTime+1, 0).Before(s.ev.LastTime) && r.MaxJobID >= s.ev.State.HighestJob
}

// judgeLink decides what becomes of the link after a database was made.
func (s *session) judgeLink(best *candidate) error {
	l, report, err := s.readLink()
	if l == nil || err != nil {
		return err
	}
	s.rep.Link = l
	aside := l.Path + ".set-aside-" + s.stamp
	switch {
	case !l.Good:
		l.Aside = aside
	case best.alg == "sha256":
		l.Aside, l.Why = aside, "flux restore cannot restore into a store that uses sha256"
	case best.route == RouteRepair && s.covers(report):
		l.Why = "the dump is as new as the database: with content.restore=auto Flux will go on from it"
	default:
		l.Aside, l.Why = aside, "with content.restore=auto it would replace the recovered database by an older state"
	}
	return nil
}

// settleLinkOnly is for a database in which nothing is wrong: only a link that would do harm is set aside.
func (s *session) settleLinkOnly() error {
	l, report, err := s.readLink()
	if l == nil || err != nil {
		return err
	}
	s.rep.Link = l
	if l.Good {
		alg, err := flux.AlgorithmOf(s.db)
		if alg != "sha256" || err != nil {
			l.Why = fmt.Sprintf("a good dump, of %s: with content.restore=auto the next start goes on from it", time.Unix(report.NewestTime, 0).UTC().Format(time.RFC3339))
			return nil
		}
		l.Why = "flux restore cannot restore into a store that uses sha256"
	}
	l.Aside = l.Path + ".set-aside-" + s.stamp
	s.rep.Route = RouteLink
	s.rep.Why = "the database is in order, but " + l.Path + " would make Flux empty it: " + l.Why
	if s.DryRun {
		return nil
	}
	if err := s.writeReport(); err != nil {
		return err
	}
	return s.moveLink()
}

// moveLink sets the link aside, if that is what was decided and not yet done.
func (s *session) moveLink() error {
	l := s.rep.Link
	if l == nil || l.Aside == "" || !exists(l.Path) {
		return nil
	}
	if err := s.Files.Rename(l.Path, l.Aside); err != nil {
		return fmt.Errorf("set %s aside: %w", l.Path, err)
	}
	return s.Files.SyncDir(filepath.Dir(l.Path))
}
