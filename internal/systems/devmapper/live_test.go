package devmapper

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/fakedm"
	"fettle/internal/systems/devmapper/realctr"
)

// liveSet crashes containerd on a fake pool that stays active, and gives the settings with which the set is opened.
func liveSet(t *testing.T, scenario string) (m *realctr.Machine, dir string, set []string) {
	t.Helper()
	tmp := t.TempDir()
	s, ok := realctr.ByName(scenario)
	if !ok {
		t.Fatalf("no scenario %s", scenario)
	}
	dir = filepath.Join(tmp, "files")
	m, err := s.Run(t.Context(), dir, filepath.Join(tmp, "work"))
	if err != nil {
		t.Fatal(err)
	}
	tmeta := filepath.Join(tmp, "tmeta")
	if err := os.Rename(filepath.Join(dir, "thin.meta"), tmeta); err != nil {
		t.Fatal(err)
	}
	if err := fakedm.Edit(m.State(), func(s *fakedm.State) error { s.Pool(m.Pool).Metadata = tmeta; return nil }); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(tmp, "work", "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(fakedm.Env, m.State())
	t.Setenv("FETTLE_STATE_DIR", filepath.Join(tmp, "state"))
	return m, dir, []string{SetLive, "yes", SetPool, m.Pool}
}

// TestLiveDeleteCutOff deletes a left-over device of a live pool and cuts the repair off before every write and sync. It can be resumed from each
// point, also from between the deletion and what follows it, and containerd then works.
func TestLiveDeleteCutOff(t *testing.T) {
	const class = BlocksNextID
	for n, over := 1, false; !over; n++ {
		m, dir, set := liveSet(t, "c04")
		run := t.TempDir()
		open := func() store.Planner { return openSet(t, dir, set...) }
		fs := storetest.Check(t, openSet(t, dir, set...), Classes...)
		pol, err := finding.ParsePolicy([]string{class + "=discard"}, Classes)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: dir, Units: []store.Planner{open()}, Findings: repair.Slice(fs), Policy: pol, WorkDir: repair.WorkDirs(run)})
		if err != nil {
			t.Fatal(err)
		}
		if steps := plan.Units[0].Steps; len(steps) != 3 || !steps[1].Irreversible || steps[0].Irreversible || steps[2].Irreversible {
			t.Fatalf("steps %+v", steps)
		}
		config := func(u store.Planner) repair.ApplyConfig {
			return repair.ApplyConfig{Plan: plan, Units: []store.Planner{u}, Dir: run, MaxLoss: repair.NewThreshold(100, 1<<62), AllowIrreversible: []string{class + "/discard"}}
		}
		power := &storetest.Power{}
		power.FailAt(n, storetest.Kill)
		_, err = repair.Apply(t.Context(), config(&storetest.Crashing{Planner: open(), Power: power}))
		switch {
		case err == nil:
			over = true
		case !errors.Is(err, storetest.ErrCrash):
			t.Fatalf("cut off at %d: %v", n, err)
		default:
			if _, err := repair.Resume(t.Context(), config(open())); err != nil {
				t.Fatalf("resumed after %d: %v", n, err)
			}
		}
		for _, f := range storetest.Check(t, openSet(t, dir, set...), Classes...) {
			if f.Counts() {
				t.Errorf("cut off at %d: left %s", n, brief(&f))
			}
		}
		if err := fakedm.Edit(m.State(), func(s *fakedm.State) error {
			if s.Pool(m.Pool).Thin(6) != nil {
				t.Errorf("cut off at %d: thin device 6 is still there", n)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r, err := m.Run(t.Context(), "prepare,newbase,", "prepare,c3,"+realctr.Layer(3), "remove,c3", "gc")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Err(); err != nil {
			t.Errorf("cut off at %d: containerd: %v", n, err)
		}
		if over && n < 4 {
			t.Errorf("there were only %d operations", n-1)
		}
	}
}
