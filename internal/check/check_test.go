package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

func TestParallelUnitsDenseAndInOrder(t *testing.T) {
	var units fakeStore
	for i := range 5 {
		name := fmt.Sprintf("u%d", i)
		units = append(units, &fakeUnit{id: name, passes: []store.Pass{counting("a", 300, 1000, nil), counting("b", 30, 7, nil)}})
	}
	r := newRun(t)
	var seen []int
	sum, err := Run(context.Background(), Config{Store: units, Classes: fakeClasses, Run: r, Workers: 3,
		OnFinding: func(f finding.Finding) { seen = append(seen, f.Seq) }})
	if err != nil {
		t.Fatal(err)
	}
	if got := found(t, r); len(got) != 5*110 {
		t.Errorf("%d findings, want %d", len(got), 5*110)
	}
	if len(seen) != 550 || !slices.IsSorted(seen) {
		t.Errorf("OnFinding saw %d findings, sorted: %v", len(seen), slices.IsSorted(seen))
	}
	if sum.Verdict != finding.Damaged || sum.Findings != 550 || sum.ByClass["fake/lost"] != 550 || sum.Units != 5 || sum.Records != 1650 || sum.Bytes != 16500 {
		t.Errorf("summary: %+v", sum)
	}
	if sum.Facts["records.a"] != int64(1500) {
		t.Errorf("facts of units are not added up: %v", sum.Facts)
	}
	if len(sum.Notes) != 10 || !strings.HasPrefix(sum.Notes[0], "u0: ") {
		t.Errorf("notes: %q", sum.Notes)
	}
	st, err := r.Status()
	if err != nil || st.State != runs.Finished || st.UnitsDone != 5 {
		t.Errorf("status %+v, %v", st, err)
	}
	if kept, err := r.Summary(); err != nil || kept.Findings != 550 {
		t.Errorf("summary.json: %+v, %v", kept, err)
	}
	// A plan goes on from the files of units with findings; a clean unit gives its room back (TestCleanGivesScratchBack).
	if left, err := os.ReadDir(r.File(runs.ScratchDir)); err != nil || len(left) != 5 {
		t.Errorf("scratch of units with findings: %v, %v", left, err)
	}
}

func TestCleanGivesScratchBack(t *testing.T) {
	var scratch string
	if _, err := runOne(t, Config{}, func(ctx context.Context, env store.Env) error {
		scratch = env.Scratch()
		return os.WriteFile(filepath.Join(scratch, "file"), []byte("x"), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(scratch); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", scratch, err)
	}
}

func TestCompleteFinding(t *testing.T) {
	var got finding.Finding
	_, err := runOne(t, Config{OnFinding: func(f finding.Finding) { got = f }}, func(ctx context.Context, env store.Env) error {
		_, err := env.Emit(finding.Finding{Class: "fake/lost", Suggested: finding.Unlink, Why: "it is empty"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Type != "finding" || got.Seq != 1 || got.Unit != "u" || got.Severity != finding.Error || got.Title != "An object is lost" ||
		got.Evidence == nil || !slices.Equal(got.Actions, []finding.Action{finding.Unlink, finding.Quarantine}) || got.Found.IsZero() {
		t.Errorf("finding: %+v", got)
	}
	if fakeClasses[0].Default() != finding.Quarantine {
		t.Error("the table of classes was changed")
	}
}

// runOne checks a store of one unit "u" with one pass "p".
func runOne(t *testing.T, cfg Config, pass func(context.Context, store.Env) error) (Summary, error) {
	t.Helper()
	if cfg.Run == nil {
		cfg.Run = newRun(t)
	}
	if cfg.Store == nil {
		cfg.Store = fakeStore{&fakeUnit{id: "u", passes: []store.Pass{{Name: "p", Title: "P", Run: pass}}}}
	}
	cfg.Classes = fakeClasses
	return Run(context.Background(), cfg)
}

func TestMistakesOfPasses(t *testing.T) {
	nine := 9
	for name, f := range map[string]finding.Finding{
		"not a class":        {Class: "fake/unheard"},
		"does not have":      {Class: "fake/lost", Actions: []finding.Action{finding.Rollback}},
		"does not offer":     {Class: "fake/lost", Suggested: finding.Rollback},
		"does not exist":     {Class: "fake/lost", CausedBy: &nine},
		"unknown severity":   {Class: "fake/lost", Severity: "grave"},
		"calling MarshalJSO": {Class: "fake/lost", Detail: []byte("{")},
	} {
		// The pass ignores the error, which must not make the check end well.
		sum, err := runOne(t, Config{}, func(_ context.Context, env store.Env) error { env.Emit(f); return nil })
		if err == nil || !strings.Contains(err.Error(), name) || sum.State != runs.Failed || sum.Verdict != finding.Incomplete {
			t.Errorf("%s: error %v, state %s, verdict %s", name, err, sum.State, sum.Verdict)
		}
	}
	bad := fakeStore{&fakeUnit{id: "u"}, &fakeUnit{id: "u"}}
	if _, err := runOne(t, Config{Store: bad}, nil); err == nil {
		t.Error("two units of one name are accepted")
	}
}

func TestFailingUnitsDoNotHoldUpOthers(t *testing.T) {
	boom := errors.New("boom")
	r := newRun(t)
	units := fakeStore{
		&fakeUnit{id: "fails", passes: []store.Pass{{Name: "p", Run: func(context.Context, store.Env) error { return boom }}}},
		&fakeUnit{id: "panics", passes: []store.Pass{{Name: "p", Run: func(context.Context, store.Env) error { panic("ouch") }}}},
		&fakeUnit{id: "works", passes: []store.Pass{counting("a", 30, 10, nil)}},
	}
	sum, err := Run(context.Background(), Config{Store: units, Classes: fakeClasses, Run: r, Workers: 1})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "panic: ouch") || fault.KindOf(err) != fault.Operational {
		t.Errorf("error %v", err)
	}
	want := []finding.Verdict{finding.Incomplete, finding.Incomplete, finding.Damaged}
	for i, u := range sum.ByUnit {
		if u.Verdict != want[i] || (u.Error == "") != (i == 2) {
			t.Errorf("unit %s: verdict %s, error %q", u.Unit, u.Verdict, u.Error)
		}
	}
	if sum.Verdict != finding.Incomplete || sum.Findings != 10 {
		t.Errorf("summary: %+v", sum)
	}
	if st, _ := r.Status(); st.State != runs.Failed || st.Error == "" {
		t.Errorf("status %+v", st)
	}
}

func TestSeveritiesAndBaseline(t *testing.T) {
	sev, err := ParseSeverities([]string{"fake/lost:job.*.out=info", "FAKE_LOST=warning"}, fakeClasses)
	if err != nil {
		t.Fatal(err)
	}
	base, err := ParseBaseline(strings.NewReader("# known\n\nfake_lost job.7\nfake/lost \"two\\nlines\"\nfake/odd nowhere\n"), "base", fakeClasses)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := runOne(t, Config{Severities: sev, Baseline: base}, func(_ context.Context, env store.Env) error {
		for _, path := range []string{"job.1.guest.out", "job.7", "job.8", "two\nlines"} {
			if _, err := env.Emit(finding.Finding{Class: "fake/lost", Path: &path}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Findings != 2 || sum.Accepted != 2 || sum.BySeverity[finding.Info] != 1 || sum.BySeverity[finding.Warning] != 1 || sum.Verdict != finding.Damaged {
		t.Errorf("summary: %+v", sum)
	}
	if len(sum.Notes) != 1 || !strings.Contains(sum.Notes[0], "1 entries") {
		t.Errorf("notes: %q", sum.Notes)
	}
}

func TestOnlyAcceptedIsClean(t *testing.T) {
	base, err := ParseBaseline(strings.NewReader("fake/lost x\n"), "base", fakeClasses)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := runOne(t, Config{Baseline: base}, func(_ context.Context, env store.Env) error {
		_, err := env.Emit(finding.Finding{Class: "fake/lost", Subject: "x"})
		return err
	})
	if err != nil || sum.Verdict != finding.Clean || sum.Accepted != 1 || sum.Findings != 0 {
		t.Errorf("summary %+v, error %v", sum, err)
	}
}

func TestRefusesSecondCheckAndSecondProcess(t *testing.T) {
	r := newRun(t)
	unlock, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	same, err := openDir(t, r).Find(r.ID()) // stands for another process: flock belongs to the open file
	if err != nil {
		t.Fatal(err)
	}
	ok := func(context.Context, store.Env) error { return nil }
	if _, err := runOne(t, Config{Run: same}, ok); err == nil || len(fault.Hints(err)) == 0 {
		t.Errorf("a locked run is checked: %v", err)
	}
	unlock()
	if _, err := runOne(t, Config{Run: same}, ok); err != nil {
		t.Fatal(err)
	}
	if _, err := runOne(t, Config{Run: r}, ok); fault.KindOf(err) != fault.Usage {
		t.Errorf("a finished run is checked again: %v", err)
	}
	if sum, err := runOne(t, Config{Run: r, Resume: true}, ok); err != nil || sum.Verdict != finding.Clean {
		t.Errorf("resuming a finished run: %+v, %v", sum, err)
	}
}
