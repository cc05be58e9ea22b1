package cli

import (
	"context"
	"fmt"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/say"
)

// verifyFile links a repaired run to the one that checked the store again.
const verifyFile = "verify.json"

// verification is the content of verifyFile.
type verification struct {
	Type     string          `json:"type"` // always "verify"
	Schema   int             `json:"schema"`
	Run      string          `json:"run"` // the second run
	Verdict  finding.Verdict `json:"verdict"`
	Findings int             `json:"findings"`
	At       time.Time       `json:"at"`
}

func readVerification(r *runs.Run) (*verification, error) {
	v := new(verification)
	if err := r.ReadJSON(verifyFile, v); err != nil {
		return nil, err
	}
	return v, nil
}

// repairSummary is the last JSON line of a repair: the summary of the run that was repaired, with the verdict of now.
type repairSummary struct {
	runs.Summary
	Repair repairCounts `json:"repair"`
}

type repairCounts struct {
	Steps    int           `json:"steps"`
	Repaired int           `json:"repaired"`         // findings
	Left     int           `json:"left"`             // errors and warnings that are still there
	Parked   []int         `json:"parked,omitempty"` // findings that a person has to decide first
	Verify   *verification `json:"verify"`           // null when nothing was written
}

// verify runs the same check again as a new run and gives the verdict of the repair.
func (m *mending) verify(ctx context.Context) (int, error) {
	a, spec := m.app, m.run.Spec()
	sys, err := a.systemOf(m.run.ID(), spec.System)
	if err != nil {
		return exitError, err
	}
	dir, err := a.runsDir()
	if err != nil {
		return exitError, err
	}
	a.print("checking again")
	again := spec
	again.ID, again.Argv, again.Cwd, again.Host, again.Version, again.Started = "", nil, "", "", a.Version, time.Time{}
	j := &job{sys: sys, spec: again}
	if err := j.parse(); err != nil {
		return exitError, err
	}
	st, err := sys.Open(ctx, again.Location(), again.Options())
	if err != nil {
		return exitError | exitUnrepaired, fmt.Errorf("check again after the repair: %w", err)
	}
	defer st.Close()
	r, err := dir.New(again)
	if err != nil {
		return exitError, err
	}
	sum, err := a.engine(ctx, r, j, st, false, nil)
	v := verification{Type: "verify", Schema: 1, Run: r.ID(), Verdict: sum.Verdict, Findings: sum.Findings, At: time.Now().UTC().Truncate(time.Millisecond)}
	if werr := m.run.WriteJSON(verifyFile, v); werr != nil && err == nil {
		err = werr
	}
	if err != nil {
		return exitOfError(err) | exitUnrepaired, fault.WithHint(fmt.Errorf("check again after the repair: %w", err),
			"the repair is in place; take it back with: "+a.commandLine("undo", m.run.ID()))
	}
	return m.conclude(r, sum, &v)
}

// forGood tells whether a step was done that cannot be undone.
func (m *mending) forGood() bool {
	type step struct {
		unit string
		id   int
	}
	done := map[step]bool{}
	for _, u := range m.result.Units {
		for _, st := range u.Steps {
			done[step{u.Unit, st.Step}] = true
		}
	}
	for _, u := range m.plan.Units {
		for _, st := range u.Steps {
			if st.Irreversible && done[step{u.Unit, st.ID}] {
				return true
			}
		}
	}
	return false
}

// conclude prints the verdict of the repair.
func (m *mending) conclude(again *runs.Run, sum runs.Summary, v *verification) (int, error) {
	a := m.app
	done := map[int]bool{} // a finding may need several steps
	for _, u := range m.result.Units {
		for _, st := range u.Steps {
			for _, seq := range st.Findings {
				done[seq] = true
			}
		}
	}
	repaired := len(done)
	left := sum.BySeverity[finding.Error] + sum.BySeverity[finding.Warning]
	verdict, code := finding.Repaired, exitRepaired
	if sum.Verdict != finding.Clean {
		verdict, code = sum.Verdict, exitOf(sum.Verdict)
	}
	if a.json {
		return code, m.summaryLine(verdict, repaired, left, v)
	}
	if parked := m.plan.ParkedFindings(); len(parked) > 0 {
		a.print("%s must be decided first, their units are as they were:", say.Count(len(parked), "finding"))
		a.print("  %s", a.decideCommand(m.plan, parked))
	}
	st := a.outStyle()
	store := storeLabel(m.run)
	if verdict == finding.Repaired {
		a.print("%s: %s: %s; a second check is clean (run %s)", store, st.Verdict(verdict, string(verdict)), say.Count(repaired, "finding"), again.ID())
		if m.forGood() {
			a.print("  it cannot be undone as a whole: what was deleted for good does not come back")
		} else {
			a.print("  %s", a.commandLine("undo", m.run.ID()))
		}
		return code, nil
	}
	a.print("%s: %s: %s repaired, %d left (run %s)", store, st.Verdict(verdict, string(verdict)), say.Count(repaired, "finding"), left, again.ID())
	if err := a.sayLeft(again); err != nil {
		return exitError, err
	}
	a.print("  %s", a.commandLine("findings", again.ID()))
	if repaired > 0 && !m.forGood() {
		a.print("  %s", a.commandLine("undo", m.run.ID()))
	}
	return code, nil
}

// maxLeft is how many findings that a repair left are named with it.
const maxLeft = 5

// sayLeft names what a repair left, with what can be done about it.
func (a *App) sayLeft(again *runs.Run) error {
	n := 0
	for f, err := range again.Findings() {
		if err != nil {
			return err
		}
		if !f.Counts() || f.CausedBy != nil {
			continue
		}
		if n++; n > maxLeft {
			continue
		}
		class, _ := a.classes().Lookup(f.Class)
		text := fmt.Sprintf("  left: %s: %s", say.Clean(f.PathOr(f.Subject)), class.Title)
		if f.Why != "" {
			text += " (" + say.Clean(f.Why) + ")"
		}
		a.print("%s", text)
	}
	if n > maxLeft {
		a.print("  and %d more", n-maxLeft)
	}
	return nil
}

// nothing ends a repair that had no steps: exit 0 if nothing is wrong any more.
func (m *mending) nothing() (int, error) {
	a := m.app
	pending := map[int]bool{}
	for _, u := range m.plan.Units {
		for _, p := range u.Pending {
			pending[p.Seq] = true
		}
		// A decided finding without a step is one that the system cannot or will not repair; its outcome says why.
		for _, p := range u.Findings {
			pending[p.Seq] = true
		}
	}
	left, class := 0, ""
	for f, err := range toRepair(m.run) {
		if err != nil {
			return exitError, err
		}
		if pending[f.Seq] && f.Counts() {
			if left++; class == "" {
				class = f.Class
			}
		}
	}
	verdict, code := finding.Clean, exitClean
	if left > 0 {
		verdict, code = finding.Damaged, exitUnrepaired
	}
	if a.json {
		return code, m.summaryLine(verdict, 0, left, nil)
	}
	store := storeLabel(m.run)
	if left == 0 {
		a.print("%s: nothing to do", store)
		return code, nil
	}
	if parked := m.plan.ParkedFindings(); len(parked) > 0 {
		a.print("%s: %s: %s must be decided first, nothing was repaired", store, a.outStyle().Verdict(verdict, string(verdict)), say.Count(len(parked), "finding"))
		a.print("  %s", a.decideCommand(m.plan, parked))
		return code, nil
	}
	a.unmade(m.plan)
	a.print("%s: %s: nothing to do by this policy, left as it is: %s", store, a.outStyle().Verdict(verdict, string(verdict)), say.Count(left, "finding"))
	if err := a.sayLeft(m.run); err != nil {
		return exitError, err
	}
	a.print("  %s", a.commandLine("explain", class))
	a.print("  %s", a.commandLine("plan", m.run.ID(), "--policy", class+"=ACTION"))
	return code, nil
}

func (m *mending) summaryLine(verdict finding.Verdict, repaired, left int, v *verification) error {
	sum, err := m.run.Summary()
	if err != nil {
		return err
	}
	sum.Verdict = verdict
	line := repairSummary{sum, repairCounts{Repaired: repaired, Left: left, Verify: v}}
	for _, f := range m.plan.ParkedFindings() {
		line.Repair.Parked = append(line.Repair.Parked, f.Seq)
	}
	if m.result != nil {
		for _, u := range m.result.Units {
			line.Repair.Steps += len(u.Steps)
		}
	}
	return m.app.line(line)
}

// maxUnmade is how many reasons are shown for findings that were decided on and not repaired.
const maxUnmade = 10

// unmade says why findings that were decided on are left, each reason once.
func (a *App) unmade(p *repair.Plan) {
	said := map[string]bool{}
	for _, u := range p.Units {
		for _, o := range u.Outcomes {
			if !said[o.Result] && len(said) < maxUnmade {
				a.print("  #%d %s", o.Seq, say.Clean(o.Result))
			}
			said[o.Result] = true
		}
	}
}
