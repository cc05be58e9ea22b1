package check

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

func openDir(t testing.TB, r *runs.Run) *runs.Dir {
	t.Helper()
	d, err := runs.Open(filepath.Dir(r.Path()))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// oneUnit is the store of the tests with one unit: two passes with saves in the midst of causes and effects.
func oneUnit(hook func(string, int)) fakeStore {
	return fakeStore{&fakeUnit{id: "u", passes: []store.Pass{counting("a", 31, 7, hook), counting("b", 13, 4, hook)}}}
}

// uninterrupted returns what a check of s that nobody stops finds.
func uninterrupted(t testing.TB, s fakeStore) ([]string, string) {
	t.Helper()
	r := newRun(t)
	sum, err := Run(context.Background(), Config{Store: s, Classes: fakeClasses, Run: r})
	if err != nil {
		t.Fatal(err)
	}
	return found(t, r), gist(t, sum)
}

// Stopping at every single step of the check (every Did, every Emit, after every Save) and going on must end in the same
// findings, the same numbers and the same summary.
func TestStopAtEveryStepAndResume(t *testing.T) {
	want, wantSum := uninterrupted(t, oneUnit(nil))
	steps := 0
	oneUnitSteps := oneUnit(func(string, int) { steps++ })
	uninterrupted(t, oneUnitSteps)
	if steps < 60 {
		t.Fatalf("only %d steps: the test has lost its object", steps)
	}
	for stopAt := 1; stopAt <= steps; stopAt++ {
		r := newRun(t)
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		sum, err := Run(ctx, Config{Store: oneUnit(func(string, int) {
			if n++; n == stopAt {
				cancel()
			}
		}), Classes: fakeClasses, Run: r})
		if err != nil && (!errors.Is(err, ErrStopped) || fault.KindOf(err) != fault.Cancelled || sum.State != runs.Stopped || sum.Verdict != finding.Incomplete) {
			t.Fatalf("step %d: error %v, summary %+v", stopAt, err, sum)
		}
		var seen []int
		sum, err = Run(context.Background(), Config{Store: oneUnit(nil), Classes: fakeClasses, Run: r, Resume: true,
			OnFinding: func(f finding.Finding) { seen = append(seen, f.Seq) }})
		if err != nil {
			t.Fatalf("step %d: resume: %v", stopAt, err)
		}
		if got := found(t, r); !slices.Equal(got, want) || gist(t, sum) != wantSum {
			t.Fatalf("step %d:\n got %q\nwant %q\n got %s\nwant %s", stopAt, got, want, gist(t, sum), wantSum)
		}
		if len(seen) != len(want) || !slices.IsSorted(seen) {
			t.Fatalf("step %d: OnFinding saw %v", stopAt, seen)
		}
		cancel()
	}
}

// Several units, several lives, stopped at random: the findings are the same although the order of units is luck, and
// numbers are dense although the checkpoints of the units are of different ages.
func TestResumeParallelUnits(t *testing.T) {
	build := func(hook func(string, int)) fakeStore {
		var s fakeStore
		for i, save := range []int{5, 1000, 8} {
			s = append(s, &fakeUnit{id: fmt.Sprintf("u%d", i), passes: []store.Pass{counting("a", 24, save, hook), counting("b", 9, save, hook)}})
		}
		return s
	}
	want, wantSum := uninterrupted(t, build(nil))
	slices.Sort(want)
	d, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fewerChecks(t)
	rapid.Check(t, func(rt *rapid.T) {
		r, err := d.New(runs.Spec{Store: "fake:x"})
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(r.Path())
		lives := rapid.SliceOfN(rapid.IntRange(1, 110), 0, 3).Draw(rt, "stops")
		var sum Summary
		for i := 0; i <= len(lives); i++ {
			ctx, cancel := context.WithCancel(context.Background())
			var mu sync.Mutex
			n := 0
			sum, err = Run(ctx, Config{Store: build(func(string, int) {
				mu.Lock()
				defer mu.Unlock()
				if n++; i < len(lives) && n == lives[i] {
					cancel()
				}
			}), Classes: fakeClasses, Run: r, Resume: i > 0, Workers: 3})
			cancel()
			if err != nil && !errors.Is(err, ErrStopped) {
				rt.Fatal(err)
			}
		}
		got := found(t, r)
		slices.Sort(got)
		if !slices.Equal(got, want) || gist(t, sum) != wantSum {
			rt.Fatalf("got %d findings %s\nwant %d %s", len(got), gist(t, sum), len(want), wantSum)
		}
	})
}

// fewerChecks asks rapid for 30 tries in this test: every one of them fsyncs a hundred times.
func fewerChecks(t *testing.T) {
	f := flag.Lookup("rapid.checks")
	if f == nil || f.Value.String() != f.DefValue {
		return // somebody asked for another number
	}
	if err := flag.Set("rapid.checks", "30"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flag.Set("rapid.checks", f.DefValue) })
}

// stopped returns a run of u that was stopped before record at of pass a.
func stopped(t *testing.T, r *runs.Run, at int, build func(hook func(string, int)) fakeStore) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := Run(ctx, Config{Classes: fakeClasses, Run: r, Store: build(func(step string, i int) {
		if step == "did" && i == at {
			cancel()
		}
	})})
	if !errors.Is(err, ErrStopped) {
		t.Fatalf("not stopped: %v", err)
	}
}

func TestResumeAfterTheStoreChanged(t *testing.T) {
	print := "before"
	build := func(hook func(string, int)) fakeStore {
		s := oneUnit(hook)
		s[0].(*fakeUnit).print = func() string { return print }
		return s
	}
	want, _ := uninterrupted(t, build(nil))
	r := newRun(t)
	stopped(t, r, 29, build)
	print = "after"
	began := -1
	sum, err := Run(context.Background(), Config{Classes: fakeClasses, Run: r, Resume: true, Store: build(func(_ string, i int) {
		if began < 0 {
			began = i
		}
	})})
	if err != nil || began != 0 || !slices.Equal(found(t, r), want) || !strings.Contains(strings.Join(sum.Notes, "\n"), "starts over") {
		t.Errorf("began at %d, summary %+v, error %v", began, sum, err)
	}
}

func TestResumeFromDamagedRuns(t *testing.T) {
	want, _ := uninterrupted(t, oneUnit(nil))
	for name, damage := range map[string]func(r *runs.Run) error{
		"checkpoint is garbage": func(r *runs.Run) error { return os.WriteFile(r.File(runs.CheckpointFile), []byte("{]"), 0o600) },
		"checkpoint of another run": func(r *runs.Run) error {
			return r.WriteJSON(runs.CheckpointFile, checkpoint{Type: "checkpoint", Schema: 1, Run: "x"})
		},
		"findings are gone":          func(r *runs.Run) error { return os.Remove(r.File(runs.FindingsFile)) },
		"findings are cut short":     func(r *runs.Run) error { return os.Truncate(r.File(runs.FindingsFile), 300) },
		"first finding is overwrite": func(r *runs.Run) error { return overwrite(r.File(runs.FindingsFile), "garbage!") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t)
			stopped(t, r, 29, oneUnit)
			if err := damage(r); err != nil {
				t.Fatal(err)
			}
			sum, err := Run(context.Background(), Config{Classes: fakeClasses, Run: r, Resume: true, Store: oneUnit(nil)})
			if err != nil || !slices.Equal(found(t, r), want) || !strings.Contains(strings.Join(sum.Notes, "\n"), "starts over") {
				t.Errorf("summary %+v, error %v", sum, err)
			}
		})
	}
}

func overwrite(path, head string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(head), 0)
	return errors.Join(err, f.Close())
}

// A unit that starts over may find less than before: the numbers that become free are closed up.
func TestResumeClosesGaps(t *testing.T) {
	print, subjects := "before", 10
	build := func(stop func()) fakeStore {
		saved := make(chan struct{})
		first := func(_ context.Context, env store.Env) error {
			for i := range subjects {
				if _, err := env.Emit(finding.Finding{Class: "fake/lost", Subject: fmt.Sprint(i)}); err != nil {
					return err
				}
			}
			if err := env.Save(1); err != nil {
				return err
			}
			close(saved)
			if stop != nil {
				<-env.(interface{ done() <-chan struct{} }).done()
				return ErrStopped
			}
			return nil
		}
		second := func(ctx context.Context, env store.Env) error {
			<-saved
			cause, err := env.Emit(finding.Finding{Class: "fake/lost", Subject: "cause"})
			if err != nil {
				return err
			}
			_, err = env.Emit(finding.Finding{Class: "fake/lost", Subject: "effect", CausedBy: &cause})
			return err
		}
		third := func(ctx context.Context, env store.Env) error {
			if stop != nil {
				stop()
			}
			return nil
		}
		return fakeStore{
			&fakeUnit{id: "first", passes: []store.Pass{{Name: "p", Run: first}}, print: func() string { return print }},
			&fakeUnit{id: "second", passes: []store.Pass{{Name: "p", Run: second}, {Name: "q", Run: third}}},
		}
	}
	r := newRun(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := Run(ctx, Config{Classes: fakeClasses, Run: r, Workers: 2, Store: build(cancel)}); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	print, subjects = "after", 3
	sum, err := Run(context.Background(), Config{Classes: fakeClasses, Run: r, Workers: 2, Resume: true, Store: build(nil)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"fake/lost first 0 after -", "fake/lost first 1 after -", "fake/lost first 2 after -",
		"fake/lost second cause after -", "fake/lost second effect after second/cause"}
	if got := found(t, r); !slices.Equal(got, want) || sum.Findings != 5 || !strings.Contains(strings.Join(sum.Notes, "\n"), "other numbers") {
		t.Errorf("got %q, summary %+v", got, sum)
	}
}

// done lets a fake pass wait for the stop.
func (v *env) done() <-chan struct{} { return v.e.ctx.Done() }

func TestRepairedRunIsNotCheckedAgain(t *testing.T) {
	r := newRun(t)
	stopped(t, r, 29, oneUnit)
	if err := r.AddOutcomes(runs.Outcome{Seq: 1, Action: finding.Unlink, Result: "done", Stage: "apply"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), Config{Classes: fakeClasses, Run: r, Resume: true, Store: oneUnit(nil)}); fault.KindOf(err) != fault.Usage {
		t.Errorf("a repaired run is resumed: %v", err)
	}
}
