package dmlab_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper"
	"fettle/internal/systems/devmapper/dmlab"
	"fettle/internal/systems/devmapper/realctr"
)

// TestRepair repairs sets by default actions. Where that must lead to a clean check it does, and containerd works with the
// result; undo gives back every byte in any case.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	kit := dmlab.Kit(devmapper.System{}, dmlab.Options{Images: 3, Layers: 4, Containers: 16})
	base := filepath.Join(t.TempDir(), "set")
	if err := kit.Make(ctx, base, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range kit.Cases() {
		if c.Name == "healthy" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			w := &workshop{t: t, kit: kit, dir: filepath.Join(t.TempDir(), "set")}
			if err := os.CopyFS(w.dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			truth, err := kit.Damage(ctx, w.dir, 1, c.Injuries)
			if err != nil {
				t.Fatal(err)
			}
			before := w.bytes()
			run := w.check()
			if repaired := w.repair(run); !repaired {
				if truth.Unrepairable == "" && len(truth.Expected) > 0 {
					t.Error("nothing was repaired")
				}
				return
			}
			if left, _ := checked(t, kit, w.dir); truth.Unrepairable == "" {
				for _, e := range left {
					t.Errorf("left: %s", e.Line())
				}
				if err := realctr.Works(ctx, w.dir); err != nil {
					t.Errorf("containerd says: %v", err)
				}
			} else if len(left) > len(truth.Expected)+len(truth.Allowed) {
				t.Errorf("%d findings are left of %d", len(left), len(truth.Expected))
			}
			w.undo(run)
			for name, b := range before {
				if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, b) {
					t.Errorf("undo: %s is not as it was (%v)", filepath.Base(name), err)
				}
			}
		})
	}
}

// workshop is a set under repair.
type workshop struct {
	t   *testing.T
	kit *lab.Kit
	dir string
}

func (w *workshop) open() (store.Store, []store.Planner) {
	w.t.Helper()
	st, err := w.kit.System.Open(context.Background(), store.Location{System: w.kit.System.Name(), Paths: []string{w.dir}, Text: w.dir}, store.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []store.Planner
	for _, u := range st.Units() {
		if p, ok := u.(store.Planner); ok {
			out = append(out, p)
		}
	}
	return st, out
}

func (w *workshop) bytes() map[string][]byte {
	out := map[string][]byte{}
	for _, name := range w.kit.Files(w.dir) {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

func (w *workshop) check() *runs.Run {
	run, _, _ := checkedRun(w.t, w.kit, w.dir)
	return run
}

// repair plans and applies; false when there is nothing to do by default.
func (w *workshop) repair(run *runs.Run) bool {
	ctx := context.Background()
	st, units := w.open()
	defer st.Close()
	work := repair.WorkDirs(run.Path())
	plan, err := repair.Make(ctx, repair.MakeConfig{Run: run.ID(), Store: w.dir, Units: units, Findings: run.Findings(), WorkDir: work})
	if err != nil {
		w.t.Fatal(err)
	}
	if plan.Steps() == 0 {
		return false
	}
	if err := plan.Save(run.File(repair.PlanFile)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := repair.Apply(ctx, repair.ApplyConfig{Plan: plan, Units: units, Dir: run.Path(), WorkDir: work, MaxLoss: repair.NewThreshold(100, 0)}); err != nil {
		w.t.Fatal(err)
	}
	return true
}

func (w *workshop) undo(run *runs.Run) {
	st, units := w.open()
	defer st.Close()
	if _, err := repair.Undo(context.Background(), repair.UndoConfig{Units: units, Dir: run.Path(), WorkDir: repair.WorkDirs(run.Path())}); err != nil {
		w.t.Fatal(err)
	}
}
