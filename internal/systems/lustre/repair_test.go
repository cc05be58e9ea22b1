package lustre

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// mender repairs images.
type mender struct {
	t     testing.TB
	paths []string
	run   string
	plan  *repair.Plan
}

func (m *mender) unit() store.Planner { return openPaths(m.t, nil, m.paths...).(store.Planner) }

// make checks and plans.
func (m *mender) make(policy ...string) []finding.Finding {
	m.t.Helper()
	pol, err := finding.ParsePolicy(policy, Classes)
	if err != nil {
		m.t.Fatal(err)
	}
	fs := checkPaths(m.t, nil, m.paths...)
	m.plan, err = repair.Make(m.t.Context(), repair.MakeConfig{Run: "test", Store: "images", Units: []store.Planner{m.unit()}, Findings: repair.Slice(fs),
		Policy: pol, WorkDir: repair.WorkDirs(m.run)})
	if err != nil {
		m.t.Fatalf("plan: %v", err)
	}
	return fs
}

func (m *mender) apply() {
	m.t.Helper()
	_, err := repair.Apply(m.t.Context(), repair.ApplyConfig{Plan: m.plan, Units: []store.Planner{m.unit()}, Dir: m.run, MaxLoss: repair.NewThreshold(100, 1<<62)})
	if err != nil {
		m.t.Fatalf("apply: %v", err)
	}
}

func (m *mender) undo() {
	m.t.Helper()
	if _, err := repair.Undo(m.t.Context(), repair.UndoConfig{Units: []store.Planner{m.unit()}, Dir: m.run}); err != nil {
		m.t.Fatalf("undo: %v", err)
	}
}

// tell shows the plan.
func (m *mender) tell() {
	var b bytes.Buffer
	if err := m.plan.WriteDiff(&b); err != nil {
		m.t.Error(err)
	}
	m.t.Log(b.String())
	for _, u := range m.plan.Units {
		for _, o := range u.Outcomes {
			m.t.Logf("%d %s: %s", o.Seq, o.Action, o.Result)
		}
	}
}

func sums(t testing.TB, paths []string) string {
	h := sha256.New()
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return string(h.Sum(nil))
}

var number = regexp.MustCompile(`[0-9]+`)

// e2fsck gives the complaints about a copy of an image that is made plain, without their numbers. nil without the tool.
func e2fsck(t testing.TB, path string) []string {
	t.Helper()
	tool, err := exec.LookPath("e2fsck")
	if err != nil {
		return nil
	}
	c := filepath.Join(t.TempDir(), "plain.img")
	if out, err := exec.Command("cp", "--sparse=always", path, c).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
	defer os.Remove(c)
	if err := mkldiskfs.Plain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(tool, "-fn", c).CombinedOutput()
	var lines []string
	for _, l := range strings.Split(string(out), "\n") {
		switch {
		case l == "", strings.HasPrefix(l, "Pass "), strings.HasPrefix(l, "e2fsck "), strings.Contains(l, "files ("), strings.Contains(l, "WARNING: Filesystem still has errors"):
			continue
		}
		lines = append(lines, number.ReplaceAllString(l, "N"))
	}
	return lines
}

// toldByE2fsck gives the complaints of e2fsck about each image.
func toldByE2fsck(t testing.TB, paths []string) [][]string {
	var out [][]string
	for _, p := range paths {
		out = append(out, e2fsck(t, p))
	}
	return out
}

// sound fails the test if a check finds anything, or if e2fsck has a complaint about an image that it did not have.
func sound(t testing.TB, paths []string, had [][]string) {
	t.Helper()
	if left := checkPaths(t, nil, paths...); len(left) > 0 {
		t.Errorf("left: %d findings", len(left))
		tell(t, left)
	}
	complaints(t, paths, had)
}

// complaints fails the test if e2fsck has a complaint about an image that it did not have.
func complaints(t testing.TB, paths []string, had [][]string) {
	t.Helper()
	for i, p := range paths {
		for _, l := range e2fsck(t, p) {
			if !slices.Contains(had[i], l) {
				t.Errorf("e2fsck: MDT%04x: %s", i, l)
			}
		}
	}
}

// onRequest are the policies for cases whose damage is only reported by default.
var onRequest = map[string][][]string{
	"01-dangling-local":        {{"lustre/dangling-name=remove"}, {"lustre/dangling-name=recreate"}},
	"02-dangling-remote-dir":   {{}, {"lustre/dangling-name=recreate"}, {"lustre/dangling-name=remove"}},
	"25-stripe-object-missing": {{}, {"lustre/dangling-name=recreate"}, {"lustre/dangling-name=remove"}},
}

// TestRealRepairs repairs every case of real damage: a second check is clean, e2fsck has no complaint, also about quota, that it does not
// have about the undamaged images, and an undo gives back identical images.
func TestRealRepairs(t *testing.T) {
	paths := pair(t)
	had := toldByE2fsck(t, paths)
	for _, c := range damageCases(t) {
		if len(c.Truth) == 0 {
			continue
		}
		policies := onRequest[c.ID]
		if policies == nil {
			policies = [][]string{{}}
		}
		for _, policy := range policies {
			t.Run(c.ID+" "+strings.Join(policy, " "), func(t *testing.T) {
				c.apply(t, paths, false)
				defer c.apply(t, paths, true)
				before := sums(t, paths)
				m := &mender{t: t, paths: paths, run: t.TempDir()}
				m.make(policy...)
				if sums(t, paths) != before {
					t.Fatal("planning changed the images")
				}
				m.apply()
				sound(t, paths, had)
				if t.Failed() || testing.Verbose() {
					m.tell()
				}
				if m.plan.Steps() > 0 {
					m.undo()
				}
				if sums(t, paths) != before {
					t.Error("undo did not give back identical images")
				}
			})
		}
	}
}
