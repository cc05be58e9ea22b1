package repair_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// world is a toy store, the files its journals lie in, and the power both depend on.
type world struct {
	power *storetest.Power
	files *storetest.Files
	units []*storetest.MemUnit
}

// fatalT is what testing.T and rapid.T have in common.
type fatalT interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(units map[string]map[string]string, pages int) *world {
	w := &world{power: &storetest.Power{}}
	w.files = storetest.NewFiles(w.power)
	for _, name := range []string{"alpha", "beta"} {
		if recs, ok := units[name]; ok {
			w.units = append(w.units, storetest.NewMemUnit(name, w.power, pages, recs))
		}
	}
	return w
}

// damaged has every class of damage, in two units, on few pages so that steps share records.
func damaged() *world {
	return newWorld(map[string]map[string]string{
		"alpha": {
			"obj/a": storetest.Object("one"), "obj/b": "00000000:wrong", "obj/c": storetest.Object("three"), "obj/d": "torn",
			"ref/a": "a", "ref/b": "b", "ref/x": "gone", "ref/y": "gone too", "count": "6",
		},
		"beta": {"obj/a": "bad", "ref/z": "nowhere", "count": "1"},
	}, 3)
}

func (w *world) clone() *world {
	c := &world{power: &storetest.Power{}}
	c.files = w.files.Clone(c.power)
	for _, u := range w.units {
		c.units = append(c.units, u.Clone(c.power))
	}
	return c
}

func (w *world) planners() []store.Planner {
	out := make([]store.Planner, len(w.units))
	for i, u := range w.units {
		out[i] = u
	}
	return out
}

func (w *world) snapshot() map[string]store.Bytes {
	all := map[string]store.Bytes{}
	for _, u := range w.units {
		for a, b := range u.Disk.Snapshot() {
			all[u.Name+"/"+a] = b
		}
	}
	return all
}

// check gives the findings of all units, numbered through.
func (w *world) check(t testing.TB) []finding.Finding {
	t.Helper()
	var all []finding.Finding
	for _, u := range w.units {
		for _, f := range storetest.Check(t, u) {
			f.Seq = len(all) + 1
			all = append(all, f)
		}
	}
	return all
}

func noWork(string) (string, error) { return "", nil }

func (w *world) plan(t testing.TB, p finding.Policy) *repair.Plan {
	t.Helper()
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "r1", Store: "mem:world", Units: w.planners(),
		Findings: repair.Slice(w.check(t)), Policy: p, WorkDir: noWork})
	if err != nil {
		t.Fatalf("make plan: %v", err)
	}
	return plan
}

func (w *world) config(p *repair.Plan) repair.ApplyConfig {
	return repair.ApplyConfig{Plan: p, Units: w.planners(), Dir: "run", WorkDir: noWork, Files: w.files}
}

func (w *world) apply(p *repair.Plan) (*repair.Result, error) {
	return repair.Apply(context.Background(), w.config(p))
}

func (w *world) resume(p *repair.Plan) (*repair.Result, error) {
	return repair.Resume(context.Background(), w.config(p))
}

func (w *world) undo(findings ...int) (*repair.UndoResult, error) {
	return repair.Undo(context.Background(), repair.UndoConfig{Units: w.planners(), Dir: "run", Findings: findings, WorkDir: noWork, Files: w.files})
}

func (w *world) state(t fatalT, p *repair.Plan) repair.State {
	t.Helper()
	st, err := repair.StateIn(w.files, "run", p)
	if err != nil {
		t.Fatalf("state: %v", err)
	}
	return st.State
}

// reboot ends a crash; see storetest.Disk.Reboot.
func (w *world) reboot(fate func() storetest.Fate) {
	w.power.FailAt(0, storetest.Kill)
	w.files.Reboot(fate)
	for _, u := range w.units {
		u.Disk.Reboot(fate)
	}
}

func same(a, b map[string]store.Bytes) bool {
	return maps.EqualFunc(a, b, func(x, y store.Bytes) bool { return string(x) == string(y) })
}

// outage is one way in which things can end.
type outage struct {
	name string
	mode storetest.Mode
	fate func() storetest.Fate // nil: only the process dies
}

func outages(seed uint64, random int) []outage {
	always := func(f storetest.Fate) func() storetest.Fate { return func() storetest.Fate { return f } }
	all := []outage{
		{"killed", storetest.Kill, nil},
		{"killed within a write", storetest.Tear, nil},
		{"panic", storetest.KillPanic, nil},
		{"power lost, unsynced lost", storetest.Kill, always(storetest.Lost)},
		{"power lost, unsynced kept", storetest.Tear, always(storetest.Kept)},
		{"power lost, unsynced torn", storetest.Tear, always(storetest.Half)},
	}
	for i := range random {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all = append(all, outage{fmt.Sprintf("power lost, random %d", i), storetest.Tear, func() storetest.Fate { return storetest.Fate(r.IntN(3)) }})
	}
	return all
}

// crash runs f with the power failing at its n-th operation, reboots, and tells whether the power failed at all.
func (w *world) crash(t fatalT, n int, o outage, f func() error) bool {
	t.Helper()
	w.power.FailAt(n, o.mode)
	err := storetest.Survive(f)
	if !w.power.Out() {
		if err != nil {
			t.Fatalf("%s at operation %d: not reached, but %v", o.name, n, err)
		}
		w.power.FailAt(0, storetest.Kill)
		return false
	}
	if !errors.Is(err, storetest.ErrCrash) {
		t.Fatalf("%s at operation %d: error %v does not say so", o.name, n, err)
	}
	w.reboot(o.fate)
	return true
}

// mustUndo takes everything back, and accepts "nothing to undo" only where nothing was done.
func (w *world) mustUndo(t fatalT, original map[string]store.Bytes, where string) {
	t.Helper()
	untouched := same(w.snapshot(), original)
	if _, err := w.undo(); err != nil && !(untouched && errors.Is(err, repair.ErrNothingToUndo)) {
		t.Fatalf("%s: undo: %v", where, err)
	}
	if !same(w.snapshot(), original) {
		t.Fatalf("%s: undo did not give the original bytes", where)
	}
}
