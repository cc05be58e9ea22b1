package repair_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// refused checks that err says why in the agreed way and that nothing was written.
func refused(t *testing.T, w *world, before map[string]store.Bytes, err, want error, text string) {
	t.Helper()
	kind := fault.Unrepaired
	if errors.Is(want, repair.ErrInUse) {
		kind = fault.Operational // nothing is wrong with the plan; the tool cannot do its work now
	}
	if !errors.Is(err, want) || fault.KindOf(err) != kind || len(fault.Hints(err)) == 0 || !strings.Contains(err.Error(), text) {
		t.Errorf("error %q (kind %d, hints %q), want one about %q saying %q", err, fault.KindOf(err), fault.Hints(err), want, text)
	}
	if !same(w.snapshot(), before) {
		t.Error("something was written")
	}
	if names, _ := w.files.List("run"); len(names) != 0 {
		t.Errorf("a journal was made: %v", names)
	}
}

func TestGates(t *testing.T) {
	w := damaged()
	before := w.snapshot()
	plan := w.plan(t, finding.Policy{})
	w.units[1].User = "pid 7 (fluxd)"
	_, err := w.apply(plan)
	refused(t, w, before, err, repair.ErrInUse, "pid 7")
	w.units[1].User = ""

	cfg := w.config(plan)
	cfg.MaxLoss = repair.NewThreshold(0, 2)
	_, err = repair.Apply(t.Context(), cfg)
	refused(t, w, before, err, repair.ErrLoss, "drops 3 of 9 records, at most 2 (2) are allowed")

	shred := w.plan(t, finding.Policy{ByClass: map[string]finding.Action{"mem/corrupt-object": storetest.Shred}})
	_, err = w.apply(shred)
	refused(t, w, before, err, repair.ErrIrreversible, "shred obj/b")

	// A gate of one unit stops all, unless the others are asked for.
	w.units[1].User = "someone"
	cfg = w.config(plan)
	cfg.Only = []string{"alpha"}
	if res, err := repair.Apply(t.Context(), cfg); err != nil || len(res.Units) != 1 {
		t.Errorf("only alpha: %v", err)
	}
	cfg.Only = []string{"gamma"}
	if _, err := repair.Apply(t.Context(), cfg); fault.KindOf(err) != fault.Usage {
		t.Errorf("only gamma: %v", err)
	}
	cfg.Only, cfg.Units = nil, cfg.Units[:1]
	if _, err := repair.Apply(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("a unit is missing: %v", err)
	}
}

func TestIrreversible(t *testing.T) {
	w := damaged()
	plan := w.plan(t, finding.Policy{ByClass: map[string]finding.Action{"mem/corrupt-object": storetest.Shred}})
	cfg := w.config(plan)
	for _, other := range []string{"mem/dangling-ref/shred", "discard", ""} {
		cfg.AllowIrreversible = []string{other}
		if _, err := repair.Apply(t.Context(), cfg); !errors.Is(err, repair.ErrIrreversible) {
			t.Errorf("allowing %q: %v", other, err)
		}
	}
	cfg.AllowIrreversible = []string{"mem/corrupt-object/shred"}
	if _, err := repair.Apply(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	after := w.snapshot()
	if _, err := w.undo(); !errors.Is(err, repair.ErrIrreversible) || !same(w.snapshot(), after) {
		t.Errorf("undo of what cannot be undone: %v", err)
	}
}

// TestChangedSince: a store that was written to after the plan is repaired only if every record is as planned.
func TestChangedSince(t *testing.T) {
	w := damaged()
	plan := w.plan(t, finding.Policy{})
	free := w.clone()
	// A page of its own: no record of the plan changes.
	if err := free.units[0].Disk.Write("page/elsewhere", []byte(`["obj/new","x"]`+"\n")); err != nil {
		t.Fatal(err)
	}
	res, err := free.apply(plan)
	if err != nil || len(res.Units[0].Notes) != 1 || len(res.Units[1].Notes) != 0 {
		t.Errorf("a change elsewhere: %v, %+v", err, res)
	}
	for _, a := range w.units[0].Disk.Pages() {
		raw, _ := w.units[0].Disk.Read(a)
		if err := w.units[0].Disk.Write(a, []byte(strings.ReplaceAll(string(raw), "gone", "back"))); err != nil {
			t.Fatal(err)
		}
	}
	before := w.snapshot()
	_, err = w.apply(plan)
	if err == nil || !strings.Contains(err.Error(), "apply step 1 alpha") || !strings.Contains(err.Error(), "ref/x") {
		t.Errorf("a changed record: %v", err)
	}
	if !same(w.snapshot(), before) || w.state(t, plan) != repair.PlannedState {
		t.Error("a refused apply left traces")
	}
}

func TestLifeOfAPlan(t *testing.T) {
	w := damaged()
	original := w.snapshot()
	plan := w.plan(t, finding.Policy{})
	at := func(want repair.State) {
		t.Helper()
		if got := w.state(t, plan); got != want {
			t.Fatalf("state %q, want %q", got, want)
		}
	}
	at(repair.PlannedState)
	if _, err := w.undo(); !errors.Is(err, repair.ErrNothingToUndo) {
		t.Fatalf("undo before apply: %v", err)
	}
	for gen := 1; gen <= 3; gen++ {
		res, err := w.apply(plan)
		if err != nil {
			t.Fatal(err)
		}
		at(repair.Applied)
		if u := res.Units[0]; len(u.Steps) != len(plan.Units[0].Steps) || u.Before == u.After || !strings.Contains(u.Journal, fmt.Sprintf(".%04d.", gen)) {
			t.Errorf("result %+v", u)
		}
		if _, err := w.apply(plan); !errors.Is(err, repair.ErrApplied) {
			t.Fatalf("second apply: %v", err)
		}
		if res, err := w.resume(plan); err != nil || !res.Units[0].Already {
			t.Fatalf("resume of what is complete: %v", err)
		}
		und, err := w.undo()
		if err != nil || !same(w.snapshot(), original) {
			t.Fatalf("undo: %v", err)
		}
		if steps := und.Units[0].Steps; !slices.IsSortedFunc(steps, func(a, b int) int { return b - a }) || und.Units[0].Fingerprint != plan.Units[0].Fingerprint {
			t.Errorf("undone %+v", und.Units[0])
		}
		at(repair.Undone)
		if _, err := w.undo(); !errors.Is(err, repair.ErrNothingToUndo) {
			t.Fatalf("second undo: %v", err)
		}
		if _, err := w.resume(plan); err == nil || !strings.Contains(err.Error(), "undone") {
			t.Fatalf("resume after undo: %v", err)
		}
	}
	if names, _ := w.files.List("run"); len(names) != 6 {
		t.Errorf("journals %v: older generations must be kept", names)
	}
}

// TestUndoSelected takes single findings back.
func TestUndoSelected(t *testing.T) {
	// One page: every step touches the same record, so only the last can be taken back alone.
	recs := map[string]string{"ref/a": "x", "ref/b": "x", "ref/c": "x", "count": "0"}
	shared := newWorld(map[string]map[string]string{"alpha": recs}, 1)
	plan := shared.plan(t, finding.Policy{})
	if _, err := shared.apply(plan); err != nil {
		t.Fatal(err)
	}
	after := shared.snapshot()
	if _, err := shared.undo(1); fault.KindOf(err) != fault.Unrepaired || !strings.Contains(err.Error(), "also wrote record") || !same(shared.snapshot(), after) {
		t.Errorf("undo of the first of three: %v", err)
	}
	if _, err := shared.undo(9); !errors.Is(err, repair.ErrNothingToUndo) {
		t.Errorf("undo of an unknown finding: %v", err)
	}
	if _, err := shared.undo(3); err != nil || shared.state(t, plan) != repair.PartlyUndone {
		t.Errorf("undo of the last: %v", err)
	}
	if got := shared.check(t); len(got) != 1 || got[0].Subject != "ref/c" {
		t.Errorf("after undoing the last: %v", got)
	}
	if _, err := shared.apply(plan); err == nil || !strings.Contains(err.Error(), "some of its steps were undone") {
		t.Errorf("apply when partly undone: %v", err)
	}
	if _, err := shared.undo(1, 2); err != nil || shared.state(t, plan) != repair.Undone {
		t.Errorf("undo of the rest: %v", err)
	}
	// Many pages: the first can be taken back while the others stay.
	apart := newWorld(map[string]map[string]string{"alpha": recs}, 1000)
	if _, err := apart.apply(apart.plan(t, finding.Policy{})); err != nil {
		t.Fatal(err)
	}
	if _, err := apart.undo(1); err != nil {
		t.Errorf("undo of an independent step: %v", err)
	}
	if got := apart.check(t); len(got) != 1 || got[0].Subject != "ref/a" {
		t.Errorf("after undoing the first: %v", got)
	}
}

// TestUndoWholeSteps: a step that repairs several findings is taken back for all of them or not at all.
func TestUndoWholeSteps(t *testing.T) {
	w := newWorld(map[string]map[string]string{"alpha": {"ref/a": "x", "ref/b": "x", "count": "0"}}, 1)
	plan := w.plan(t, finding.Policy{})
	u := &plan.Units[0]
	u.Steps[0].Findings = []int{1, 2}
	u.Steps[0].Changes = append(u.Steps[0].Changes, u.Steps[1].Changes...)
	u.Steps = u.Steps[:1]
	if err := plan.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.apply(plan); err != nil {
		t.Fatal(err)
	}
	if _, err := w.undo(1); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "#2") {
		t.Errorf("undo of half a step: %v", err)
	}
	if _, err := w.undo(1, 2); err != nil {
		t.Errorf("undo of a step: %v", err)
	}
}

// TestForeignWrites: records that somebody else wrote are left alone, by Undo and by Resume.
func TestForeignWrites(t *testing.T) {
	base := damaged()
	plan := base.plan(t, finding.Policy{})
	done := base.clone()
	if _, err := done.apply(plan); err != nil {
		t.Fatal(err)
	}
	half := base.clone()
	for n := 1; ; n++ { // the first crash that leaves something written
		half = base.clone()
		half.crash(t, n, outage{name: "killed", mode: storetest.Kill}, func() error { _, err := half.apply(plan); return err })
		if !same(half.snapshot(), base.snapshot()) {
			break
		}
	}
	for name, tc := range map[string]struct {
		w  *world
		do func(*world) error
	}{
		"undo":           {done, func(w *world) error { _, err := w.undo(); return err }},
		"undo of half":   {half, func(w *world) error { _, err := w.undo(); return err }},
		"resume of half": {half, func(w *world) error { _, err := w.resume(plan); return err }},
	} {
		hits := 0
		for _, a := range tc.w.units[0].Disk.Pages() {
			w := tc.w.clone()
			if err := w.units[0].Disk.Write(a, []byte("someone was here\n")); err != nil {
				t.Fatal(err)
			}
			before := w.snapshot()
			err := tc.do(w)
			var ce *repair.ConflictError
			if !errors.As(err, &ce) {
				continue // a page that the steps in question do not touch
			}
			hits++
			if ce.Total != 1 || ce.First[0].Addr != a || fault.KindOf(err) != fault.Unrepaired || len(fault.Hints(err)) == 0 {
				t.Errorf("%s, %s: %v", name, a, err)
			}
			if !same(w.snapshot(), before) {
				t.Errorf("%s, %s: something was written", name, a)
			}
		}
		if hits == 0 {
			t.Errorf("%s: no foreign write was noticed", name)
		}
	}
}

// TestTornAfterDone: half of an old record is a crash's work only while a step is in progress.
func TestTornAfterDone(t *testing.T) {
	w := damaged()
	original := w.snapshot()
	if _, err := w.apply(w.plan(t, finding.Policy{})); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for _, a := range w.units[0].Disk.Pages() {
		now, _ := w.units[0].Disk.Read(a)
		old := original["alpha/"+a]
		if string(now) == string(old) || len(now) == 0 || now[0] != old[0] {
			continue
		}
		mixed := append([]byte{}, old...)
		copy(mixed, now[:len(now)/2])
		if string(mixed) == string(old) || string(mixed) == string(now) {
			continue
		}
		hits++
		torn := w.clone()
		if err := torn.units[0].Disk.Write(a, mixed); err != nil {
			t.Fatal(err)
		}
		var ce *repair.ConflictError
		if _, err := torn.undo(); !errors.As(err, &ce) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if hits == 0 {
		t.Error("no record could be torn")
	}
}

func TestCancel(t *testing.T) {
	w := damaged()
	original := w.snapshot()
	plan := w.plan(t, finding.Policy{})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := w.config(plan)
	cfg.OnStep = func(p repair.Progress) {
		if p.Phase == "done" && p.Step == 2 {
			cancel()
		}
	}
	if _, err := repair.Apply(ctx, cfg); fault.KindOf(err) != fault.Cancelled || !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled apply: %v", err)
	}
	if st := w.state(t, plan); st != repair.Applying {
		t.Fatalf("state %q", st)
	}
	if _, err := w.apply(plan); !errors.Is(err, repair.ErrInterrupted) {
		t.Errorf("apply over an interrupted one: %v", err)
	}
	if _, err := w.undo(plan.Units[0].Steps[0].Findings...); !errors.Is(err, repair.ErrInterrupted) {
		t.Errorf("undo of one finding of an interrupted apply: %v", err)
	}
	other := w.plan(t, finding.Policy{})
	if _, err := w.resume(other); err == nil || !strings.Contains(err.Error(), "different plan") {
		t.Errorf("resume with another plan: %v", err)
	}
	w.clone().mustUndo(t, original, "cancelled")
	if _, err := w.resume(plan); err != nil {
		t.Errorf("resume: %v", err)
	}
}

// TestMakeListsWhatIsGone: findings are read again, and undecided ones are pending.
func TestInteractParksItsUnit(t *testing.T) {
	policy := finding.Policy{ByClass: map[string]finding.Action{"mem/miscount": finding.Interact}}
	w := damaged() // alpha has a wrong count, beta has not once its bad object is gone
	plan := w.plan(t, policy)
	alpha, beta := plan.Units[0], plan.Units[1]
	if len(alpha.Steps) != 0 || len(alpha.Findings) != 0 || len(alpha.Parked) != 1 {
		t.Fatalf("alpha is not parked: %+v", alpha)
	}
	if len(beta.Steps) == 0 || len(beta.Parked) != 0 {
		t.Fatalf("beta does not go on: %+v", beta)
	}
	parked := plan.ParkedFindings()
	if len(parked) != 1 || parked[0].Class != "mem/miscount" || !slices.Equal(parked[0].Offers, []finding.Action{finding.Rewrite, finding.Ignore}) {
		t.Errorf("parked: %+v", parked)
	}
	held := 0
	for i, f := range alpha.Pending {
		if f.Action != finding.Interact && f.Action != finding.Ignore {
			held++
		}
		if i > 0 && alpha.Pending[i-1].Seq >= f.Seq {
			t.Error("pending findings are not in order")
		}
	}
	if held == 0 {
		t.Error("the decided findings of alpha are not listed")
	}
	if res, err := w.apply(plan); err != nil || len(res.Units) != 1 || res.Units[0].Unit != "beta" {
		t.Errorf("applied %+v, %v", res, err)
	}

	// What no longer holds parks nothing.
	w = damaged()
	fs := w.check(t)
	before := w.plan(t, policy)
	if _, err := w.apply(w.plan(t, finding.Policy{})); err != nil {
		t.Fatal(err)
	}
	after, err := repair.Make(t.Context(), repair.MakeConfig{Run: "r1", Units: w.planners(), Findings: repair.Slice(fs), Policy: policy, WorkDir: noWork})
	if err != nil || len(before.ParkedFindings()) != 1 || len(after.ParkedFindings()) != 0 {
		t.Errorf("parked before %v, after %v, error %v", before.ParkedFindings(), after.ParkedFindings(), err)
	}

	// Nor do infos and accepted findings.
	w = damaged()
	fs = w.check(t)
	for i := range fs {
		fs[i].Accepted = fs[i].Class == "mem/dangling-ref"
		if fs[i].Class == "mem/miscount" {
			fs[i].Severity = finding.Info
		}
	}
	plan, err = repair.Make(t.Context(), repair.MakeConfig{Run: "r1", Units: w.planners(), Findings: repair.Slice(fs), WorkDir: noWork,
		Policy: finding.Policy{ByClass: map[string]finding.Action{"mem/miscount": finding.Interact, "mem/dangling-ref": finding.Interact}}})
	if err != nil || len(plan.ParkedFindings()) != 0 || plan.Steps() == 0 {
		t.Errorf("parked by %v, %d steps, error %v", plan.ParkedFindings(), plan.Steps(), err)
	}
}

func TestMakeListsWhatIsGone(t *testing.T) {
	w := newWorld(map[string]map[string]string{"alpha": {"ref/a": "x", "ref/b": "x", "count": "5"}}, 100)
	fs := w.check(t)
	mended := newWorld(map[string]map[string]string{"alpha": {"ref/b": "x", "count": "5"}}, 100)
	cfg := repair.MakeConfig{Run: "r", Units: mended.planners(), Findings: repair.Slice(fs), WorkDir: noWork,
		Policy: finding.Policy{ByClass: map[string]finding.Action{"mem/miscount": finding.Ignore}}}
	plan, err := repair.Make(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	u := plan.Units[0]
	if len(u.Gone) != 1 || u.Gone[0].What != "ref/a" || len(u.Pending) != 1 || u.Pending[0].Class != "mem/miscount" || len(u.Findings) != 1 || len(u.Steps) != 1 {
		t.Errorf("plan %+v", u)
	}
	accepted := fs[2]
	accepted.Accepted = true
	for _, named := range []bool{false, true} {
		cfg.Findings = repair.Slice([]finding.Finding{accepted})
		cfg.Policy = finding.Policy{}
		if named {
			cfg.Policy.BySeq = map[int]finding.Action{accepted.Seq: finding.Unlink}
		}
		plan, err := repair.Make(t.Context(), cfg)
		if err != nil || (plan.Steps() == 1) != named || (len(plan.Units[0].Pending) == 0) != named {
			t.Errorf("an accepted finding, named %v: %v, %+v", named, err, plan)
		}
	}
	fs[0].Unit = "gamma"
	cfg.Findings = repair.Slice(fs)
	if _, err := repair.Make(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "gamma") {
		t.Errorf("a finding of an unknown unit: %v", err)
	}
}

// liar is a unit whose Writer lowers steps wrongly.
type liar struct {
	store.Planner
	twist func([]store.Change) []store.Change
}

type liarWriter struct {
	store.Writer
	twist func([]store.Change) []store.Change
}

func (l *liar) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	w, err := l.Planner.OpenWriter(ctx, work)
	return &liarWriter{w, l.twist}, err
}

func (l *liarWriter) Lower(ctx context.Context, s store.Step) ([]store.Change, error) {
	raw, err := l.Writer.Lower(ctx, s)
	return l.twist(raw), err
}

// TestWriterIsNotTrusted: a journal that does not hold the truth is never written.
func TestWriterIsNotTrusted(t *testing.T) {
	for name, twist := range map[string]func([]store.Change) []store.Change{
		"wrong before":   func(c []store.Change) []store.Change { c[0].Before = store.Bytes("x"); return c },
		"absent before":  func(c []store.Change) []store.Change { c[0].Before = nil; return c },
		"the same twice": func(c []store.Change) []store.Change { return append(c, c[0]) },
	} {
		w := damaged()
		before := w.snapshot()
		plan := w.plan(t, finding.Policy{})
		cfg := w.config(plan)
		cfg.Units[0] = &liar{cfg.Units[0], twist}
		if _, err := repair.Apply(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "bug in fettle") {
			t.Errorf("%s: %v", name, err)
		}
		if !same(w.snapshot(), before) || w.state(t, plan) != repair.PlannedState {
			t.Errorf("%s: something was written", name)
		}
	}
}

// TestOnRealFiles runs once with the operating system's files: plan, journals and scratch directories in a run's directory.
func TestOnRealFiles(t *testing.T) {
	dir := t.TempDir()
	w := damaged()
	original := w.snapshot()
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "r1", Units: w.planners(), Findings: repair.Slice(w.check(t)), WorkDir: repair.WorkDirs(dir)})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Save(filepath.Join(dir, repair.PlanFile)); err != nil {
		t.Fatal(err)
	}
	w.power.FailAt(7, storetest.Kill)
	cfg := repair.ApplyConfig{Plan: plan, Units: w.planners(), Dir: dir}
	if _, err := repair.Apply(t.Context(), cfg); !errors.Is(err, storetest.ErrCrash) {
		t.Fatalf("apply: %v", err)
	}
	w.reboot(nil)
	at := func(want repair.State) {
		t.Helper()
		if st, err := repair.StateOf(dir); err != nil || st.State != want || len(st.Units) != 2 {
			t.Errorf("state %+v, %v; want %q", st, err, want)
		}
	}
	at(repair.Applying)
	if _, err := repair.Resume(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	at(repair.Applied)
	if _, err := repair.Undo(t.Context(), repair.UndoConfig{Units: w.planners(), Dir: dir}); err != nil || !same(w.snapshot(), original) {
		t.Fatalf("undo: %v", err)
	}
	at(repair.Undone)
}
