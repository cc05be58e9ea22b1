package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
)

// Suite is what Run needs to know about a system.
type Suite struct {
	System  store.System
	Options store.Options
	Cases   []Case
	// Tears says that a crash can leave half of a raw record: the Writer overwrites in place. Leave it unset for a Writer that
	// replaces records in transactions or by rename.
	Tears bool
	// Resumes says that passes save checkpoints; then checks that are stopped and resumed must find the same.
	Resumes bool
	// MaxCrashes bounds how many operations of a case are crashed at, spread evenly; 0 means all.
	MaxCrashes int
	// InTurn tries one of the ways to crash at an operation rather than all of them; the next operation is for the next way.
	InTurn bool
	// MaxSecond is the same bound for crashes of a resume and of an undo, after a crash or a whole apply; 0 leaves them out.
	MaxSecond int
	// Digest and Copy are for stores that are not files; nil means the functions of that name and CopyTree.
	Digest func(t testing.TB, path string) Snapshot
	Copy   func(t testing.TB, from, to string)
}

// Case is one store.
type Case struct {
	Name string
	Make func(t testing.TB, path string) // makes the store at path, where nothing is yet
	// Location is the text to open it by; nil means the path itself.
	Location func(path string) string
	// Want is how many findings of each class a check gives: exactly these. Empty is a pristine store.
	Want map[string]int
	// Policy is in the form of finding.ParsePolicy. Allow names irreversible actions; with any, undo is not tried.
	Policy []string
	Allow  []string
	// Renames says that raw records of this case are whole files that Write puts in place by rename: durable at once, and never
	// half there. Then only the crashes that can happen to such writes are tried, and a repair that is resumed may give other bytes than
	// one without a crash, because a file is built again.
	Renames bool
	// Leaves is what a check gives after the repair. NoRepair leaves repair out.
	Leaves   map[string]int
	NoRepair bool
}

// Run checks that a system keeps to the contract of package store, on every case.
func Run(t *testing.T, s Suite) {
	s.defaults()
	t.Run("classes", func(t *testing.T) { checkClasses(t, s.System) })
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := newPlace(t, &s, &c)
			t.Run("check", p.testCheck)
			if !c.NoRepair && len(c.Want) > 0 {
				t.Run("repair", p.testRepair)
				if len(c.Allow) == 0 {
					t.Run("crash", p.testCrash)
				}
			}
		})
	}
}

// RunCrashes runs only the crashes, on every case; Want, Leaves and NoRepair of the cases are not used. It is for many cases whose
// findings other tests look at. Every case must have something to repair.
func RunCrashes(t *testing.T, s Suite) {
	s.defaults()
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) { newPlace(t, &s, &c).testCrash(t) })
	}
}

func (s *Suite) defaults() {
	if s.Digest == nil {
		s.Digest = Digest
	}
	if s.Copy == nil {
		s.Copy = CopyTree
	}
}

// checkClasses looks at the table of classes.
func checkClasses(t *testing.T, sys store.System) {
	names := map[string]bool{}
	for _, c := range sys.Classes() {
		if !strings.HasPrefix(c.ID, sys.Name()+"/") {
			t.Errorf("%s: the id does not begin with %s/", c.ID, sys.Name())
		}
		for _, n := range append([]string{c.ID}, c.Aliases...) {
			if names[strings.ToLower(n)] {
				t.Errorf("%s: the name %s is used twice", c.ID, n)
			}
			names[strings.ToLower(n)] = true
		}
		if _, err := finding.ParseSeverity(string(c.Severity)); err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		if c.Title == "" || strings.HasSuffix(c.Title, ".") || c.Explain == "" || c.Shape == "" {
			t.Errorf("%s: title (without a final period), explanation and shape are needed", c.ID)
		}
		seen := map[finding.Action]bool{}
		for i, a := range c.Actions {
			if seen[a.Action] || a.Does == "" {
				t.Errorf("%s: action %q is listed twice or not explained", c.ID, a.Action)
			}
			seen[a.Action] = true
			if i == 0 && a.Irreversible {
				t.Errorf("%s: the default action %s is irreversible", c.ID, a.Action)
			}
		}
		for _, d := range c.DependsOn {
			if _, ok := sys.Classes().Lookup(d); !ok {
				t.Errorf("%s: depends on unknown class %s", c.ID, d)
			}
		}
	}
}

// place is a case made at a path, with a pristine copy beside it to start over from.
type place struct {
	suite *Suite
	c     *Case
	path  string // the store
	base  string // its copy
}

func newPlace(t *testing.T, s *Suite, c *Case) *place {
	dir := t.TempDir()
	p := &place{suite: s, c: c, path: filepath.Join(dir, "store"), base: filepath.Join(dir, "base")}
	c.Make(t, p.path)
	s.Copy(t, p.path, p.base)
	return p
}

func (p *place) digest(t testing.TB) Snapshot { return p.suite.Digest(t, p.path) }

// open opens the store and closes it at the end of the test at the latest.
func (p *place) open(t testing.TB) ([]store.Unit, func()) {
	t.Helper()
	text := p.path
	if p.c.Location != nil {
		text = p.c.Location(p.path)
	}
	loc, err := store.ParseLocation(text, []string{p.suite.System.Name()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := p.suite.System.Open(t.Context(), loc, p.suite.Options)
	if err != nil {
		t.Fatalf("open %s: %v", text, err)
	}
	units := st.Units()
	done := func() {
		if st == nil {
			return
		}
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		st = nil // a test opens a store very often; do not keep them all until its end
	}
	t.Cleanup(done)
	return units, done
}

// planners are the units as what repair needs; a unit that cannot be repaired fails the test.
func planners(t testing.TB, units []store.Unit) []store.Planner {
	t.Helper()
	out := make([]store.Planner, len(units))
	for i, u := range units {
		p, ok := u.(store.Planner)
		if !ok {
			t.Fatalf("unit %s cannot be repaired; set NoRepair", u.ID())
		}
		out[i] = p
	}
	return out
}

// check opens, checks and closes; findings are numbered through all units.
func (p *place) check(t testing.TB) []finding.Finding {
	t.Helper()
	units, done := p.open(t)
	defer done()
	return p.checkAll(t, units)
}

func (p *place) checkAll(t testing.TB, units []store.Unit) []finding.Finding {
	t.Helper()
	var all []finding.Finding
	for _, u := range units {
		base := len(all)
		for _, f := range Check(t, u, p.suite.System.Classes()...) {
			f.Seq += base
			if f.CausedBy != nil && *f.CausedBy > 0 {
				n := *f.CausedBy + base
				f.CausedBy = &n
			}
			all = append(all, f)
		}
	}
	return all
}

func classCounts(fs []finding.Finding) map[string]int {
	n := map[string]int{}
	for _, f := range fs {
		n[f.Class]++
	}
	return n
}

// expect compares findings with how many of each class there should be.
func expect(t testing.TB, when string, fs []finding.Finding, want map[string]int) {
	t.Helper()
	have := classCounts(fs)
	if maps.Equal(have, want) {
		return
	}
	var b strings.Builder
	for i, f := range fs {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(fs)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s %s: %s", f.Class, f.PathOr(f.Subject), f.Title)
	}
	t.Fatalf("%s: found %v, want %v%s", when, have, want, b.String())
}

// testCheck: the right findings, well formed and confirmed, and nothing touched.
func (p *place) testCheck(t *testing.T) {
	before := p.digest(t)
	if ok, err := p.suite.System.Recognize(p.path); p.c.Location == nil && (!ok || err != nil) {
		t.Errorf("not recognised: %v, %v", ok, err)
	}
	units, done := p.open(t)
	fs := p.checkAll(t, units)
	expect(t, "check", fs, p.c.Want)
	byID := map[string]store.Unit{}
	for _, u := range units {
		byID[u.ID()] = u
	}
	for i := range fs {
		f := &fs[i]
		checkFinding(t, p.suite.System.Classes(), f)
		u := byID[f.Unit]
		if u == nil {
			t.Fatalf("finding %d is of unknown unit %q", f.Seq, f.Unit)
		}
		if still, err := u.Confirm(t.Context(), f); !still || err != nil {
			t.Errorf("%s %s was just found and is not confirmed: %v, %v", f.Class, f.PathOr(f.Subject), still, err)
		}
	}
	done()
	if again := p.check(t); !maps.Equal(subjects(fs), subjects(again)) {
		t.Errorf("a second check found something else")
	}
	if p.suite.Resumes {
		p.testInterrupted(t, fs)
	}
	if p.digest(t) != before {
		t.Fatal("checking changed the store")
	}
}

// testInterrupted: a check that is stopped and resumed finds what an uninterrupted one found.
func (p *place) testInterrupted(t *testing.T, want []finding.Finding) {
	units, done := p.open(t)
	n := len(units)
	done()
	for _, stop := range []int{1, 3, 10} {
		var all []finding.Finding
		for i := range n {
			found, _ := CheckInterrupted(t, stop, func() (store.Unit, func()) {
				units, done := p.open(t)
				return units[i], done
			}, p.suite.System.Classes()...)
			all = append(all, found...)
		}
		if !maps.Equal(subjects(want), subjects(all)) {
			t.Errorf("stopped at report %d and resumed: found %v, want %v", stop, classCounts(all), classCounts(want))
		}
	}
}

func subjects(fs []finding.Finding) map[string]int {
	n := map[string]int{}
	for _, f := range fs {
		n[f.Class+" "+f.Subject+" "+f.PathOr("")]++
	}
	return n
}

// checkFinding looks at the form of one finding.
func checkFinding(t *testing.T, classes finding.Classes, f *finding.Finding) {
	t.Helper()
	name := f.Class + " " + f.PathOr(f.Subject)
	c, ok := classes.Lookup(f.Class)
	if !ok || c.ID != f.Class {
		t.Errorf("%s: no such class in the table", name)
		return
	}
	if f.Subject == "" || f.Title == "" || len(f.Evidence) == 0 {
		t.Errorf("%s: subject, title and evidence are needed", name)
	}
	if _, err := finding.ParseSeverity(string(f.Severity)); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, a := range f.Actions {
		if !c.Offers(a) && a != finding.Ignore && a != finding.Interact {
			t.Errorf("%s: offers %s, which is not an action of the class", name, a)
		}
	}
	if len(f.Actions) > 0 && f.Suggested != f.Actions[0] {
		t.Errorf("%s: suggests %q, the first action is %q", name, f.Suggested, f.Actions[0])
	}
	if d, ok := c.Doc(f.Suggested); ok && d.Irreversible {
		t.Errorf("%s: suggests %s, which cannot be undone", name, f.Suggested)
	}
	raw, err := json.Marshal(f)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var back finding.Finding
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	again, err := json.Marshal(&back)
	if err != nil || string(again) != string(raw) || !reflect.DeepEqual(back.Evidence, slices.Clone(f.Evidence)) {
		t.Errorf("%s: changed on the way through JSON: %s", name, raw)
	}
}

// run is one run's directory and how to work on it.
type run struct {
	p    *place
	dir  string
	plan *repair.Plan
}

func (p *place) policy(t testing.TB) finding.Policy {
	t.Helper()
	pol, err := finding.ParsePolicy(p.c.Policy, p.suite.System.Classes())
	if err != nil {
		t.Fatal(err)
	}
	return pol
}
