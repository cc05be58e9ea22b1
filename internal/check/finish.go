package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/say"
)

// finish closes the books: findings, summary and status. All passes have ended.
func (e *engine) finish() (Summary, error) {
	err := e.log.Close()
	if err == nil {
		err = e.verdictError()
	}
	if err == nil {
		err = e.settle()
	}
	state := runs.Finished
	switch {
	case isStop(err):
		state = runs.Stopped
	case err != nil:
		state = runs.Failed
	}
	sum := e.summarize(state, err)
	p := e.progress()
	st := e.status(state, p)
	st.Error = sum.Error
	if err2 := e.cfg.Run.WriteJSON(runs.SummaryFile, sum); err2 != nil {
		err = errors.Join(err, err2)
		st.State, st.Error = runs.Failed, err.Error()
	}
	if err2 := e.cfg.Run.WriteStatus(st); err2 != nil {
		err = errors.Join(err, err2)
	}
	if e.cfg.OnProgress != nil {
		e.cfg.OnProgress(p)
	}
	return sum, err
}

// verdictError says why the check did not come to its end: a failure rather than the stop that it led to.
func (e *engine) verdictError() error {
	if e.fatal != nil {
		return e.fatal
	}
	var errs []error
	done := true
	for _, u := range e.units {
		done = done && u.point.Done
		if u.err != nil && !isStop(u.err) {
			errs = append(errs, u.err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if !done {
		return &fault.Error{Op: "check", Where: e.cfg.Run.ID(), Err: e.cause(), Kind: fault.Cancelled,
			Hint: "go on with: fettle resume " + e.cfg.Run.ID()}
	}
	return nil
}

// settle does what only the end of a whole check can: order, races, and giving back the room that passes used.
func (e *engine) settle() error {
	moved := map[int]int{}
	if e.numbers.disorder {
		var err error
		if moved, err = e.cfg.Run.TidyFindings(); err != nil {
			return err
		}
		if len(moved) > 0 {
			e.note(fmt.Sprintf("%d findings have other numbers than before the run was resumed", len(moved)))
		}
	}
	var outs []runs.Outcome
	for _, u := range e.units {
		for seq := range u.races {
			if to, ok := moved[seq]; ok {
				seq = to
			}
			outs = append(outs, runs.Outcome{Seq: seq, Result: runs.RaceResult, Stage: runs.StageCheck})
		}
		if u.tally.counting > 0 {
			continue // a plan goes on from these files
		}
		if err := u.clearScratch(); err != nil {
			return err
		}
	}
	slices.SortFunc(outs, func(a, b runs.Outcome) int { return a.Seq - b.Seq })
	return e.cfg.Run.AddOutcomes(outs...)
}

// summarize makes the last line of the check.
func (e *engine) summarize(state runs.State, err error) Summary {
	s := Summary{Type: "summary", Schema: runs.Schema, Run: e.cfg.Run.ID(), State: state, Verdict: finding.Clean,
		ByClass: map[string]int{}, BySeverity: map[finding.Severity]int{}, ByUnit: []runs.UnitSummary{},
		Units: len(e.units), Facts: map[string]any{}, Notes: []string{}, Seconds: math.Round(e.seconds()*1000) / 1000}
	if err != nil {
		s.Error = err.Error()
	}
	for _, u := range e.units {
		addUnit(&s, u)
	}
	if state != runs.Finished {
		s.Verdict = finding.Incomplete
	}
	s.Notes = append(s.Notes, e.notes...)
	for _, u := range e.units {
		if why := u.unfinished(); why != "" && state != runs.Finished {
			s.Notes = append(s.Notes, u.prefix(why))
		}
		s.Notes = append(s.Notes, u.notes...)
		if why := u.fixed(); why != "" && s.Verdict == finding.Damaged {
			s.Fixed, s.Notes = true, append(s.Notes, why)
		}
		if u.unclear() {
			s.Notes = append(s.Notes, u.prefix(say.Count(u.raced(), "finding")+" did not hold when read again, and what lies behind was not seen: check again, best when nobody writes to it"))
		}
	}
	if n := e.cfg.Baseline.unmet(); n > 0 && state == runs.Finished {
		s.Notes = append(s.Notes, fmt.Sprintf("%d entries of the baseline fit no finding any more", n))
	}
	if e.badCtl != nil {
		s.Notes = append(s.Notes, "requests to the run could not be read: "+e.badCtl.Error())
	}
	return s
}

// addUnit adds the unit's part to the summary.
func addUnit(s *Summary, u *unitRun) {
	us := runs.UnitSummary{Unit: u.id(), Verdict: u.verdict(), Findings: u.tally.findings, Passes: u.point.Spent, Facts: map[string]any{}}
	if u.err != nil && !isStop(u.err) {
		us.Error = u.err.Error()
	}
	for name, raw := range u.facts {
		us.Facts[name] = decodeFact(raw)
	}
	addFacts(s.Facts, u.facts)
	s.ByUnit = append(s.ByUnit, us)
	s.Findings += u.tally.findings
	s.Accepted += u.tally.accepted
	s.Races += u.raced()
	for c, n := range u.tally.byClass {
		s.ByClass[c] += n
	}
	for sev, n := range u.tally.bySeverity {
		if n != 0 {
			s.BySeverity[sev] += n
		}
	}
	s.Records += u.records + u.passRecords.Load()
	s.Bytes += u.bytes + u.passBytes.Load()
	if us.Verdict == finding.Incomplete || us.Verdict == finding.Damaged && s.Verdict != finding.Incomplete {
		s.Verdict = us.Verdict
	}
}

// unfinished says how far a unit came that was not checked to its end, "" for one that was. Passes differ in what they tell, so those that were not
// reached are named: most systems tell their findings in the last one.
func (u *unitRun) unfinished() string {
	if u.point.Done {
		return ""
	}
	var at string
	var ahead []string
	for _, p := range u.unit.Passes() {
		switch {
		case slices.Contains(u.point.PassesDone, p.Name):
		case at == "" && p.Name == u.pass.Name:
			at = "it stopped while " + p.Title
			if n, of := u.passRecords.Load(), u.totalRecords.Load(); of > 0 && n <= of {
				at += fmt.Sprintf(" (%d of %s)", n, say.Count(int(of), "record"))
			}
		default:
			ahead = append(ahead, p.Title)
		}
	}
	if at == "" {
		at = "it was not begun"
	}
	if len(ahead) > 0 {
		at += "; not yet done: " + strings.Join(ahead, ", ")
	}
	return at
}

// decodeFact keeps whole numbers whole: a count of objects must not become 1.398e+06.
func decodeFact(raw json.RawMessage) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(raw)
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil {
			return i
		}
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return v
}

// sum adds numbers; of other values the last wins. Units are visited in the order of Store.Units.
func sum(a, b any) any {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return x + y
		case float64:
			return float64(x) + y
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return x + float64(y)
		case float64:
			return x + y
		}
	}
	return b
}
