package lustrelab_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/systems/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// bereaved are the classes of findings that the destruction of a directory makes beside those of a scenario.
var bereaved = []string{"lustre/orphan-object", "lustre/lost-name", "lustre/agent-stale"}

// silent are tests whose damage the check does not tell as the table says: nothing is said of a directory that has lost its LMV and
// was used since.
var silent = []string{"31d"}

// tryScenario makes the damage of a scenario in dir and checks it.
func tryScenario(t *testing.T, s lustrelab.Scenario, dir string) {
	t.Helper()
	truth, err := s.Make(t.Context(), dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	kit := lustrelab.Kit(lustre.System{}, lustrelab.Options{})
	counts, info := checked(t, kit, dir)
	cmp := lab.Compare(truth, counts)
	if slices.Contains(silent, s.Test) {
		if cmp.Missed == 0 {
			t.Error("it is told now: take it from the list")
		}
		return
	}
	for _, e := range cmp.Missing {
		t.Errorf("missed %s (%s)", e.Line(), e.Note)
	}
	for _, e := range cmp.Wrong {
		t.Errorf("false %s (%s)", e.Line(), e.Note)
	}
	rest := slices.Concat(counts, info)
	for _, want := range s.Finds {
		i := slices.IndexFunc(rest, func(e lab.Expect) bool { return e.Class == want.Class })
		if i < 0 {
			t.Errorf("no %s", want.Class)
			continue
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, e := range rest {
		allowed := slices.ContainsFunc(truth.Allowed, func(a lab.Allowed) bool { return a.Class == e.Class && a.Subject == e.Subject })
		if !allowed && !slices.Contains(bereaved, e.Class) {
			t.Errorf("also %s", e.Line())
		}
	}
}

// The scenarios of LFSCK's tests on a file system that was made: the damage is found as the table says.
func TestSanity(t *testing.T) {
	base := filepath.Join(t.TempDir(), "fs")
	_, err := lustrelab.Make(t.Context(), base, lustrelab.Options{Files: 600, Dirs: 120, Striped: 12, Remote: 200, HardLinks: 100, InodeSize: 1024, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range lustrelab.Sanity() {
		if seen[s.Test] || s.Title == "" || s.LFSCK == "" || s.Ours == "" {
			t.Errorf("%+v", s)
		}
		seen[s.Test] = true
		t.Run(s.Test, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "fs")
			if err := lab.CopyStore(base, dir); err != nil {
				t.Fatal(err)
			}
			tryScenario(t, s, dir)
		})
	}
}

// The same on a file system that a real server wrote.
func TestSanityReal(t *testing.T) {
	base := t.TempDir()
	for i, path := range lustrelab.RealImages(t, "lustre-2.10.0-dne2/mdt0000.img.zst", "lustre-2.10.0-dne2/mdt0001.img.zst") {
		if err := os.Rename(path, filepath.Join(base, []string{"mdt0.img", "mdt1.img"}[i])); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range lustrelab.Sanity() {
		t.Run(s.Test, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "fs")
			if err := lab.CopyStore(base, dir); err != nil {
				t.Fatal(err)
			}
			tryScenario(t, s, dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
}
