package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// UndoConfig says what Undo takes back.
type UndoConfig struct {
	Units []store.Planner // of the opened store; each unit with a journal in Dir must be there
	Dir   string          // where the journals lie: the run's directory
	// Findings restricts the undo to the steps that repaired these findings; nil means everything.
	Findings []int
	WorkDir  func(unit string) (string, error) // nil means WorkDirs(Dir)
	OnStep   func(Progress)
	Now      func() time.Time
	Files    Files
}

// UndoResult is what Undo did.
type UndoResult struct {
	Units []UndoneUnit `json:"units"`
}

// UndoneUnit is what was taken back in one unit.
type UndoneUnit struct {
	Unit        string `json:"unit"`
	Journal     string `json:"journal"`
	Steps       []int  `json:"steps"` // in the order in which they were taken back: last first
	Records     int    `json:"records"`
	Fingerprint string `json:"fingerprint"`
}

// ErrNothingToUndo is the cause of Undo's error when nothing of the run is in the store.
var ErrNothingToUndo = errors.New("nothing to undo")

// Undo takes back what Apply did, also half of it after a crash, by writing the old content of every raw record, the last
// written first. A record that holds anything but its new or old content stops it before it writes to that unit. An undo that
// was itself interrupted is completed by calling it again. The Result is never nil.
func Undo(ctx context.Context, cfg UndoConfig) (*UndoResult, error) {
	ac := ApplyConfig{Dir: cfg.Dir, WorkDir: cfg.WorkDir, OnStep: cfg.OnStep, Now: cfg.Now, Files: cfg.Files}
	ac.defaults()
	cfg.WorkDir, cfg.OnStep, cfg.Now, cfg.Files = ac.WorkDir, ac.OnStep, ac.Now, ac.Files
	res := &UndoResult{Units: []UndoneUnit{}}
	jobs, err := cfg.jobs()
	if err != nil {
		return res, err
	}
	for _, u := range jobs {
		if err := gateInUse(ctx, "undo", u.unit); err != nil {
			return res, err
		}
	}
	for _, u := range jobs {
		err := u.run(ctx)
		res.Units = append(res.Units, u.out)
		if err != nil {
			return res, err
		}
	}
	return res, nil
}

// undoJob is one unit to be taken back.
type undoJob struct {
	cfg  *UndoConfig
	unit store.Planner
	past unitJournal
	out  UndoneUnit
}

// jobs finds the units with something to take back and makes sure that the selection makes sense in all of them.
func (cfg *UndoConfig) jobs() ([]*undoJob, error) {
	units := map[string]store.Planner{}
	for _, u := range cfg.Units {
		units[u.ID()] = u
	}
	journals, err := findJournals(cfg.Files, cfg.Dir)
	if err != nil {
		return nil, err
	}
	var jobs []*undoJob
	found := map[int]bool{}
	for _, past := range sorted(journals) {
		s, err := past.scan(cfg.Files, false)
		if err != nil {
			return nil, err
		}
		if s == nil || stateOf(s) == Undone {
			continue
		}
		picked, err := pick(s, cfg.Findings)
		if err != nil {
			return nil, err
		}
		for _, st := range picked {
			for _, seq := range st.Findings {
				found[seq] = true
			}
		}
		if len(picked) == 0 && cfg.Findings != nil {
			continue
		}
		u := units[s.header.Unit]
		if u == nil {
			return nil, &fault.Error{Op: "undo", Where: s.header.Unit, Err: errors.New("the store has no such unit"), Hint: "is it the store that the run was about?"}
		}
		jobs = append(jobs, &undoJob{cfg: cfg, unit: u, past: past, out: UndoneUnit{Unit: s.header.Unit, Journal: past.path, Steps: []int{}}})
	}
	for _, seq := range cfg.Findings {
		if !found[seq] {
			return nil, &fault.Error{Op: "undo", Where: fmt.Sprintf("finding %d", seq), Err: fmt.Errorf("%w: no step in the store repairs it", ErrNothingToUndo), Kind: fault.Usage}
		}
	}
	if len(jobs) == 0 {
		return nil, &fault.Error{Op: "undo", Err: ErrNothingToUndo, Kind: fault.Usage, Hint: "fettle runs shows what was applied"}
	}
	return jobs, nil
}

// pick chooses the steps to take back, last first: those of an undo that was interrupted, and those asked for.
func pick(s *scanned, findings []int) ([]*stepLog, error) {
	var out []*stepLog
	for i := len(s.steps) - 1; i >= 0; i-- {
		st := s.steps[i]
		if !st.applies() {
			continue
		}
		take := findings == nil || st.undoing
		if !take {
			others := []int{}
			for _, seq := range st.Findings {
				if slices.Contains(findings, seq) {
					take = true
				} else {
					others = append(others, seq)
				}
			}
			if take && len(others) > 0 {
				return nil, &fault.Error{Op: "undo", Where: fmt.Sprintf("step %d", st.Step), Kind: fault.Usage,
					Err:  fmt.Errorf("it repairs %s as well and can only be taken back as a whole", numbers(others)),
					Hint: "name these findings too, or undo the whole run"}
			}
		}
		if !take {
			continue
		}
		if st.Irreversible {
			return nil, &fault.Error{Op: "undo", Where: fmt.Sprintf("step %d (%s)", st.Step, st.Title), Err: ErrIrreversible, Kind: fault.Unrepaired,
				Hint: "other findings can be undone by their numbers: fettle undo RUN SEQ..."}
		}
		out = append(out, st)
	}
	if findings != nil && len(out) > 0 && stateOf(s) == Applying {
		return nil, &fault.Error{Op: "undo", Where: s.header.Unit, Err: fmt.Errorf("%w, so single findings cannot be taken back", ErrInterrupted), Kind: fault.Unrepaired,
			Hint: "complete it first with fettle apply --resume, or undo the whole run"}
	}
	return out, nil
}

// run takes one unit back under its writer's lock.
func (u *undoJob) run(ctx context.Context) (err error) {
	work, err := u.cfg.WorkDir(u.out.Unit)
	if err != nil {
		return u.fail("undo", fmt.Errorf("scratch directory: %w", err))
	}
	w, err := u.unit.OpenWriter(ctx, work)
	if err != nil {
		return u.fail("undo", err)
	}
	var log *journal
	defer func() {
		err = errors.Join(err, log.close())
		if cerr := w.Close(); cerr != nil {
			err = errors.Join(err, u.fail("undo", fmt.Errorf("close: %w", cerr)))
		}
	}()
	// The unit is locked now; only what the journal says from here on is certain.
	s, err := u.past.scan(u.cfg.Files, true)
	if err != nil {
		return err
	}
	if s == nil || stateOf(s) == Undone {
		return u.fail("undo", ErrNothingToUndo)
	}
	steps, err := pick(s, u.cfg.Findings)
	if err != nil {
		return err
	}
	f, err := u.cfg.Files.Open(u.past.path, false)
	if err != nil {
		return u.fail("undo", fmt.Errorf("open journal: %w", err))
	}
	defer f.Close()
	if err := u.check(ctx, w, f, s, steps); err != nil {
		return err
	}
	if log, err = continueJournal(u.cfg.Files, u.past.path, s); err != nil {
		return u.fail("undo", err)
	}
	return u.takeBack(ctx, w, log, s, steps)
}

// takeBack writes the inverse of the steps.
func (u *undoJob) takeBack(ctx context.Context, w store.Writer, log *journal, s *scanned, steps []*stepLog) error {
	ids, total := make([]int, len(steps)), 0
	for i, st := range steps {
		ids[i] = st.Step
		total += len(st.changes)
	}
	part := store.Begin(ctx, "undo", "taking the repair back", int64(total), 0)
	defer part.End()
	if err := log.barrier(kindUndoing, undoingRecord{Steps: ids, At: u.cfg.Now().UTC()}); err != nil {
		return u.fail("undo", err)
	}
	for _, st := range steps {
		op := fmt.Sprintf("undo step %d", st.Step)
		if err := ctx.Err(); err != nil {
			return &fault.Error{Op: op, Where: u.out.Unit, Err: err, Kind: fault.Cancelled, Hint: "run the undo again to complete it"}
		}
		whole := context.WithoutCancel(ctx)
		err := eachChange(log.f, log.path, s, st, true, func(c store.Change) error {
			if err := w.Write(whole, c.Inverse()); err != nil {
				return fmt.Errorf("write record %s %s: %w", c.Target, c.Addr, err)
			}
			part.Did(1, int64(len(c.Before)))
			return nil
		})
		if err == nil {
			err = w.Sync(whole)
		}
		if err == nil {
			err = log.barrier(kindUndone, stepRecord{Step: st.Step, At: u.cfg.Now().UTC()})
		}
		if err != nil {
			return u.fail(op, err)
		}
		u.out.Steps = append(u.out.Steps, st.Step)
		u.out.Records += len(st.changes)
		u.cfg.OnStep(Progress{Unit: u.out.Unit, Step: st.Step, Title: st.Title, Of: len(steps), Phase: "undone", Records: len(st.changes)})
	}
	var err error
	if u.out.Fingerprint, err = u.unit.Fingerprint(ctx); err != nil {
		return u.fail("undo", fmt.Errorf("fingerprint: %w", err))
	}
	if err := log.barrier(kindUndoEnd, endRecord{Fingerprint: u.out.Fingerprint, At: u.cfg.Now().UTC()}); err != nil {
		return u.fail("undo", err)
	}
	return nil
}

// check makes sure, before anything is written, that every record of the steps holds what taking them back starts from, and
// that no later step that stays touches one of them. steps are last first. Memory is one address per record.
func (u *undoJob) check(ctx context.Context, w store.Writer, f File, s *scanned, steps []*stepLog) error {
	taken := map[*stepLog]bool{}
	for _, st := range steps {
		taken[st] = true
	}
	var bad ConflictError
	part := store.Begin(ctx, "compare", "comparing with the store", int64(u.toCompare(s, taken)), 0)
	defer part.End()
	// next holds, for every record seen so far, what an earlier step must have left in it.
	next := map[record]sum{}
	stays := map[record]*stepLog{} // records of later steps that stay applied
	for i := len(s.steps) - 1; i >= 0; i-- {
		st := s.steps[i]
		if !concerns(s, i, taken) {
			continue
		}
		err := eachChange(f, u.past.path, s, st, true, func(c store.Change) error {
			part.Did(1, 0)
			at := record{c.Target, c.Addr}
			if !taken[st] {
				stays[at] = st
				return nil
			}
			if later, ok := stays[at]; ok {
				return &fault.Error{Op: fmt.Sprintf("undo step %d", st.Step), Where: u.out.Unit, Kind: fault.Unrepaired,
					Err:  fmt.Errorf("step %d (%s) also wrote record %s %s and stays", later.Step, later.Title, c.Target, c.Addr),
					Hint: u.stayHint(later)}
			}
			what, err := u.startsFrom(ctx, w, st, c, next)
			if err != nil {
				return err
			}
			if what != "" {
				bad.add(Conflict{Step: st.Step, Target: c.Target, Addr: c.Addr, What: what})
			}
			next[at] = sumOf(c.Before)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if bad.Total > 0 {
		return conflictFault("undo", u.out.Unit, &bad)
	}
	return nil
}

// stayHint says how to take findings back whose records a later step wrote as well.
func (u *undoJob) stayHint(later *stepLog) string {
	if len(later.Findings) > 0 {
		return fmt.Sprintf("name %s too, or undo the whole run", numbers(later.Findings))
	}
	var but []string
	for _, seq := range u.cfg.Findings {
		but = append(but, fmt.Sprintf("--policy %d=ignore", seq))
	}
	return fmt.Sprintf("step %d follows from all the others and has no findings that could be named: undo the whole run, then plan it again with %s and apply that",
		later.Step, strings.Join(but, " "))
}

// startsFrom says what is wrong with the record that c wrote, "" if nothing is.
func (u *undoJob) startsFrom(ctx context.Context, w store.Writer, st *stepLog, c store.Change, next map[record]sum) (string, error) {
	if want, ok := next[record{c.Target, c.Addr}]; ok {
		if want != sumOf(c.After) {
			return "a later step found something else in it than this one left", nil
		}
		return "", nil
	}
	present, err := w.Read(ctx, c.Target, c.Addr)
	if err != nil {
		return "", u.fail("undo", fmt.Errorf("read record %s %s: %w", c.Target, c.Addr, err))
	}
	switch standingOf(present, c) {
	case isOther:
		return "neither its new nor its old content", nil
	case isTorn:
		if st.done && !st.undoing {
			return "a mixture of its new and its old content, though the step was complete", nil
		}
	}
	return "", nil
}

// concerns tells whether the records of step i have to be looked at to take the steps back.
func concerns(s *scanned, i int, taken map[*stepLog]bool) bool {
	return s.steps[i].applies() && (taken[s.steps[i]] || anyBefore(s.steps[:i], taken))
}

// toCompare counts the records of these steps.
func (u *undoJob) toCompare(s *scanned, taken map[*stepLog]bool) (n int) {
	for i, st := range s.steps {
		if concerns(s, i, taken) {
			n += len(st.changes)
		}
	}
	return n
}

func anyBefore(steps []*stepLog, taken map[*stepLog]bool) bool {
	return slices.ContainsFunc(steps, func(st *stepLog) bool { return taken[st] })
}

func (u *undoJob) fail(op string, err error) error {
	return &fault.Error{Op: op, Where: u.out.Unit, Err: err, Hint: "an undo that was interrupted is completed by running it again"}
}
