package check

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

func TestBudgetsAreShared(t *testing.T) {
	var memory, workers int64
	pass := []store.Pass{{Name: "p", Run: func(_ context.Context, env store.Env) error {
		memory, workers = env.Memory(), int64(env.Workers())
		return nil
	}}}
	for _, c := range []struct {
		units, workers int
		memory         int64
		wantM, wantW   int64
	}{{1, 8, 64 << 20, 64 << 20, 8}, {4, 8, 64 << 20, 16 << 20, 2}, {4, 2, 64 << 20, 32 << 20, 1}, {1, 1, 0, DefaultMemory, 1}, {1, 1, 5, 1 << 20, 1}} {
		var s fakeStore
		for i := range c.units - 1 {
			s = append(s, &fakeUnit{id: fmt.Sprint(i)})
		}
		s = append(s, &fakeUnit{id: "measured", passes: pass})
		if _, err := runOne(t, Config{Store: s, Workers: c.workers, Memory: c.memory}, nil); err != nil || memory != c.wantM || workers != c.wantW {
			t.Errorf("%+v: memory %d, workers %d, error %v", c, memory, workers, err)
		}
	}
}

// What one pass leaves in the scratch directory the next one finds, also in a later life; other units do not see it.
func TestScratch(t *testing.T) {
	var paths []string
	build := func(stop func()) fakeStore {
		var s fakeStore
		for _, id := range []string{"a/b", "a:b", strings.Repeat("long", 100)} {
			s = append(s, &fakeUnit{id: id, passes: []store.Pass{
				{Name: "write", Run: func(_ context.Context, env store.Env) error {
					paths = append(paths, env.Scratch())
					return os.WriteFile(filepath.Join(env.Scratch(), "f"), []byte(id), 0o600)
				}},
				{Name: "read", Run: func(ctx context.Context, env store.Env) error {
					if stop != nil {
						stop()
						return env.Did(ctx, 1, 1)
					}
					b, err := os.ReadFile(filepath.Join(env.Scratch(), "f"))
					if err == nil && string(b) != id {
						err = fmt.Errorf("found %q", b)
					}
					return err
				}}}})
		}
		return s
	}
	r := newRun(t)
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Run(ctx, Config{Store: build(cancel), Classes: fakeClasses, Run: r, Workers: 1}); err == nil {
		t.Fatal("not stopped")
	}
	if _, err := runOne(t, Config{Store: build(nil), Run: r, Resume: true, Workers: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if len(paths) != 3 || paths[0] == paths[1] {
		t.Errorf("paths %q", paths)
	}
}

func TestFactsAndNotes(t *testing.T) {
	var s fakeStore
	for i, facts := range []map[string]any{
		{"objects": 1398, "ratio": 0.5, "newest": "a", "mixed": 1, "odd": math.Inf(1)},
		{"objects": int64(1) << 60, "ratio": 1, "newest": "b", "mixed": "x", "list": []int{1}},
	} {
		s = append(s, &fakeUnit{id: fmt.Sprint(i), passes: []store.Pass{{Name: "p", Run: func(_ context.Context, env store.Env) error {
			for k, v := range facts {
				env.Fact(k, v)
			}
			for n := range 1000 {
				env.Note(fmt.Sprint("note ", n%500))
			}
			return nil
		}}}})
	}
	sum, err := runOne(t, Config{Store: s, Workers: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "map[list:[1] mixed:x newest:b objects:1152921504606848374 odd:+Inf ratio:1.5]"
	if got := fmt.Sprint(sum.Facts); got != want {
		t.Errorf("facts %s", got)
	}
	if len(sum.Notes) != 2*(maxNotes+1) || sum.Verdict != finding.Clean {
		t.Errorf("%d notes, verdict %s", len(sum.Notes), sum.Verdict)
	}
}

// When the run can no longer be kept, the check ends with the reason instead of going on for nothing.
func TestRunDirectoryVanishes(t *testing.T) {
	r := newRun(t)
	after := false
	_, err := runOne(t, Config{Run: r}, func(ctx context.Context, env store.Env) error {
		if err := os.RemoveAll(r.Path()); err != nil {
			return err
		}
		env.Save(1)
		if err := env.Did(ctx, 1, 1); err != nil {
			return err
		}
		after = true
		return nil
	})
	if err == nil || after || !strings.Contains(err.Error(), runs.CheckpointFile) {
		t.Errorf("error %v, went on: %v", err, after)
	}
}

func TestStatesThatCannotBeSavedOrLoaded(t *testing.T) {
	if _, err := runOne(t, Config{}, func(_ context.Context, env store.Env) error { env.Save(make(chan int)); return nil }); err == nil {
		t.Error("a channel was saved")
	}
	r := newRun(t)
	ctx, cancel := context.WithCancel(context.Background())
	pass := func(ctx context.Context, env store.Env) error {
		var n int
		if _, err := env.Load(&n); err != nil {
			return err
		}
		if err := env.Save("not a number"); err != nil {
			return err
		}
		cancel()
		return env.Did(ctx, 1, 1)
	}
	s := fakeStore{&fakeUnit{id: "u", passes: []store.Pass{{Name: "p", Run: pass}}}}
	if _, err := Run(ctx, Config{Store: s, Classes: fakeClasses, Run: r}); err == nil {
		t.Fatal("not stopped")
	}
	if _, err := runOne(t, Config{Store: s, Run: r, Resume: true}, nil); err == nil || !strings.Contains(err.Error(), "resume pass p") {
		t.Errorf("error %v", err)
	}
}

// What a pass could not look at keeps the verdict from being clean, and a stop in a later pass does not make it forgotten.
func TestUnseenIsIncomplete(t *testing.T) {
	build := func(cancel context.CancelFunc) store.Store {
		return fakeStore{&fakeUnit{id: "u", passes: []store.Pass{
			{Name: "p", Run: func(_ context.Context, env store.Env) error {
				env.Unseen("mdt1 is missing")
				return nil
			}},
			{Name: "q", Run: func(ctx context.Context, env store.Env) error {
				if cancel != nil {
					cancel()
				}
				return env.Did(ctx, 1, 1)
			}},
		}}}
	}
	r := newRun(t)
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Run(ctx, Config{Store: build(cancel), Classes: fakeClasses, Run: r, Workers: 1}); err == nil {
		t.Fatal("not stopped")
	}
	sum, err := runOne(t, Config{Store: build(nil), Run: r, Resume: true, Workers: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Verdict != finding.Incomplete || len(sum.Notes) != 1 || sum.Notes[0] != "mdt1 is missing" {
		t.Errorf("verdict %s, notes %q", sum.Verdict, sum.Notes)
	}
}
