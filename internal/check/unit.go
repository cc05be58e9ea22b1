package check

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// unitRun is one unit on its way through its passes.
type unitRun struct {
	e    *engine
	unit store.Unit
	live bool // somebody has it open

	// Counters of the pass at work. They are added to by every Did, hence atomic.
	passRecords, passBytes   atomic.Int64
	totalRecords, totalBytes atomic.Int64
	dueAt                    atomic.Int64 // nanoseconds after the engine's start
	askedAt                  atomic.Int64 // when a pass was first told that it is due; 0 if it was not
	lead                     atomic.Int64 // how long a checkpoint takes from then on, in nanoseconds

	// Guarded by engine.mu.
	point          point
	tally          *tally
	findings       int          // recorded, in this life and before
	last           int          // highest number of a recorded finding
	races          map[int]bool // numbers of findings that did not hold when read again
	dropped        int
	facts          map[string]json.RawMessage
	notes          []string
	unseen         bool  // a pass could not look at everything
	records, bytes int64 // of the passes that are done
	running        bool
	pass           store.Pass
	clock          clock // of the pass at work
	err            error
}

func (u *unitRun) id() string { return u.unit.ID() }

// prefix names the unit in a sentence when there is more than one.
func (u *unitRun) prefix(text string) string {
	if len(u.e.units) == 1 {
		return text
	}
	return u.id() + ": " + text
}

// reset brings the unit to its very beginning.
func (u *unitRun) reset() {
	u.point = point{Unit: u.id()}
	u.tally, u.findings, u.last, u.races, u.dropped = newTally(), 0, 0, map[int]bool{}, 0
	u.facts, u.notes, u.records, u.bytes = map[string]json.RawMessage{}, nil, 0, 0
	u.unseen = false
	u.clearPass()
}

// clearPass sets the counters of the pass at work to nothing.
func (u *unitRun) clearPass() {
	for _, c := range []*atomic.Int64{&u.passRecords, &u.passBytes, &u.totalRecords, &u.totalBytes} {
		c.Store(0)
	}
}

// adopt brings the unit, which was reset, to p. Its findings are counted when findings.jsonl is read.
func (u *unitRun) adopt(p point) {
	u.point = p
	for _, seq := range p.Races {
		u.races[seq] = true
	}
	maps.Copy(u.facts, p.Facts)
	u.dropped, u.notes, u.unseen = p.Dropped, slices.Clone(p.Notes), p.Unseen
	u.records, u.bytes = p.Records-p.PassRecords, p.Bytes-p.PassBytes
	u.passRecords.Store(p.PassRecords)
	u.passBytes.Store(p.PassBytes)
}

// capture puts the present counters into the unit's point. The engine's mu is held.
func (u *unitRun) capture() {
	p := &u.point
	p.PassRecords, p.PassBytes = u.passRecords.Load(), u.passBytes.Load()
	p.Records, p.Bytes = u.records+p.PassRecords, u.bytes+p.PassBytes
	p.Findings, p.Races, p.Dropped = u.findings, slices.Sorted(maps.Keys(u.races)), u.dropped
	p.Facts, p.Notes, p.Unseen = maps.Clone(u.facts), slices.Clone(u.notes), u.unseen
	p.Spent = u.clock.addTo(p.Spent, p.PassRecords, p.PassBytes)
}

// count adds a recorded finding to the unit's numbers. The engine's mu is held.
func (u *unitRun) count(f *finding.Finding) {
	u.findings++
	u.last = max(u.last, f.Seq)
	if !u.races[f.Seq] {
		u.tally.add(f, 1)
	}
}

// note adds a sentence for the person, once.
func (u *unitRun) note(text string) {
	u.e.mu.Lock()
	defer u.e.mu.Unlock()
	u.notes = addNote(u.notes, text)
}

// run leads the unit through the passes that are left and judges what was found while the unit was written to.
func (u *unitRun) run() error {
	e := u.e
	if err := u.begin(); err != nil {
		return u.wrap("", err)
	}
	for _, p := range u.unit.Passes() {
		if slices.Contains(u.point.PassesDone, p.Name) {
			continue
		}
		if e.ctx.Err() != nil {
			return e.cause()
		}
		if err := u.runPass(p); err != nil {
			return u.wrap(p.Name, err)
		}
	}
	fp, err := u.unit.Fingerprint(e.ctx)
	if err != nil {
		return u.wrap("", err)
	}
	changed := fp != u.point.Fingerprint
	if changed {
		u.note(u.prefix("was written to while it was read; findings were read again at the end"))
		if err := u.confirmAll(); err != nil {
			return u.wrap("", err)
		}
	}
	return e.save(u, func(p *point) { p.Done, p.Changed = true, changed })
}

// wrap says where err happened. While the check is being stopped, errors are what a stop looks like from inside.
func (u *unitRun) wrap(pass string, err error) error {
	if u.e.ctx.Err() != nil {
		return u.e.cause()
	}
	where := u.id()
	if pass != "" {
		where += ", pass " + pass
	}
	return &fault.Error{Op: "check", Where: where, Err: err}
}

// begin looks at who uses the unit and remembers what it looks like.
func (u *unitRun) begin() error {
	e := u.e
	who, err := u.unit.InUse(e.ctx)
	switch {
	case err != nil:
		u.note(u.prefix("could not tell whether it is in use: " + err.Error()))
	case who != "":
		u.live = true
		u.note(u.prefix("in use by " + who + "; every finding was read again before it was reported"))
	}
	fp := u.point.Fingerprint
	if fp == "" {
		if fp, err = u.unit.Fingerprint(e.ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	u.point.Fingerprint = fp
	u.running = true
	return nil
}

// runPass runs one pass and takes a checkpoint after it.
func (u *unitRun) runPass(p store.Pass) (err error) {
	e := u.e
	e.mu.Lock()
	u.pass, u.clock = p, startClock(p.Name, u.point.Spent)
	v := &env{e: e, u: u, pass: p.Name}
	if u.point.Pass == p.Name {
		v.saved = u.point.State
	}
	e.mu.Unlock()
	scratch, err := u.scratch()
	if err != nil {
		return err
	}
	v.scratch = scratch
	u.askedAt.Store(0)
	u.setDue()
	if err := guard(func() error { return p.Run(e.ctx, v) }); err != nil {
		return err
	}
	// A pass that hid an error of the engine has not done its work.
	if err := v.failed(); err != nil {
		return err
	}
	return e.save(u, func(pt *point) {
		pt.PassesDone = append(slices.Clone(pt.PassesDone), p.Name)
		pt.Pass, pt.State = "", nil
		u.records, u.bytes = pt.Records, pt.Bytes
		pt.PassRecords, pt.PassBytes = 0, 0
		u.clearPass()
		u.clock = clock{}
	})
}

// guard turns a panic into an error: damaged input must not bring down the check of other units.
func guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &fault.Error{Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack()), Hint: "this is a bug in fettle: please report it with this text"}
		}
	}()
	return fn()
}

// setDue sets when the next checkpoint should be asked for: so long before the interval is over as the last one took from then until
// it was saved, because work until then is lost with a killed process. Half of the time at least is left to work.
func (u *unitRun) setDue() {
	now := int64(time.Since(u.e.start))
	interval := int64(u.e.cfg.Interval)
	if asked := u.askedAt.Swap(0); asked > 0 {
		u.lead.Store(min(now-asked, interval/2))
	}
	u.dueAt.Store(now + interval - u.lead.Load())
}

// due tells whether it is time for a checkpoint.
func (u *unitRun) due() bool {
	now := int64(time.Since(u.e.start))
	if now < u.dueAt.Load() {
		return false
	}
	u.askedAt.CompareAndSwap(0, now)
	return true
}

// confirmAll reads again what the unit's findings rest on. Those that do not hold any more are races.
func (u *unitRun) confirmAll() error {
	e := u.e
	e.mu.Lock()
	err := e.log.Flush()
	e.mu.Unlock()
	if err != nil {
		return err
	}
	unsure := 0
	var first error
	for f, err := range e.cfg.Run.Findings() {
		if err != nil {
			return err
		}
		if f.Unit != u.id() {
			continue
		}
		if e.ctx.Err() != nil {
			return e.cause()
		}
		holds, err := u.confirm(&f)
		switch {
		case err != nil:
			if unsure++; first == nil {
				first = err
			}
		case !holds:
			e.mu.Lock()
			if !u.races[f.Seq] {
				u.races[f.Seq] = true
				u.tally.add(&f, -1)
			}
			e.mu.Unlock()
		}
	}
	if unsure > 0 {
		u.note(u.prefix(fmt.Sprintf("%d findings could not be read again, they are reported as they were: %v", unsure, first)))
	}
	return nil
}

// confirm tells whether f still holds.
func (u *unitRun) confirm(f *finding.Finding) (holds bool, err error) {
	err = guard(func() error {
		holds, err = u.unit.Confirm(u.e.ctx, f)
		return err
	})
	return holds, err
}

// ScratchDir is the directory of a run in which the passes of a unit keep their files: readable, and different for
// different units. It outlives a check that found damage, so that a plan can go on from what the passes worked out.
func ScratchDir(run *runs.Run, unit string) string {
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, filepath.Base(unit))
	sum := sha256.Sum256([]byte(unit))
	return filepath.Join(run.File(runs.ScratchDir), fmt.Sprintf("%.40s-%x", readable, sum[:4]))
}

// WorkDirs gives each unit its scratch directory, made on demand, in the form that repairs want.
func WorkDirs(run *runs.Run) func(unit string) (string, error) {
	return func(unit string) (string, error) {
		p := ScratchDir(run, unit)
		if err := os.MkdirAll(p, 0o700); err != nil {
			return "", &fault.Error{Op: "create scratch directory", Where: p, Err: err}
		}
		return p, nil
	}
}

func (u *unitRun) scratchPath() string { return ScratchDir(u.e.cfg.Run, u.id()) }

func (u *unitRun) scratch() (string, error) {
	p := u.scratchPath()
	if err := os.MkdirAll(p, 0o700); err != nil {
		return "", &fault.Error{Op: "create scratch directory", Where: p, Err: err}
	}
	return p, nil
}

func (u *unitRun) clearScratch() error {
	if err := os.RemoveAll(u.scratchPath()); err != nil {
		return &fault.Error{Op: "clear scratch directory", Where: u.scratchPath(), Err: err}
	}
	return nil
}

// verdict judges the unit. The check is over.
func (u *unitRun) verdict() finding.Verdict {
	if !u.point.Done || u.err != nil || u.unseen {
		return finding.Incomplete
	}
	if u.unclear() {
		return finding.Incomplete
	}
	return u.tally.verdict()
}

// unclear tells of a check that is over whether it says nothing: what lay behind a record that changed while it was read has not been
// seen, so nothing found is not "clean". What was found and still holds is damage all the same.
func (u *unitRun) unclear() bool {
	return u.point.Done && u.err == nil && u.tally.verdict() == finding.Clean && u.raced() > 0
}

// fixed says why the unit cannot be repaired as it is, "" if it can be.
func (u *unitRun) fixed() string {
	if f, ok := u.unit.(store.Fixed); ok {
		if why := f.Fixed(); why != "" {
			return u.prefix(why)
		}
	}
	return ""
}

// raced counts the findings that turned out not to hold.
func (u *unitRun) raced() int { return len(u.races) + u.dropped }

// isStop tells whether err is the unit's share of a stop.
func isStop(err error) bool { return errors.Is(err, ErrStopped) }
