package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
)

// checkpoint is checkpoint.json: from where every unit goes on.
type checkpoint struct {
	Type    string    `json:"type"` // always "checkpoint"
	Schema  int       `json:"schema"`
	Run     string    `json:"run"`
	Saved   time.Time `json:"saved"`
	Seconds float64   `json:"seconds"` // spent so far in all lives of the run
	Notes   []string  `json:"notes,omitempty"`
	Units   []point   `json:"units"`
}

// point is from where one unit goes on.
type point struct {
	Unit        string          `json:"unit"`
	Fingerprint string          `json:"fingerprint"` // when the unit's check began
	Done        bool            `json:"done"`
	PassesDone  []string        `json:"passes_done"`
	Pass        string          `json:"pass,omitempty"`  // the pass at work
	State       json.RawMessage `json:"state,omitempty"` // what that pass saved last

	Findings int   `json:"findings"`          // so many of the unit's findings, in the order of the file, are part of it
	Races    []int `json:"races,omitempty"`   // numbers of those that did not hold when read again
	Dropped  int   `json:"dropped,omitempty"` // findings that were already gone before they were recorded
	Changed  bool  `json:"changed,omitempty"` // written to while it was read

	Records     int64 `json:"records"` // of the unit
	Bytes       int64 `json:"bytes"`
	PassRecords int64 `json:"pass_records"` // of the pass at work
	PassBytes   int64 `json:"pass_bytes"`

	Spent []runs.PassSummary `json:"spent,omitempty"` // by the passes so far

	Facts map[string]json.RawMessage `json:"facts,omitempty"`
	Notes []string                   `json:"notes,omitempty"`
	// Unseen: a pass said that it could not look at everything.
	Unseen bool `json:"unseen,omitempty"`
}

// save makes the present a checkpoint: for unit u as update says, for the others as they were. Findings are on disk
// before the checkpoint that counts on them.
func (e *engine) save(u *unitRun, update func(p *point)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.log.Sync(); err != nil {
		return e.failLocked(err)
	}
	u.capture()
	update(&u.point)
	cp := checkpoint{Type: "checkpoint", Schema: runs.Schema, Run: e.cfg.Run.ID(), Saved: time.Now().UTC(),
		Seconds: e.seconds(), Notes: e.notes}
	for _, u := range e.units {
		cp.Units = append(cp.Units, u.point)
	}
	if err := e.cfg.Run.WriteJSON(runs.CheckpointFile, cp); err != nil {
		return e.failLocked(err)
	}
	e.keep(cp)
	return nil
}

// keep remembers what status.json tells of the last checkpoint. The caller holds mu or is alone.
func (e *engine) keep(cp checkpoint) {
	k := &runs.Checkpoint{Saved: cp.Saved, Facts: map[string]any{}}
	for _, p := range cp.Units {
		k.ByPass = addPasses(k.ByPass, p.Spent)
		addFacts(k.Facts, p.Facts)
	}
	e.kept = k
}

// open prepares the run's directory: from the checkpoint when resuming, otherwise from nothing.
func (e *engine) open() error {
	if err := e.refuseRepaired(); err != nil {
		return err
	}
	var cp checkpoint
	if e.cfg.Resume {
		var err error
		if cp, err = e.readCheckpoint(); err != nil {
			e.note("the run starts over: " + err.Error())
			cp = checkpoint{}
		}
		if err := e.cfg.Run.ClearStop(); err != nil {
			return err
		}
	}
	if err := os.Remove(e.cfg.Run.File(runs.SummaryFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // a path error: says all
	}
	if err := e.restore(cp); err != nil {
		return err
	}
	if err := e.cfg.replay(); err != nil {
		return errors.Join(err, e.log.Close())
	}
	e.obey()
	return e.cfg.Run.WriteStatus(e.status(runs.Running, e.progress()))
}

// refuseRepaired refuses a run on whose findings something was done already: their numbers must not change.
func (e *engine) refuseRepaired() error {
	outs, err := e.cfg.Run.Outcomes()
	if err != nil {
		return err
	}
	for _, o := range outs {
		if o.Stage != runs.StageCheck {
			return &fault.Error{Op: "check", Where: e.cfg.Run.ID(), Err: errors.New("findings of this run have been dealt with already"),
				Hint: "check the store anew: fettle check " + e.cfg.Run.Spec().Store, Kind: fault.Usage}
		}
	}
	return nil
}

// readCheckpoint reads checkpoint.json; the zero checkpoint if none was taken yet.
func (e *engine) readCheckpoint() (checkpoint, error) {
	var cp checkpoint
	err := e.cfg.Run.ReadJSON(runs.CheckpointFile, &cp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkpoint{}, nil
	case err != nil:
		return checkpoint{}, err
	case cp.Type != "checkpoint" || cp.Schema != runs.Schema || cp.Run != e.cfg.Run.ID():
		return checkpoint{}, fmt.Errorf("%s is not a checkpoint of this run", e.cfg.Run.File(runs.CheckpointFile))
	}
	return cp, nil
}

// restore brings units, findings and counters to the state of cp. The zero checkpoint means the very beginning.
func (e *engine) restore(cp checkpoint) error {
	points := map[string]point{}
	for _, p := range cp.Units {
		points[p.Unit] = p
	}
	e.before, e.notes = cp.Seconds, append(cp.Notes, e.notes...)
	if e.kept = nil; len(cp.Units) > 0 {
		e.keep(cp)
	}
	for _, u := range e.units {
		u.reset()
		p, ok := points[u.id()]
		delete(points, u.id())
		if ok && !p.Done && p.Fingerprint != "" {
			// A unit that cannot be looked at now fails when its turn comes, without holding up the others.
			if now, err := u.unit.Fingerprint(e.ctx); err != nil || now != p.Fingerprint {
				e.note(u.prefix("was written to since the checkpoint: its check starts over"))
				ok = false
			}
		}
		if ok {
			u.adopt(p)
		} else if err := u.clearScratch(); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(points)) {
		e.note(id + " is no longer part of the store: its findings are dropped")
	}
	if err := e.cfg.Run.DropOutcomes(); err != nil {
		return err
	}
	return e.keepFindings(cp)
}

// keepFindings reopens findings.jsonl with the findings that belong to the units' points, and counts them.
func (e *engine) keepFindings(cp checkpoint) error {
	byID := map[string]*unitRun{}
	for _, u := range e.units {
		byID[u.id()] = u
	}
	var used []int
	count := func(f finding.Finding) bool {
		u := byID[f.Unit]
		if u == nil || u.findings >= u.point.Findings || f.Run != e.cfg.Run.ID() {
			return false
		}
		used = append(used, f.Seq)
		u.count(&f)
		e.cfg.Baseline.accepts(&f) // marks the entry as met
		return true
	}
	var keep func(finding.Finding) bool // nil: the very beginning; the old file is not even read
	if len(cp.Units) > 0 {
		keep = count
	}
	log, err := e.cfg.Run.OpenLog(keep)
	if err != nil {
		if keep != nil {
			return e.startOver(err.Error())
		}
		return err
	}
	e.log, e.numbers = log, newNumbers(used)
	for _, u := range e.units {
		if u.findings != u.point.Findings {
			if err := log.Close(); err != nil {
				return err
			}
			return e.startOver(fmt.Sprintf("%s has lost findings: the checkpoint knows %d of %s, %d are there",
				e.cfg.Run.File(runs.FindingsFile), u.point.Findings, u.id(), u.findings))
		}
	}
	return nil
}

// startOver forgets the checkpoint, which cannot be used for the given reason.
func (e *engine) startOver(why string) error {
	e.notes = nil
	e.note("the run starts over: " + why)
	return e.restore(checkpoint{})
}
