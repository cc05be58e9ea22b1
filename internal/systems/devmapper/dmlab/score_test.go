package dmlab_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper"
	"fettle/internal/systems/devmapper/dmlab"
)

// TestScore checks a set injured by each recipe, and by several together: everything is found, and nothing else is reported.
func TestScore(t *testing.T) {
	ctx := context.Background()
	kit := dmlab.Kit(devmapper.System{}, dmlab.Options{Images: 6, Layers: 5, Containers: 60})
	base := filepath.Join(t.TempDir(), "set")
	if err := kit.Make(ctx, base, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range kit.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				dir := filepath.Join(t.TempDir(), "set")
				if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
					t.Fatal(err)
				}
				truth, err := kit.Damage(ctx, dir, seed, c.Injuries)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range truth.Done {
					if d.Made() == 0 && len(c.Injuries) == 1 {
						t.Errorf("seed %d: no injury of %s", seed, d.Class)
					}
				}
				counts, info := checked(t, kit, dir)
				cmp := lab.Compare(truth, counts)
				for _, e := range cmp.Missing {
					t.Errorf("seed %d: missed %s (%s)", seed, e.Line(), e.Note)
				}
				for _, e := range cmp.Wrong {
					t.Errorf("seed %d: false %s (%s)", seed, e.Line(), e.Note)
				}
				for _, l := range strings.Split(truth.Facts["info"], "\n") {
					if l != "" && !slices.ContainsFunc(info, func(e lab.Expect) bool { return e.Line() == l }) {
						t.Errorf("seed %d: not told: %s", seed, l)
					}
				}
			}
		})
	}
}

// checked runs a check and gives the findings that count, and those that are worth knowing.
func checked(t *testing.T, kit *lab.Kit, dir string) (counts, info []lab.Expect) {
	t.Helper()
	_, counts, info = checkedRun(t, kit, dir)
	return counts, info
}

func checkedRun(t *testing.T, kit *lab.Kit, dir string) (run *runs.Run, counts, info []lab.Expect) {
	t.Helper()
	ctx := context.Background()
	st, err := kit.System.Open(ctx, store.Location{System: kit.System.Name(), Paths: []string{dir}, Text: dir}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	state, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run, err = state.New(runs.Spec{Store: dir, System: kit.System.Name(), Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = check.Run(ctx, check.Config{Store: st, Classes: kit.System.Classes(), Run: run, OnFinding: func(f finding.Finding) {
		if f.Counts() {
			counts = append(counts, kit.Observe(&f))
		} else {
			info = append(info, kit.Observe(&f))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return run, counts, info
}

// TestClasses holds the names in the recipes against the table of classes.
func TestClasses(t *testing.T) {
	for _, r := range dmlab.Recipes() {
		if !slices.ContainsFunc(devmapper.Classes, func(c finding.Class) bool { return c.ID == r.Class }) {
			t.Errorf("recipe %s is named after no class", r.Class)
		}
	}
}
