package devmapper

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/realctr"
)

func TestMain(m *testing.M) {
	realctr.Main()
	os.Exit(m.Run())
}

// bench is a set of files on which a test works.
type bench struct {
	t    testing.TB
	dir  string // the files
	run  string // for the plan and journal
	set  []string
	plan *repair.Plan
}

func (b *bench) check() []finding.Finding {
	b.t.Helper()
	fs := storetest.Check(b.t, openSet(b.t, b.dir, b.set...), Classes...)
	return fs
}

// repaired checks, plans by policy and applies; it returns what is left, infos left out.
func (b *bench) repaired(policy ...string) []string {
	b.t.Helper()
	fs := b.check()
	pol, err := finding.ParsePolicy(policy, Classes)
	if err != nil {
		b.t.Fatal(err)
	}
	u := openSet(b.t, b.dir, b.set...)
	b.plan, err = repair.Make(b.t.Context(), repair.MakeConfig{Run: "test", Store: b.dir, Units: []store.Planner{u}, Findings: repair.Slice(fs),
		Policy: pol, WorkDir: repair.WorkDirs(b.run)})
	if err != nil {
		b.t.Fatalf("plan: %v", err)
	}
	_, err = repair.Apply(b.t.Context(), repair.ApplyConfig{Plan: b.plan, Units: []store.Planner{openSet(b.t, b.dir, b.set...)}, Dir: b.run, MaxLoss: repair.NewThreshold(100, 1<<62)})
	if err != nil {
		b.t.Fatalf("apply: %v", err)
	}
	left := []string{}
	for _, f := range b.check() {
		if f.Counts() {
			left = append(left, brief(&f))
		}
	}
	return left
}

func (b *bench) undo() {
	b.t.Helper()
	if _, err := repair.Undo(b.t.Context(), repair.UndoConfig{Units: []store.Planner{openSet(b.t, b.dir, b.set...)}, Dir: b.run}); err != nil {
		b.t.Fatalf("undo: %v", err)
	}
}

// onRequest are the policies for sets whose damage is only reported by default.
var onRequest = map[string][]string{
	"damage/d01-db-device-not-in-pool":            {"devmapper/device-in-db-not-in-pool=mark-faulty"},
	"damage/d12-metastore-parent-missing":         {"recreate"},
	"damage/d21-metadb-snapshot-not-in-metastore": {"recreate"},
	"damage/d32-device-json-bad":                  {"recreate"},
	"damage/d35-needs-check":                      {"devmapper/needs-check=rewrite"},
	"damage/d36-thin-crc-superblock":              {"rebuild"},
	"damage/d37-thin-crc-mapping-leaf":            {"rebuild"},
	"damage/d39-thin-data-refcount-leak":          {"rebuild"},
	"damage/d40-thin-data-refcount-low":           {"rebuild"},
	"damage/d42-thin-metadata-refcount-leak":      {"rebuild"},
	"damage/d43-thin-details-missing":             {"rebuild"},
	"real/c14-pool_db-rolled-back":                {"recreate"},
	"real/c14-pool_db-rolled-back/after-restart":  {"recreate"},
}

// stays are sets for which there is nothing that a repair may do.
var stays = map[string]string{
	"damage/d15-duplicate-device-id":           "a person has to decide",
	"damage/d28-metadb-duplicate-backend-name": "a person has to decide",
	"damage/d29-metastore-duplicate-id":        "a person has to decide",
	"damage/d45-pool-out-of-data-space":        "the data device has to be extended",
	"damage/d46-pool-replaced-empty":           "the wrong pool",
	"real/c11-out-of-data-space":               "the data device has to be extended",
	"real/c11-out-of-data-space/after-restart": "the data device has to be extended",
}

// settings are what a person has to say for some sets.
var settings = map[string][]string{"damage/d36-thin-crc-superblock": {SetBlockSize, "128", SetBlocks, "65536"}}

// dead are containers whose content was lost before the repair: containerd works without them.
var dead = map[string]bool{"damage/d01-db-device-not-in-pool": true}

// lost are the findings that stay where content was lost: a check must not call that clean.
var lost = map[string][]string{"damage/d37-thin-crc-mapping-leaf": {"thin-device-empty containerd-pool-snap-10"}}

// TestRealRepairs repairs every damaged set: a second check is clean, thin_check agrees, containerd's own snapshotter works on it, and an
// undo gives back identical files.
func TestRealRepairs(t *testing.T) {
	root := real(t)
	var variants []string
	for _, pattern := range []string{"damage/*", "real/*", "real/*/after-restart"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range dirs {
			v, _ := filepath.Rel(root, d)
			variants = append(variants, v)
		}
	}
	for _, v := range variants {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, dir: layOut(t, root, v), run: t.TempDir(), set: settings[v]}
			before := storetest.Digest(t, b.dir)
			left := b.repaired(onRequest[v]...)
			if why := stays[v]; why != "" {
				if len(left) == 0 || storetest.Digest(t, b.dir) != before {
					t.Errorf("something was done although %s: left %q", why, left)
				}
				return
			}
			if !slices.Equal(left, append([]string{}, lost[v]...)) {
				t.Errorf("left %q", left)
			}
			thinCheck(t, b.dir)
			if !testing.Short() {
				works(t, b.dir, dead[v])
			}
			if len(b.plan.Units) > 0 && len(b.plan.Units[0].Steps) > 0 {
				b.undo()
			}
			if storetest.Digest(t, b.dir).Content != before.Content {
				t.Error("undo did not give back identical files")
			}
		})
	}
}

// thinCheck has the kernel's own tool look at the thin metadata, where it is installed.
func thinCheck(t testing.TB, dir string) {
	t.Helper()
	tool, err := exec.LookPath("thin_check")
	if err != nil {
		return
	}
	if out, err := exec.Command(tool, filepath.Join(dir, "thin.meta")).CombinedOutput(); err != nil {
		t.Errorf("thin_check: %v\n%s", err, out)
	}
}

// works has containerd's unmodified snapshotter start on a copy of the set and do its daily work.
func works(t testing.TB, dir string, lossy bool) {
	t.Helper()
	h, err := realctr.Try(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Err(); err != nil {
		t.Errorf("containerd: %v", err)
	}
	if len(h.Dead) > 0 && !lossy {
		t.Errorf("containers that cannot be mounted: %q", h.Dead)
	}
}

// TestScenarios crashes containerd's snapshotter at every point where the real one was crashed, repairs what it leaves, and has it go on.
func TestScenarios(t *testing.T) {
	ask := map[string][]string{"c14": {"recreate"}, "c17": {"devmapper/device-in-db-not-in-pool=mark-faulty"}}
	for _, s := range realctr.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			b := &bench{t: t, dir: filepath.Join(tmp, "files"), run: t.TempDir()}
			if _, err := s.Run(context.Background(), b.dir, filepath.Join(tmp, "work")); err != nil {
				t.Fatal(err)
			}
			before := storetest.Digest(t, b.dir)
			short, _, _ := strings.Cut(s.Name, "-")
			if left := b.repaired(ask[short]...); len(left) > 0 {
				t.Errorf("left %q", left)
			}
			works(t, b.dir, short == "c17")
			if slices.ContainsFunc(b.plan.Units, func(u repair.Unit) bool { return len(u.Steps) > 0 }) {
				b.undo()
			}
			if storetest.Digest(t, b.dir).Content != before.Content {
				t.Error("undo did not give back identical files")
			}
		})
	}
}
