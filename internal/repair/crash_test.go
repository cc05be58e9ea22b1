package repair_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// TestCrashAtEveryOperation cuts Apply off at every single write, sync, creation and truncation of store and journal, in
// every way, and requires that Resume then gives the same bytes as an Apply without a crash and Undo the original ones.
func TestCrashAtEveryOperation(t *testing.T) {
	base := damaged()
	plan := base.plan(t, finding.Policy{})
	original := base.snapshot()
	ref := base.clone()
	if _, err := ref.apply(plan); err != nil {
		t.Fatal(err)
	}
	final := ref.snapshot()
	if same(original, final) {
		t.Fatal("the plan changes nothing")
	}
	ops := ref.power.Ops()
	if ops < 40 {
		t.Fatalf("only %d operations: the test would prove little", ops)
	}
	for n := 1; n <= ops; n++ {
		for _, o := range outages(uint64(n), 6) {
			where := fmt.Sprintf("%s at operation %d of %d", o.name, n, ops)
			w := base.clone()
			if !w.crash(t, n, o, func() error { _, err := w.apply(plan); return err }) {
				t.Fatalf("%s: did not happen", where)
			}
			back := w.clone()
			back.mustUndo(t, original, where)
			if _, err := w.resume(plan); err != nil {
				t.Fatalf("%s: resume: %v", where, err)
			}
			if !same(w.snapshot(), final) {
				t.Fatalf("%s: resume did not give the bytes of an apply without a crash", where)
			}
			if st := w.state(t, plan); st != repair.Applied {
				t.Fatalf("%s: state %q after resume", where, st)
			}
			w.mustUndo(t, original, where+", then resumed")
		}
	}
}

// TestCrashLargeRecords has records larger than the journal's buffer, so that one step takes several writes of the journal
// and any of them may get lost.
func TestCrashLargeRecords(t *testing.T) {
	base := newWorld(map[string]map[string]string{"alpha": {
		"obj/big": storetest.Object(strings.Repeat("0123456789abcdef", 6000)), "ref/b": "b", "obj/b": "bad", "count": "2",
	}}, 1)
	plan := base.plan(t, finding.Policy{})
	original := base.snapshot()
	ref := base.clone()
	if _, err := ref.apply(plan); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= ref.power.Ops(); n++ {
		for _, o := range outages(uint64(n), 6)[6:] {
			where := fmt.Sprintf("%s at operation %d", o.name, n)
			w := base.clone()
			w.crash(t, n, o, func() error { _, err := w.apply(plan); return err })
			w.clone().mustUndo(t, original, where)
			if _, err := w.resume(plan); err != nil {
				t.Fatalf("%s: resume: %v", where, err)
			}
			if !same(w.snapshot(), ref.snapshot()) {
				t.Fatalf("%s: resume: wrong bytes", where)
			}
		}
	}
}

// TestCrashAgain interrupts what repairs an interruption: Apply crashes at every operation, then Resume or Undo crashes at
// every operation of its own, then they are run once more and must come to the right end.
func TestCrashAgain(t *testing.T) {
	base := newWorld(map[string]map[string]string{"alpha": {
		"obj/a": storetest.Object("one"), "obj/b": "bad", "ref/b": "b", "ref/x": "gone", "count": "2"}}, 2)
	plan := base.plan(t, finding.Policy{})
	original := base.snapshot()
	ref := base.clone()
	if _, err := ref.apply(plan); err != nil {
		t.Fatal(err)
	}
	final, ops := ref.snapshot(), ref.power.Ops()
	for n := 1; n <= ops+1; n++ {
		kinds := outages(uint64(n), 1)
		for _, first := range []outage{kinds[0], kinds[1], kinds[6]} {
			crashed := base.clone()
			crashed.crash(t, n, first, func() error { _, err := crashed.apply(plan); return err })
			where := fmt.Sprintf("%s at %d", first.name, n)
			crashResume(t, crashed, plan, original, final, where)
			crashUndo(t, crashed, plan, original, final, where)
		}
	}
}

func crashResume(t *testing.T, crashed *world, plan *repair.Plan, original, final map[string]store.Bytes, where string) {
	t.Helper()
	for m, hit := 1, true; hit; m++ {
		kinds := outages(uint64(m), 1)
		for _, second := range []outage{kinds[0], kinds[3], kinds[6]} {
			at := fmt.Sprintf("%s, then %s at %d of resume", where, second.name, m)
			w := crashed.clone()
			hit = w.crash(t, m, second, func() error { _, err := w.resume(plan); return err })
			w.clone().mustUndo(t, original, at)
			if _, err := w.resume(plan); err != nil {
				t.Fatalf("%s: resume again: %v", at, err)
			}
			if !same(w.snapshot(), final) {
				t.Fatalf("%s: resume again: wrong bytes", at)
			}
		}
	}
}

func crashUndo(t *testing.T, crashed *world, plan *repair.Plan, original, final map[string]store.Bytes, where string) {
	t.Helper()
	if st := crashed.state(t, plan); st == repair.PlannedState {
		return
	}
	for m, hit := 1, true; hit; m++ {
		kinds := outages(uint64(m), 1)
		for _, second := range []outage{kinds[0], kinds[3], kinds[6]} {
			at := fmt.Sprintf("%s, then %s at %d of undo", where, second.name, m)
			w := crashed.clone()
			hit = w.crash(t, m, second, func() error { _, err := w.undo(); return err })
			w.mustUndo(t, original, at)
			if _, err := w.apply(plan); err != nil {
				t.Fatalf("%s: apply again: %v", at, err)
			}
			if !same(w.snapshot(), final) {
				t.Fatalf("%s: apply again: wrong bytes", at)
			}
		}
	}
}

// TestFaultAtEveryOperation fails single operations without a crash: Apply must stop with an error, and both ways must be open.
func TestFaultAtEveryOperation(t *testing.T) {
	base := damaged()
	plan := base.plan(t, finding.Policy{})
	original := base.snapshot()
	ref := base.clone()
	if _, err := ref.apply(plan); err != nil {
		t.Fatal(err)
	}
	final := ref.snapshot()
	for n := 1; n <= ref.power.Ops(); n++ {
		w := base.clone()
		w.power.FailAt(n, storetest.FailOnce)
		if _, err := w.apply(plan); err == nil {
			t.Fatalf("operation %d failed, apply did not", n)
		}
		w.power.FailAt(0, storetest.Kill)
		back := w.clone()
		back.mustUndo(t, original, fmt.Sprintf("fault at %d", n))
		if _, err := w.resume(plan); err != nil {
			t.Fatalf("fault at %d: resume: %v", n, err)
		}
		if !same(w.snapshot(), final) {
			t.Fatalf("fault at %d: resume: wrong bytes", n)
		}
	}
}

// TestRandomRepairs does the same for random stores, random policies and a random crash.
func TestRandomRepairs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base := randomWorld(rt)
		policy := finding.Policy{ByClass: map[string]finding.Action{
			"mem/dangling-ref":   rapid.SampledFrom([]finding.Action{finding.Unlink, finding.Restore, finding.Ignore}).Draw(rt, "dangling"),
			"mem/corrupt-object": rapid.SampledFrom([]finding.Action{finding.Quarantine, finding.Discard, finding.Interact}).Draw(rt, "corrupt"),
		}}
		plan := base.plan(t, policy)
		original := base.snapshot()
		ref := base.clone()
		if _, err := ref.apply(plan); err != nil {
			rt.Fatalf("apply: %v", err)
		}
		final, ops := ref.snapshot(), ref.power.Ops()
		parked := map[string]bool{}
		for _, u := range plan.Units {
			parked[u.Unit] = len(u.Parked) > 0
		}
		for _, f := range ref.check(t) {
			if act := policy.Decide(&f); act != finding.Ignore && !parked[f.Unit] {
				rt.Fatalf("after the repair: %s %s", f.Class, f.Subject)
			}
		}
		if ops == 0 {
			return
		}
		n := rapid.IntRange(1, ops).Draw(rt, "crash at")
		fates := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 20).Draw(rt, "fates")
		i := 0
		o := outage{name: "random", mode: storetest.Tear, fate: func() storetest.Fate { i++; return storetest.Fate(fates[i%len(fates)]) }}
		w := base.clone()
		w.crash(rt, n, o, func() error { _, err := w.apply(plan); return err })
		back := w.clone()
		back.mustUndo(rt, original, "random")
		if _, err := w.resume(plan); err != nil {
			rt.Fatalf("resume: %v", err)
		}
		if !same(w.snapshot(), final) {
			rt.Fatalf("resume: wrong bytes")
		}
		w.mustUndo(rt, original, "random, resumed")
	})
}

func randomWorld(rt *rapid.T) *world {
	names := []string{"a", "b", "c", "d", "e", "f"}
	unit := func(label string) map[string]string {
		recs := map[string]string{"count": rapid.SampledFrom([]string{"0", "3", "x"}).Draw(rt, label+" count")}
		for _, n := range names {
			switch rapid.IntRange(0, 3).Draw(rt, label+" obj "+n) {
			case 0:
				recs["obj/"+n] = storetest.Object(rapid.StringN(0, 20, -1).Draw(rt, "data"))
			case 1:
				recs["obj/"+n] = rapid.StringN(1, 20, -1).Draw(rt, "junk") + "!"
			}
			if rapid.Bool().Draw(rt, label+" ref "+n) {
				recs["ref/"+n] = rapid.SampledFrom(names).Draw(rt, "to")
			}
		}
		return recs
	}
	units := map[string]map[string]string{"alpha": unit("alpha")}
	if rapid.Bool().Draw(rt, "two units") {
		units["beta"] = unit("beta")
	}
	return newWorld(units, rapid.IntRange(1, 9).Draw(rt, "pages"))
}
