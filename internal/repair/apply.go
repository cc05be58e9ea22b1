package repair

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// ApplyConfig says what Apply and Resume do.
type ApplyConfig struct {
	Plan  *Plan
	Units []store.Planner // of the opened store; those that the plan does not mention are left alone
	// Only restricts the work to these units of the plan; nil means all. When a gate refuses one unit, nothing is written
	// to any; this is how to go on with the others.
	Only []string
	// Dir is where the journals lie: the run's directory. It must exist.
	Dir     string
	WorkDir func(unit string) (string, error) // nil means WorkDirs(Dir)
	MaxLoss Threshold
	// AllowIrreversible names the actions whose steps may be done although they cannot be undone: ACTION, or CLASS/ACTION.
	AllowIrreversible []string
	OnStep            func(Progress)   // told what is going on; may be nil
	Now               func() time.Time // nil is time.Now
	Files             Files            // nil is the operating system's
}

// Progress is one event of Apply, Resume or Undo.
type Progress struct {
	Unit    string
	Step    int
	Title   string
	Of      int    // steps of the unit
	Phase   string // "begin", "done", or "undone"
	Records int    // raw records the step writes; 0 for "begin"
}

// Result is what Apply or Resume did.
type Result struct {
	Units []UnitResult `json:"units"`
}

// UnitResult is what was done to one unit.
type UnitResult struct {
	Unit    string       `json:"unit"`
	Journal string       `json:"journal"` // path
	Already bool         `json:"already"` // it had been applied before; nothing was done
	Steps   []StepResult `json:"steps"`
	// Before and After are fingerprints of the unit.
	Before string   `json:"before"`
	After  string   `json:"after"`
	Notes  []string `json:"notes,omitempty"`
}

// StepResult is what was done in one step.
type StepResult struct {
	Step     int    `json:"step"`
	Title    string `json:"title"`
	Findings []int  `json:"findings"`
	Records  int    `json:"records"` // raw records written
	Bytes    int64  `json:"bytes"`   // of their new content
	Resumed  bool   `json:"resumed,omitempty"`
}

// ErrInterrupted is the cause of Apply's refusal when an earlier apply or undo has not come to its end.
var ErrInterrupted = errors.New("an earlier apply was interrupted")

// ErrApplied is the cause of Apply's refusal when the plan has been applied.
var ErrApplied = errors.New("the plan has been applied already")

// Apply makes the plan true. Gates come first: if any refuses, nothing is written anywhere. What was done before an error
// is in the Result, which is never nil; the journal then says how to go on (Resume) or back (Undo).
func Apply(ctx context.Context, cfg ApplyConfig) (*Result, error) { return apply(ctx, cfg, false) }

// Resume completes an Apply that was interrupted, by a crash, an error or the user. Units that are complete are skipped,
// those not begun are begun.
func Resume(ctx context.Context, cfg ApplyConfig) (*Result, error) { return apply(ctx, cfg, true) }

// job is one unit on its way.
type job struct {
	cfg  *ApplyConfig
	plan *Unit
	unit store.Planner
	past unitJournal // the newest generation, if any
	out  UnitResult
}

func (cfg *ApplyConfig) defaults() {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Files == nil {
		cfg.Files = osFiles{}
	}
	if cfg.WorkDir == nil {
		cfg.WorkDir = WorkDirs(cfg.Dir)
	}
	if cfg.OnStep == nil {
		cfg.OnStep = func(Progress) {}
	}
}

func apply(ctx context.Context, cfg ApplyConfig, resume bool) (*Result, error) {
	cfg.defaults()
	res := &Result{Units: []UnitResult{}}
	jobs, err := cfg.jobs()
	if err != nil {
		return res, err
	}
	if err := cfg.gates(ctx, jobs, resume); err != nil {
		return res, err
	}
	for _, j := range jobs {
		err := j.run(ctx)
		res.Units = append(res.Units, j.out)
		if err != nil {
			return res, err
		}
	}
	return res, nil
}

// jobs pairs the units of the plan that have steps with the store's and with their journals.
func (cfg *ApplyConfig) jobs() ([]*job, error) {
	if sum, err := cfg.Plan.sum(); err != nil || sum != cfg.Plan.Checksum {
		return nil, &fault.Error{Op: "apply", Err: ErrEdited, Kind: fault.Unrepaired, Hint: "read the plan from its file"}
	}
	units := map[string]store.Planner{}
	for _, u := range cfg.Units {
		units[u.ID()] = u
	}
	journals, err := findJournals(cfg.Files, cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range cfg.Only {
		if !slices.ContainsFunc(cfg.Plan.Units, func(u Unit) bool { return u.Unit == name }) {
			return nil, fault.NewUsage(fmt.Errorf("the plan has no unit %q", name), "fettle plan RUN shows its units")
		}
	}
	var jobs []*job
	for i := range cfg.Plan.Units {
		pu := &cfg.Plan.Units[i]
		if len(pu.Steps) == 0 || (cfg.Only != nil && !slices.Contains(cfg.Only, pu.Unit)) {
			continue
		}
		u := units[pu.Unit]
		if u == nil {
			return nil, &fault.Error{Op: "apply", Where: pu.Unit, Err: errors.New("the store has no such unit"),
				Hint: "is it the store that the plan was made for (" + cfg.Plan.Store + ")?"}
		}
		jobs = append(jobs, &job{cfg: cfg, plan: pu, unit: u, past: journals[fileName(pu.Unit)],
			out: UnitResult{Unit: pu.Unit, Steps: []StepResult{}}})
	}
	return jobs, nil
}

// gates checks everything that can be known before the first write.
func (cfg *ApplyConfig) gates(ctx context.Context, jobs []*job, resume bool) error {
	under := false // some unit is on its way, so that a Resume makes sense for the others
	for _, j := range jobs {
		s, err := j.past.scan(cfg.Files, false)
		if err != nil {
			return err
		}
		st := stateOf(s)
		under = under || st == Applying || st == Applied
		if err := j.gateState(s, st, resume); err != nil {
			return err
		}
	}
	for _, j := range jobs {
		if j.out.Already {
			continue
		}
		if err := gateInUse(ctx, "apply", j.unit); err != nil {
			return err
		}
		if j.past.state == Applying {
			continue // the other gates were passed when it began
		}
		if resume && j.past.state == Undone && !under {
			return &fault.Error{Op: "resume", Where: j.plan.Unit, Err: errors.New("nothing to resume: the plan was undone"),
				Hint: "apply it again without --resume"}
		}
		if err := gateLoss(j.plan, cfg.MaxLoss); err != nil {
			return err
		}
		if err := gateIrreversible(j.plan, cfg.AllowIrreversible); err != nil {
			return err
		}
	}
	return nil
}

// gateState compares what the journal says with what was asked for.
func (j *job) gateState(s *scanned, st State, resume bool) error {
	j.past.state = st
	refuse := func(err error, hint string) error {
		return &fault.Error{Op: "apply", Where: j.plan.Unit, Err: err, Hint: hint, Kind: fault.Unrepaired}
	}
	switch st {
	case Undoing:
		return refuse(fmt.Errorf("%w: an undo has not come to its end", ErrInterrupted), "run fettle undo again to complete it")
	case PartlyUndone:
		return refuse(errors.New("some of its steps were undone"), "undo the rest first; then it can be applied again")
	case Applying:
		if !resume {
			return refuse(ErrInterrupted, "complete it with fettle apply --resume, or take it back with fettle undo")
		}
		if s.header.Plan != j.cfg.Plan.Checksum {
			return refuse(errors.New("it was begun with a different plan"), "resume with the plan it was begun with, or take it back with fettle undo")
		}
	case Applied:
		if !resume {
			return refuse(ErrApplied, "fettle undo takes it back; fettle check shows how the store is now")
		}
		if s.header.Plan != j.cfg.Plan.Checksum {
			return refuse(fmt.Errorf("%w, but it was a different plan", ErrApplied), "check the store again")
		}
		j.out.Already, j.out.Journal = true, j.past.path
		j.out.Before = s.header.Fingerprint
		if n := len(s.steps); n > 0 {
			j.out.After = s.steps[n-1].after
		}
	}
	return nil
}

// run does one unit under its writer's lock.
func (j *job) run(ctx context.Context) (err error) {
	if j.out.Already {
		return nil
	}
	work, err := j.cfg.WorkDir(j.plan.Unit)
	if err != nil {
		return j.fail("apply", fmt.Errorf("scratch directory: %w", err), "")
	}
	before, err := j.unit.Fingerprint(ctx)
	if err != nil {
		return j.fail("apply", fmt.Errorf("fingerprint: %w", err), "")
	}
	w, err := j.unit.OpenWriter(ctx, work)
	if err != nil {
		return j.fail("apply", err, "")
	}
	var log *journal
	defer func() {
		err = errors.Join(err, log.close())
		if cerr := w.Close(); cerr != nil {
			err = errors.Join(err, j.fail("apply", fmt.Errorf("close: %w", cerr), ""))
		}
	}()
	done := 0
	if j.past.state == Applying {
		log, done, err = j.pickUp(ctx, w)
		if err != nil {
			return err
		}
	} else {
		j.out.Before = before
		j.out.Journal = filepath.Join(j.cfg.Dir, journalName(j.plan.Unit, j.past.generation+1))
		if before != j.plan.Fingerprint {
			j.out.Notes = append(j.out.Notes, "the store was written to after the plan was made; every record the plan rests on is checked before it is changed")
		}
	}
	for i := done; i < len(j.plan.Steps); i++ {
		if log, err = j.step(ctx, w, log, j.plan.Steps[i]); err != nil {
			return err
		}
	}
	if j.out.After, err = j.unit.Fingerprint(ctx); err != nil {
		return j.fail("apply", fmt.Errorf("fingerprint: %w", err), "")
	}
	return log.barrier(kindApplied, endRecord{Fingerprint: j.out.After, At: j.cfg.Now().UTC()})
}

// step does one step: lower, journal, write, sync, mark. It makes the journal when it is the first to need it.
func (j *job) step(ctx context.Context, w store.Writer, log *journal, step store.Step) (*journal, error) {
	op := fmt.Sprintf("apply step %d", step.ID)
	if err := ctx.Err(); err != nil {
		return log, &fault.Error{Op: op, Where: j.plan.Unit, Err: err, Kind: fault.Cancelled, Hint: j.wayOn(log)}
	}
	j.cfg.OnStep(Progress{Unit: j.plan.Unit, Step: step.ID, Title: step.Title, Of: len(j.plan.Steps), Phase: "begin"})
	raw, err := lower(ctx, w, step)
	if err != nil {
		return log, j.fail(op, fmt.Errorf("%s: %w", step.Title, err), j.wayOn(log))
	}
	if log == nil {
		if log, err = j.newJournal(); err != nil {
			return log, j.fail(op, err, "")
		}
	}
	if err := log.sealStep(ctx, step, raw, j.cfg.Now().UTC()); err != nil {
		return log, j.fail(op, err, j.wayOn(log))
	}
	// From here on a step runs to its end: being cancelled in the middle would only make work for Resume.
	ctx = context.WithoutCancel(ctx)
	part := begin(ctx, "write", "writing the store", raw, func(c *store.Change) int { return len(c.After) })
	defer part.End()
	var size int64
	for _, c := range raw {
		if err := w.Write(ctx, c); err != nil {
			return log, j.fail(op, fmt.Errorf("write record %s %s: %w", c.Target, c.Addr, err), j.wayOn(log))
		}
		size += int64(len(c.After))
		part.Did(1, int64(len(c.After)))
	}
	return log, j.finish(ctx, w, log, StepResult{Step: step.ID, Title: step.Title, Findings: step.Findings, Records: len(raw), Bytes: size})
}

// finish makes a step's writes durable and says so in the journal.
func (j *job) finish(ctx context.Context, w store.Writer, log *journal, done StepResult) error {
	op := fmt.Sprintf("apply step %d", done.Step)
	if err := w.Sync(ctx); err != nil {
		return j.fail(op, fmt.Errorf("sync: %w", err), j.wayOn(log))
	}
	fp, err := j.unit.Fingerprint(ctx)
	if err != nil {
		return j.fail(op, fmt.Errorf("fingerprint: %w", err), j.wayOn(log))
	}
	if err := log.barrier(kindDone, stepRecord{Step: done.Step, Fingerprint: fp, At: j.cfg.Now().UTC()}); err != nil {
		return j.fail(op, err, j.wayOn(log))
	}
	j.out.Steps = append(j.out.Steps, done)
	j.cfg.OnStep(Progress{Unit: j.plan.Unit, Step: done.Step, Title: done.Title, Of: len(j.plan.Steps), Phase: "done", Records: done.Records})
	return nil
}

func (j *job) newJournal() (*journal, error) {
	return createJournal(j.cfg.Files, j.out.Journal, headerRecord{Schema: JournalSchema, Run: j.cfg.Plan.Run, Plan: j.cfg.Plan.Checksum,
		Unit: j.plan.Unit, Generation: j.past.generation + 1, Fingerprint: j.out.Before, Created: j.cfg.Now().UTC(),
		Steps: len(j.plan.Steps), Allowed: j.cfg.AllowIrreversible})
}

func (j *job) fail(op string, err error, hint string) error {
	return &fault.Error{Op: op, Where: j.plan.Unit, Err: err, Hint: hint}
}

// wayOn is the hint for an error in the middle of a unit.
func (j *job) wayOn(log *journal) string {
	if log == nil {
		return "nothing was written; check the store again and make a new plan"
	}
	return "fettle undo takes back what was done; fettle apply --resume tries to go on"
}
