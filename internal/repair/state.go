package repair

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// State says how far a plan, or one unit of it, has come.
type State string

// The states.
const (
	None         State = ""              // there is no plan
	PlannedState State = "planned"       // nothing was written to the store
	Applying     State = "applying"      // begun and interrupted: resume or undo
	Applied      State = "applied"       // complete
	Undoing      State = "undoing"       // an undo was begun and interrupted: run it again
	PartlyUndone State = "partly undone" // some steps were taken back
	Undone       State = "undone"        // all was taken back
)

// Status is what a run's directory says about its repair.
type Status struct {
	State State        `json:"state"`
	Units []UnitStatus `json:"units"`
}

// UnitStatus is the newest application of the plan to one unit.
type UnitStatus struct {
	Unit       string       `json:"unit"`
	State      State        `json:"state"`
	Generation int          `json:"generation"` // 0 if it was never applied
	Journal    string       `json:"journal,omitempty"`
	Steps      []StepStatus `json:"steps"`
}

// StepStatus is one step that was begun.
type StepStatus struct {
	Step     int    `json:"step"`
	Title    string `json:"title"`
	Findings []int  `json:"findings"`
	State    State  `json:"state"`   // Applying, Applied, Undoing or Undone
	Records  int    `json:"records"` // raw records
	Bytes    int64  `json:"bytes"`   // of journal
}

// StateOf reads a run's directory: its plan, if there is one, and its journals. It writes nothing and can be called at any
// time, also while an Apply is at work (which then shows as Applying).
func StateOf(dir string) (*Status, error) {
	path := filepath.Join(dir, PlanFile)
	var plan *Plan
	if _, err := os.Stat(path); err == nil {
		if plan, err = LoadFile(path, LoadOptions{AllowEdited: true}); err != nil {
			return nil, err
		}
	}
	return StateIn(osFiles{}, dir, plan)
}

// StateIn is StateOf for journals that lie in fs; plan may be nil.
func StateIn(fs Files, dir string, plan *Plan) (*Status, error) {
	var units []string
	st := &Status{Units: []UnitStatus{}}
	if plan != nil {
		st.State = PlannedState
		for i := range plan.Units {
			if len(plan.Units[i].Steps) > 0 {
				units = append(units, plan.Units[i].Unit)
			}
		}
	}
	journals, err := findJournals(fs, dir)
	if err != nil {
		return nil, err
	}
	begun := map[string]bool{}
	for _, j := range sorted(journals) {
		s, err := j.scan(fs, false)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		begun[s.header.Unit] = true
		st.Units = append(st.Units, statusOf(j, s))
	}
	for _, u := range units {
		if !begun[u] {
			st.Units = append(st.Units, UnitStatus{Unit: u, State: PlannedState, Steps: []StepStatus{}})
		}
	}
	sort.SliceStable(st.Units, func(a, b int) bool { return st.Units[a].Unit < st.Units[b].Unit })
	st.State = combine(st.State, st.Units)
	return st, nil
}

// combine makes one state of the units': what needs attention most comes first.
func combine(start State, units []UnitStatus) State {
	n := map[State]int{}
	for _, u := range units {
		n[u.State]++
	}
	switch {
	case len(units) == 0:
		return start
	case n[Undoing] > 0:
		return Undoing
	case n[Applying] > 0 || (n[Applied] > 0 && n[PlannedState] > 0):
		return Applying
	case n[PartlyUndone] > 0 || (n[Applied] > 0 && n[Undone] > 0):
		return PartlyUndone
	case n[Applied] > 0:
		return Applied
	case n[Undone] > 0:
		return Undone
	}
	return PlannedState
}

func statusOf(j unitJournal, s *scanned) UnitStatus {
	u := UnitStatus{Unit: s.header.Unit, State: stateOf(s), Generation: s.header.Generation, Journal: j.path, Steps: []StepStatus{}}
	for _, st := range s.steps {
		line := StepStatus{Step: st.Step, Title: st.Title, Findings: st.Findings, Records: len(st.changes), Bytes: st.bytes}
		switch {
		case st.undone:
			line.State = Undone
		case st.undoing:
			line.State = Undoing
		case st.done:
			line.State = Applied
		default:
			line.State = Applying
		}
		u.Steps = append(u.Steps, line)
	}
	return u
}

// stateOf reads the state of a unit from its journal; nil is a unit without one.
func stateOf(s *scanned) State {
	if s == nil || s.void {
		return PlannedState
	}
	in := 0
	for _, st := range s.steps {
		if st.applies() {
			in++
		}
	}
	switch {
	case s.undoing:
		return Undoing
	case s.undoEnd && in == 0:
		return Undone
	case s.undoEnd:
		return PartlyUndone
	case s.applied:
		return Applied
	}
	return Applying
}

// unitJournal is the newest journal of a unit that was really begun.
type unitJournal struct {
	path       string // "" if there is none
	generation int    // the highest number in use, also by a journal that is void
	state      State  // filled in by the gates
	older      []string
}

// findJournals lists the journals in dir by the file name of their unit. A crash may leave a journal without a header; it
// is skipped when the journal is scanned.
func findJournals(fs Files, dir string) (map[string]unitJournal, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("look for journals: %w", err)
	}
	found := map[string]map[int]string{}
	for _, n := range names {
		unit, gen, ok := parseJournalName(n)
		if !ok {
			continue
		}
		if found[unit] == nil {
			found[unit] = map[int]string{}
		}
		found[unit][gen] = filepath.Join(dir, n)
	}
	out := map[string]unitJournal{}
	for unit, gens := range found {
		order := make([]int, 0, len(gens))
		for g := range gens {
			order = append(order, g)
		}
		sort.Sort(sort.Reverse(sort.IntSlice(order)))
		j := unitJournal{path: gens[order[0]], generation: order[0]}
		for _, g := range order[1:] {
			j.older = append(j.older, gens[g])
		}
		out[unit] = j
	}
	return out, nil
}

// scan reads the newest journal that has a header and makes it the unit's; nil means that there is none.
func (j *unitJournal) scan(fs Files, deep bool) (*scanned, error) {
	for j.path != "" {
		s, err := scanJournal(fs, j.path, deep)
		if err != nil {
			return nil, err
		}
		if !s.void {
			if name := fileName(s.header.Unit); journalName(s.header.Unit, s.header.Generation) != filepath.Base(j.path) {
				return nil, fmt.Errorf("%w: %s says that it is generation %d of unit %s (%s)", errJournal, j.path, s.header.Generation, s.header.Unit, name)
			}
			return s, nil
		}
		j.path = ""
		if len(j.older) > 0 {
			j.path, j.older = j.older[0], j.older[1:]
		}
	}
	return nil, nil
}

func sorted(m map[string]unitJournal) []unitJournal {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]unitJournal, 0, len(m))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}
