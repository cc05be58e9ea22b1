package flux_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/fluxlab"
)

// golden is what testdata/golden/NAME/spec.json says: how the store is made and injured. The findings that a check must
// then have are in expect.1, one JSON object a line; those of a second check after the repair, normally none, in expect.2.
type golden struct {
	Make     fluxlab.Options `json:"make"`
	Seed     uint64          `json:"seed"`
	Injuries []lab.Injury    `json:"injuries"`
	// Stays says why the store is not to be repaired.
	Stays string `json:"stays,omitempty"`
}

// TestGolden makes the stores that the project carries as recipes, and holds check, repair, second check and undo against
// the expected lines. With FETTLE_GOLDEN=write it writes the expected lines from the truth of the lab, never from fettle.
func TestGolden(t *testing.T) {
	specs, err := filepath.Glob("testdata/golden/*/spec.json")
	if err != nil || len(specs) == 0 {
		t.Fatalf("no golden stores: %v", err)
	}
	for _, spec := range specs {
		t.Run(filepath.Base(filepath.Dir(spec)), func(t *testing.T) {
			t.Parallel()
			goldenStore(t, filepath.Dir(spec))
		})
	}
}

// TestGoldenCoversClasses fails when a class of damage has no golden store.
func TestGoldenCoversClasses(t *testing.T) {
	names, err := filepath.Glob("testdata/golden/*/expect.1")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, n := range names {
		for _, e := range expected(t, n) {
			have[e.Class] = true
		}
	}
	for _, c := range flux.Classes {
		if !have[c.ID] {
			t.Errorf("no golden store has a finding of class %s", c.ID)
		}
	}
}

func goldenStore(t *testing.T, dir string) {
	ctx := context.Background()
	var g golden
	raw, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "content.sqlite")
	if _, err := fluxlab.Make(ctx, path, g.Make); err != nil {
		t.Fatal(err)
	}
	truth, err := fluxlab.Damage(ctx, path, g.Seed, g.Injuries)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("FETTLE_GOLDEN") == "write" {
		write(t, filepath.Join(dir, "expect.1"), truth.Expected)
	}
	want := expected(t, filepath.Join(dir, "expect.1"))
	if c := lab.Compare(&lab.Truth{Expected: want}, truth.Expected); !c.Good() {
		t.Fatalf("the lab does not make the store that expect.1 is about: missing %v, new %v", c.Missing, c.Wrong)
	}
	before := files(t, path)
	run, found := checked(t, ctx, path)
	c := lab.Compare(&lab.Truth{Expected: want, Allowed: truth.Allowed}, found)
	for _, e := range c.Missing {
		t.Errorf("missed: %q (%s)", e.Line(), e.Note)
	}
	for _, e := range c.Wrong {
		t.Errorf("false: %q (%s)", e.Line(), e.Note)
	}
	same(t, "the check", before, files(t, path))
	if g.Stays != "" || len(found) == 0 {
		return
	}
	repaired(t, ctx, path, run)
	_, left := checked(t, ctx, path)
	if c := lab.Compare(&lab.Truth{Expected: expected(t, filepath.Join(dir, "expect.2"))}, left); !c.Good() {
		t.Errorf("a second check is not as in expect.2: missing %v, new %v", c.Missing, c.Wrong)
	}
	undone(t, ctx, path, run)
	same(t, "undo", before, files(t, path))
}

// expected reads expect.N.
func expected(t *testing.T, name string) (out []lab.Expect) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		if l == "" {
			continue
		}
		var e lab.Expect
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%s: %q: %v", name, l, err)
		}
		out = append(out, e)
	}
	return out
}

func write(t *testing.T, name string, list []lab.Expect) {
	t.Helper()
	var b strings.Builder
	for _, e := range list {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(raw, '\n'))
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files reads everything that belongs to a store.
func files(t *testing.T, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "content.sqlite*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(n)] = string(b)
	}
	return out
}

func same(t *testing.T, who string, before, after map[string]string) {
	t.Helper()
	for n := range after {
		if _, ok := before[n]; !ok {
			t.Errorf("%s left a file %s", who, n)
		}
	}
	for n, b := range before {
		if after[n] != b {
			t.Errorf("after %s %s is not as it was (%d bytes, %d before)", who, n, len(after[n]), len(b))
		}
	}
}

func open(t *testing.T, ctx context.Context, path string) (store.Store, []store.Planner) {
	t.Helper()
	st, err := flux.System{}.Open(ctx, store.Location{System: "flux", Paths: []string{path}, Text: path}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var units []store.Planner
	for _, u := range st.Units() {
		p, ok := u.(store.Planner)
		if !ok {
			t.Fatalf("%s cannot be repaired", u.ID())
		}
		units = append(units, p)
	}
	return st, units
}

// checked runs a check and returns the findings that count.
func checked(t *testing.T, ctx context.Context, path string) (*runs.Run, []lab.Expect) {
	t.Helper()
	st, _ := open(t, ctx, path)
	defer st.Close()
	dir, err := runs.Open(filepath.Join(filepath.Dir(path), "state"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := dir.New(runs.Spec{Store: path, System: "flux", Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	var out []lab.Expect
	_, err = check.Run(ctx, check.Config{Store: st, Classes: flux.Classes, Run: run, OnFinding: func(f finding.Finding) {
		if f.Counts() {
			out = append(out, fluxlab.Observe(&f))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return run, out
}

// repaired plans by default actions and applies the plan.
func repaired(t *testing.T, ctx context.Context, path string, run *runs.Run) {
	t.Helper()
	st, units := open(t, ctx, path)
	defer st.Close()
	work := repair.WorkDirs(run.Path())
	plan, err := repair.Make(ctx, repair.MakeConfig{Run: run.ID(), Store: path, Units: units, Findings: run.Findings(), WorkDir: work})
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if err := plan.Save(run.File(repair.PlanFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := repair.Apply(ctx, repair.ApplyConfig{Plan: plan, Units: units, Dir: run.Path(), WorkDir: work, MaxLoss: repair.NewThreshold(100, 0)}); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func undone(t *testing.T, ctx context.Context, path string, run *runs.Run) {
	t.Helper()
	st, units := open(t, ctx, path)
	defer st.Close()
	if _, err := repair.Undo(ctx, repair.UndoConfig{Units: units, Dir: run.Path(), WorkDir: repair.WorkDirs(run.Path())}); err != nil {
		t.Fatalf("undo: %v", err)
	}
}
