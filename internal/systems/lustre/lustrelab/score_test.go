package lustrelab_test

import (
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
	"fettle/internal/systems/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// TestScore checks a file system injured by each recipe, and by several together: everything is found, and nothing else is reported.
func TestScore(t *testing.T) {
	kit := lustrelab.Kit(lustre.System{}, lustrelab.Options{MDTs: 3, Files: 700, Dirs: 100, Striped: 24, HardLinks: 200, Remote: 200, MetadataCsum: true, Extents: true})
	base := filepath.Join(t.TempDir(), "fs")
	if err := kit.Make(t.Context(), base, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range kit.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "fs")
			if err := lab.CopyStore(base, dir); err != nil {
				t.Fatal(err)
			}
			truth, err := kit.Damage(t.Context(), dir, 1, c.Injuries)
			if err != nil {
				t.Fatal(err)
			}
			counts, info := checked(t, kit, dir)
			for _, l := range strings.Split(truth.Facts["info"], "\n") {
				if l != "" && !slices.ContainsFunc(info, func(e lab.Expect) bool { return e.Line() == l }) {
					t.Errorf("not told: %s", l)
				}
			}
			cmp := lab.Compare(truth, counts)
			for _, e := range cmp.Missing {
				t.Errorf("missed %s (%s)", e.Line(), e.Note)
			}
			for _, e := range cmp.Wrong {
				t.Errorf("false %s (%s)", e.Line(), e.Note)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// checked runs a check and gives the findings that count, and those that are worth knowing.
func checked(t *testing.T, kit *lab.Kit, dir string) (counts, info []lab.Expect) {
	t.Helper()
	paths, err := kit.Paths(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := kit.System.Open(t.Context(), store.Location{System: "lustre", Paths: paths, Text: dir}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	state, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run, err := state.New(runs.Spec{Store: dir, System: "lustre", Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	_, err = check.Run(t.Context(), check.Config{Store: st, Classes: kit.System.Classes(), Run: run, OnFinding: func(f finding.Finding) {
		if f.Counts() {
			counts = append(counts, kit.Observe(&f))
		} else {
			info = append(info, kit.Observe(&f))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return counts, info
}
