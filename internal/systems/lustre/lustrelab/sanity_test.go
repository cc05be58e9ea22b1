package lustrelab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fettle/internal/cli"
	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/systems/lustre"
	"fettle/internal/systems/lustre/lustrelab"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// ward is a file system in a directory, with the runs about it.
type ward struct {
	*testing.T
	dir   string
	paths []string
	state string
}

func newWard(t *testing.T, base string) *ward {
	t.Helper()
	w := &ward{T: t, dir: filepath.Join(t.TempDir(), "fs"), state: filepath.Join(t.TempDir(), "state")}
	if err := lab.CopyStore(base, w.dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.paths, err = lustrelab.Targets(w.dir); err != nil {
		t.Fatal(err)
	}
	return w
}

// fettle does what a user types, and gives what is printed. exits are the exit codes that may come of it.
func (w *ward) fettle(exits []int, args ...string) string {
	w.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{Systems: []store.System{lustre.System{}}, Version: "v0.0.0-test", In: strings.NewReader(""), Out: &out, Err: &errs}
	if code := cli.Main(env, append([]string{"--state-dir", w.state}, args...)); !slices.Contains(exits, code) {
		w.Fatalf("fettle %s: exit %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return out.String()
}

// check checks images and gives the id of the run and its findings.
func (w *ward) check(exits []int, paths ...string) (run string, found []finding.Finding) {
	w.Helper()
	w.fettle(exits, "check", "lustre:"+strings.Join(paths, ","))
	run = w.last()
	return run, w.findings(run)
}

func (w *ward) last() string {
	w.Helper()
	for line := range strings.Lines(w.fettle([]int{0}, "--json", "runs")) {
		var r struct{ ID string }
		if err := json.Unmarshal([]byte(line), &r); err == nil && r.ID != "" {
			return r.ID
		}
	}
	w.Fatal("there is no run")
	return ""
}

func (w *ward) findings(run string) (found []finding.Finding) {
	w.Helper()
	for d := json.NewDecoder(strings.NewReader(w.fettle([]int{0}, "--json", "findings", run))); ; {
		var f finding.Finding
		err := d.Decode(&f)
		if err == io.EOF {
			return found
		}
		if err != nil {
			w.Fatal(err)
		}
		found = append(found, f)
	}
}

func (w *ward) digest() string {
	w.Helper()
	d, err := lab.Digest(w.paths)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// told compares findings with the truth and with what the table says.
func (w *ward) told(s *lustrelab.Scenario, truth *lab.Truth, found []finding.Finding) {
	w.Helper()
	var counts []lab.Expect
	for _, f := range found {
		if f.Counts() {
			counts = append(counts, lustrelab.Observe(&f))
		}
	}
	cmp := lab.Compare(truth, counts)
	for _, e := range cmp.Missing {
		w.Errorf("missed %s (%s)", e.Line(), e.Note)
	}
	for _, e := range cmp.Wrong {
		w.Errorf("false %s (%s)", e.Line(), e.Note)
	}
	rest := slices.Clone(found)
	for _, want := range s.Finds {
		i := slices.IndexFunc(rest, func(f finding.Finding) bool { return f.Class == want.Class && f.CausedBy == nil })
		if i < 0 {
			w.Errorf("no %s", want.Class)
			continue
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, f := range rest {
		e := lustrelab.Observe(&f)
		expected := slices.ContainsFunc(truth.Expected, func(x lab.Expect) bool { return x.Class == e.Class && x.Subject == e.Subject })
		if f.CausedBy == nil && !expected {
			w.Errorf("also, by itself: %s", e.Line())
		}
	}
}

// looks compares what the naive program sees with what has to be there.
func (w *ward) looks(s *lustrelab.Scenario, want lustrelab.Picture) {
	w.Helper()
	now, wrong, err := lustrelab.Look(w.Context(), w.dir)
	if err != nil {
		w.Fatal(err)
	}
	if len(s.Keeps) == 0 {
		for _, l := range wrong {
			w.Errorf("after the repair: %s", l)
		}
	}
	for _, l := range want.Diff(now) {
		w.Errorf("after the repair: %s", l)
	}
}

// counted compares the counters of LFSCK after a repair with the table.
func (w *ward) counted(s *lustrelab.Scenario, run string) {
	w.Helper()
	got := map[string]int{}
	for line := range strings.Lines(w.fettle([]int{0}, "report", run, "--lfsck")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if !strings.HasSuffix(name, "_repaired") && name != "linkea_overflow_cleared" && name != "unknown_inconsistency" {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n != 0 {
			got[name] += n // of all MDTs
		}
	}
	for _, c := range s.Counts {
		var name, op string
		var n int
		if _, err := fmt.Sscan(c, &name, &op, &n); err != nil {
			w.Fatalf("%q: %v", c, err)
		}
		if have := got[name]; have != n && !(op == ">=" && have > n) {
			w.Errorf("%s is %d; want %s", name, have, c)
		}
		delete(got, name)
	}
	for name, n := range got {
		w.Errorf("%s is %d; the table does not say so", name, n)
	}
}

var digits = regexp.MustCompile(`[0-9]+`)

// fsck gives the complaints of e2fsck about copies that are made plain, without numbers; nothing without the tool.
func fsck(t *testing.T, dir string) (lines []string) {
	t.Helper()
	tool, err := exec.LookPath("e2fsck")
	if err != nil {
		return nil
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := lab.CopyStore(dir, plain); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(plain)
	paths, err := lustrelab.Targets(plain)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range paths {
		if err := mkldiskfs.Plain(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.CommandContext(t.Context(), tool, "-fn", p).CombinedOutput()
		for l := range strings.Lines(string(out)) {
			l = strings.TrimSpace(l)
			if l == "" || strings.HasPrefix(l, "Pass ") || strings.HasPrefix(l, "e2fsck ") || strings.Contains(l, " files (") || strings.Contains(l, "WARNING: Filesystem still has errors") ||
				strings.Contains(l, "[QUOTA WARNING]") || strings.HasPrefix(l, "Update quota info") {
				continue // quota files are not updated, and the plan says so
			}
			lines = append(lines, fmt.Sprintf("MDT%04x: %s", i, digits.ReplaceAllString(l, "N")))
		}
	}
	return lines
}

// tryScenario makes the damage of a scenario and follows it to the end: what is found, what a repair leads to, what it counts, what a second
// check and e2fsck say, and that it can be taken back. before are the complaints of e2fsck about the healthy file system.
func tryScenario(t *testing.T, s lustrelab.Scenario, base string, before []string) {
	t.Helper()
	w := newWard(t, base)
	wound, err := s.Make(t.Context(), w.dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	injured := w.digest()
	if s.Alone {
		w.alone()
		w.without()
	}
	run, found := w.check([]int{0, 4}, w.paths...)
	w.told(&s, wound.Truth, found)
	args := []string{"plan", run}
	for _, p := range s.Policy {
		args = append(args, "--policy", p)
	}
	plan := w.fettle([]int{0}, args...)
	if w.digest() != injured {
		t.Fatal("planning changed the images")
	}
	w.fettle([]int{0, 1, 4}, "apply", run, "--yes", "--max-loss", "100%")
	w.looks(&s, wound.After)
	w.counted(&s, run)
	var left []string
	_, again := w.check([]int{0, 4}, w.paths...)
	for _, f := range again {
		left = append(left, f.Class)
	}
	if !slices.Equal(left, s.Keeps) {
		t.Errorf("a second check finds %v; want %v", left, s.Keeps)
	}
	if len(s.Keeps) == 0 {
		for _, l := range fsck(t, w.dir) {
			if !slices.Contains(before, l) {
				t.Errorf("e2fsck: %s", l)
			}
		}
	}
	if w.digest() != injured {
		w.fettle([]int{0, 4}, "undo", run)
	} else if len(s.Counts) > 0 {
		t.Error("nothing was written")
	}
	if w.digest() != injured {
		t.Error("undo did not give back identical images")
	}
	if t.Failed() {
		t.Log(plan)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		t.Error(err)
	}
}

// alone repairs each MDT as if the others could not be reached: the verdict is incomplete, and nothing is written.
func (w *ward) alone() {
	w.Helper()
	before := w.digest()
	for _, p := range w.paths {
		run, found := w.check([]int{8, 12}, p)
		for _, f := range found {
			w.Errorf("%s alone: %s %s", filepath.Base(p), f.Class, f.Subject)
		}
		if text := w.fettle([]int{0}, "report", run, "--lfsck"); !strings.Contains(text, "status: partial\n") || !strings.Contains(text, "flags: incomplete\n") {
			w.Errorf("%s alone:\n%s", filepath.Base(p), text)
		}
		w.fettle([]int{0, 1, 4, 8, 12}, "apply", run, "--yes")
	}
	if w.digest() != before {
		w.Error("an MDT alone was changed")
	}
}

// without leaves out one MDT after the other. What is wrong between two others is found and repaired all the same; it is taken back.
func (w *ward) without() {
	w.Helper()
	before, repaired := w.digest(), 0
	for i := range w.paths {
		some := slices.Delete(slices.Clone(w.paths), i, i+1)
		if len(some) < 2 {
			return
		}
		run, found := w.check([]int{8, 12}, some...)
		if len(found) == 0 {
			continue
		}
		w.fettle([]int{1, 8, 9, 12, 13}, "apply", run, "--yes")
		if _, left := w.check([]int{0}, w.paths...); len(left) > 0 {
			w.Errorf("repaired without %s: %d findings are left", filepath.Base(w.paths[i]), len(left))
		}
		w.fettle([]int{0, 4}, "undo", run)
		repaired++
	}
	if repaired != len(w.paths)-2 {
		w.Errorf("repaired with %d choices of MDTs, want %d", repaired, len(w.paths)-2)
	}
	if w.digest() != before {
		w.Error("undo did not give back identical images")
	}
}

// The scenarios of LFSCK's tests on file systems that were made: as servers of 2.10 leave them, and as those of today do.
func TestSanity(t *testing.T) {
	tryMade(t, lustrelab.Options{Files: 600, Dirs: 120, Striped: 12, Remote: 200, HardLinks: 100, InodeSize: 1024, Seed: 3})
}

func TestSanityNew(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes")
	}
	tryMade(t, lustrelab.Options{MDTs: 3, Files: 600, Dirs: 120, Striped: 12, Remote: 200, HardLinks: 100, Extents: true, MetadataCsum: true, Bit64: true, LostFound: true, Seed: 4})
}

func tryMade(t *testing.T, o lustrelab.Options) {
	t.Helper()
	base := filepath.Join(t.TempDir(), "fs")
	if _, err := lustrelab.Make(t.Context(), base, o); err != nil {
		t.Fatal(err)
	}
	before := fsck(t, base)
	seen := map[string]bool{}
	for _, s := range append(lustrelab.Sanity(), lustrelab.Taken()) {
		if seen[s.Name()] || s.Title == "" || s.LFSCK == "" || s.Ours == "" {
			t.Errorf("%+v", s)
		}
		seen[s.Name()] = true
		t.Run(s.Name(), func(t *testing.T) {
			t.Parallel()
			tryScenario(t, s, base, before)
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
	before := fsck(t, base)
	for _, s := range lustrelab.Sanity() {
		t.Run(s.Name(), func(t *testing.T) {
			t.Parallel()
			tryScenario(t, s, base, before)
		})
	}
}
