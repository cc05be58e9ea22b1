package recover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fettle/internal/fault"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
)

// Route is how a state directory was recovered.
type Route string

// The routes, from the one that loses least.
const (
	RouteNothing  Route = "nothing"  // nothing was wrong
	RouteLink     Route = "link"     // only dump/RESTORE was wrong
	RouteRepair   Route = "repair"   // damaged keys were confined
	RouteRollback Route = "rollback" // to an older checkpoint
	RouteRestore  Route = "restore"  // from a dump
	RouteForced   Route = "forced"   // repaired though more than --max-loss is dropped
	RouteMinimal  Route = "minimal"  // drained nodes and job ids only
	RouteEmpty    Route = "empty"    // no database: there is nothing to keep
)

// candidate is a database that could take the place of the damaged one.
type candidate struct {
	route    Route
	why      string
	path     string // empty: no database
	alg      string
	keys     int64
	dropped  int64
	repaired *Repaired
	dump     *dump
	counts   flux.NewStoreCounts
}

// choose works out the best candidate that a second check finds clean.
func (s *session) choose() (*candidate, error) {
	repair, back := s.byRepair(), (*candidate)(nil)
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	within := repair != nil && s.Engine.Allows(repair.repaired.Loss)
	if repair == nil || !within || s.lostDirectories() {
		back = s.byRollback()
	}
	// What hangs below a lost directory is not counted by a plan; an older checkpoint or a dump tells how much that was.
	if within && s.lostDirectories() {
		for _, other := range []*candidate{back, s.byDump()} {
			if other != nil && other.keys > repair.keys && !s.Engine.Allows(store.Loss{Dropped: other.keys - repair.keys, Total: other.keys, Unit: "keys"}) {
				within = false
			}
		}
	}
	if within {
		repair.why = fmt.Sprintf("%d of %d %s had to be dropped, which --max-loss allows", repair.dropped, repair.repaired.Loss.Total, repair.repaired.Loss.Unit)
		if ok, err := s.accept(repair); ok || err != nil {
			return repair, err
		}
		repair = nil
	}
	if repair != nil {
		repair.route = RouteForced
		repair.why = fmt.Sprintf("%d of %d %s had to be dropped, or more below lost directories than --max-loss allows, but going back would lose more", repair.dropped, repair.repaired.Loss.Total, repair.repaired.Loss.Unit)
	}
	order, forbidden := s.order(repair, back)
	for _, c := range order {
		ok, err := s.accept(c)
		if err != nil {
			return nil, err
		}
		if ok {
			return c, nil
		}
	}
	if forbidden {
		return nil, &fault.Error{Op: "recover", Where: s.db, Err: ErrRefused, Kind: fault.Unrepaired,
			Hint: "allow another route (leave out --no-rollback, --no-restore, --no-forced, --no-minimal), or repair by hand: fettle check " + s.db}
	}
	return nil, &fault.Error{Op: "recover", Where: s.db, Err: errors.New("no route led to a sound store"), Hint: "the notes of the report say what was tried"}
}

// order lists what is left to try beside a repair within the threshold, best first: going back, where that keeps at least as
// much as a repair that drops too much, then that repair, then going back all the same, then a minimal store.
func (s *session) order(forced, back *candidate) (out []*candidate, forbidden bool) {
	dumped := s.byDump()
	if back != nil && s.NoRollback {
		back, forbidden = nil, true
	}
	if dumped != nil && s.NoRestore {
		dumped, forbidden = nil, true
	}
	if forced != nil && s.NoForced {
		forced, forbidden = nil, true
	}
	worth := func(c *candidate) bool { return forced == nil || c.keys >= forced.keys }
	if back != nil && worth(back) {
		out = append(out, back)
	}
	if dumped != nil && worth(dumped) {
		out = append(out, dumped)
	}
	if forced != nil {
		out = append(out, forced)
	}
	for _, c := range []*candidate{back, dumped} {
		if c != nil && !worth(c) {
			out = append(out, c)
		}
	}
	if s.NoMinimal {
		return out, true
	}
	return append(out, s.minimal()), forbidden
}

// byRepair repairs a copy by the default policy; nil if that is not possible, or there is no tree to repair.
func (s *session) byRepair() *candidate {
	if s.ev.Root == "" {
		s.rep.note("no tree is left that could be repaired")
		return nil
	}
	return s.repairCopy(RouteRepair, nil)
}

// byRollback goes back to the newest checkpoint whose whole tree is good; nil if there is none.
func (s *session) byRollback() *candidate {
	if s.relic == nil {
		return nil
	}
	point, err := s.relic.GoodCheckpoint(s.ctx)
	if err != nil || point == nil {
		s.rep.note("there is no older checkpoint whose whole tree is good")
		return nil
	}
	c := s.repairCopy(RouteRollback, []string{"flux/*=rollback"})
	if c != nil {
		c.why = "back to " + point.Label
		if !point.Time.IsZero() && !s.ev.LastTime.IsZero() {
			c.why += fmt.Sprintf(", %s before the newest checkpoint", s.ev.LastTime.Sub(point.Time).Round(time.Second))
		}
	}
	return c
}

func (s *session) repairCopy(route Route, rules []string) *candidate {
	s.Tell("trying: " + string(route))
	path, err := s.copyOf(string(route), !exists(s.db))
	if err == nil {
		var work string
		if work, err = s.sub(string(route) + "-work"); err == nil {
			var r *Repaired
			if r, err = s.Engine.Repair(s.ctx, path, work, rules); err == nil {
				if r.After.Clean {
					return &candidate{route: route, path: path, alg: s.ev.Algorithm, keys: r.After.Keys, dropped: r.Loss.Dropped, repaired: r}
				}
				err = fmt.Errorf("the second check is not clean: %v", r.After.ByClass)
			}
		}
	}
	s.rep.note("%s is not possible: %v", route, err)
	return nil
}

// lostDirectories tells whether the first check met damage that hides an unknown number of keys.
func (s *session) lostDirectories() bool {
	if s.rep.Before == nil {
		return true
	}
	for _, class := range []string{flux.DanglingDirref, flux.NotADirectory, flux.InvalidTreeobj, flux.HashMismatch, flux.UndecodableBlob, flux.DanglingRoot} {
		if s.rep.Before.ByClass[class] > 0 {
			return true
		}
	}
	return false
}

// byDump is a store made of the newest good dump; it is built when it is chosen.
func (s *session) byDump() *candidate {
	d := s.goodDump()
	if d == nil {
		return nil
	}
	return &candidate{route: RouteRestore, dump: d, alg: s.algorithm(), keys: int64(d.report.Keys),
		why: fmt.Sprintf("from %s, of %s", d.path, time.Unix(d.report.NewestTime, 0).UTC().Format(time.RFC3339))}
}

// minimal is a store with nothing but the state; where not even that is known, and nothing tells the hash that the instance
// uses, it is no database at all: Flux then starts as if new, which is the same.
func (s *session) minimal() *candidate {
	if !s.ev.State.Known() && s.ev.Algorithm == "" && s.Hash == "" {
		return &candidate{route: RouteEmpty, why: "nothing can be read, and nothing is known that would be worth keeping"}
	}
	return &candidate{route: RouteMinimal, alg: s.algorithm(), why: "no tree and no good dump is left; drained nodes and job ids are kept"}
}

// algorithm is the content hash for a store that is built anew.
func (s *session) algorithm() string {
	switch {
	case s.ev.Algorithm != "":
		return s.ev.Algorithm
	case s.Hash != "":
		return s.Hash
	}
	if found := hashInFile(s.db); found != "" {
		return found
	}
	s.rep.note("nothing tells the content hash of the instance; sha1, the default of Flux, is assumed (--hash)")
	return "sha1"
}

// accept makes a candidate final: it is built if need be, gets the state of all evidence, and is checked.
func (s *session) accept(c *candidate) (bool, error) {
	if c.route == RouteEmpty {
		return true, nil
	}
	err := s.finish(c)
	if s.ctx.Err() != nil {
		return false, s.ctx.Err()
	}
	if err != nil {
		s.rep.note("%s is not possible: %v", c.route, err)
		return false, nil
	}
	return true, nil
}

func (s *session) finish(c *candidate) error {
	if c.path == "" {
		if err := s.build(c); err != nil {
			return err
		}
	} else {
		work, err := s.sub(string(c.route) + "-state")
		if err != nil {
			return err
		}
		if s.rep.StateWritten, err = flux.PutState(s.ctx, c.path, work, &s.ev.State, s.Now()); err != nil {
			return err
		}
	}
	for _, side := range sidecars {
		if exists(c.path + side) {
			return fmt.Errorf("%s was left beside the new database", filepath.Base(c.path+side))
		}
	}
	work, err := s.sub(string(c.route) + "-last")
	if err != nil {
		return err
	}
	s.Tell("checking the new database")
	last, err := s.Engine.Check(s.ctx, c.path, work)
	if err != nil {
		return err
	}
	if !last.Clean {
		return fmt.Errorf("the last check is not clean: %v", last.ByClass)
	}
	s.rep.After = last
	return nil
}

// build makes the database of a route that does not start from the old one.
func (s *session) build(c *candidate) error {
	s.Tell("trying: " + string(c.route))
	dir, err := s.sub(string(c.route))
	if err != nil {
		return err
	}
	n := flux.NewStore{Algorithm: c.alg, Now: s.Now(), State: &s.ev.State}
	if c.dump != nil {
		f, err := os.Open(c.dump.path)
		if err != nil {
			return err
		}
		defer f.Close()
		n.Dump = f
	}
	path := filepath.Join(dir, flux.FileName)
	if c.counts, err = n.Write(s.ctx, path); err != nil {
		return err
	}
	c.path = path
	return nil
}
