package check

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FETTLE_TEST_KILL_DIR"); dir != "" {
		killedChild(dir) // see kill_test.go; does not return
	}
	goleak.VerifyTestMain(m)
}

var fakeClasses = finding.Classes{
	{ID: "fake/lost", Aliases: []string{"FAKE_LOST"}, Title: "An object is lost", Severity: finding.Error, Shape: finding.Dangling,
		Actions: []finding.ActionDoc{{Action: finding.Quarantine}, {Action: finding.Unlink}}},
	{ID: "fake/odd", Title: "An object is odd", Severity: finding.Info, Shape: finding.Mismatch},
}

// fakeStore is a store whose units are made of closures.
type fakeStore []store.Unit

func (s fakeStore) Units() []store.Unit { return s }
func (s fakeStore) Close() error        { return nil }

type fakeUnit struct {
	id      string
	passes  []store.Pass
	print   func() string                // fingerprint; nil for one that never changes
	inUse   string                       //
	confirm func(*finding.Finding) error // nil: holds; errGone: does not hold
}

var errGone = fmt.Errorf("gone")

func (u *fakeUnit) ID() string              { return u.id }
func (u *fakeUnit) Targets() []store.Target { return nil }
func (u *fakeUnit) Passes() []store.Pass    { return u.passes }
func (u *fakeUnit) Fingerprint(context.Context) (string, error) {
	if u.print == nil {
		return "same", nil
	}
	return u.print(), nil
}
func (u *fakeUnit) InUse(context.Context) (string, error) { return u.inUse, nil }
func (u *fakeUnit) Confirm(_ context.Context, f *finding.Finding) (bool, error) {
	if u.confirm == nil {
		return true, nil
	}
	err := u.confirm(f)
	if err == errGone {
		return false, nil
	}
	return err == nil, err
}

// counting makes a pass that looks at n records, finds something about every third one, whose cause is the one before,
// and saves its position every saveEvery records. hook runs before every record (see the steps below).
func counting(name string, n, saveEvery int, hook func(step string, i int)) store.Pass {
	type state struct{ Next, Cause int }
	if hook == nil {
		hook = func(string, int) {}
	}
	return store.Pass{Name: name, Title: "counting " + name, Run: func(ctx context.Context, env store.Env) error {
		var st state
		if _, err := env.Load(&st); err != nil {
			return err
		}
		env.Total(int64(n), int64(n)*10)
		for i := st.Next; i < n; i++ {
			hook("did", i)
			if err := env.Did(ctx, 1, 10); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
			if i%3 == 0 {
				hook("emit", i)
				f := finding.Finding{Class: "fake/lost", Subject: fmt.Sprintf("%s-%d", name, i)}
				if st.Cause > 0 {
					f.CausedBy = &st.Cause
				}
				seq, err := env.Emit(f)
				if err != nil {
					return err
				}
				st.Cause = seq
			}
			env.Fact("records."+name, i+1)
			if (i+1)%saveEvery == 0 {
				st.Next = i + 1
				if err := env.Save(st); err != nil {
					return err
				}
				hook("saved", i)
			}
		}
		env.Note("looked at all of " + name)
		return nil
	}}
}

func newRun(t testing.TB) *runs.Run {
	t.Helper()
	d, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.New(runs.Spec{Store: "fake:x", System: "fake"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found reads the findings of a run, checks that their numbers are dense and in order, and returns one line for each.
// With several units the order is a matter of luck, so numbers can be left out, and causes are named by subject.
func found(t testing.TB, r *runs.Run) []string {
	t.Helper()
	var out []string
	subject := map[int]string{0: "-"}
	for f, err := range r.Findings() {
		if err != nil {
			t.Fatal(err)
		}
		if f.Seq != len(out)+1 {
			t.Fatalf("finding %d has number %d", len(out)+1, f.Seq)
		}
		cause := 0
		if f.CausedBy != nil {
			if cause = *f.CausedBy; cause < 1 {
				t.Fatalf("finding %d is caused by number %d", f.Seq, cause)
			}
		}
		if cause >= f.Seq {
			t.Fatalf("finding %d is caused by %d", f.Seq, cause)
		}
		subject[f.Seq] = f.Unit + "/" + f.Subject
		out = append(out, fmt.Sprintf("%s %s %s after %s", f.Class, f.Unit, f.Subject, subject[cause]))
	}
	return out
}

// gist is what must be the same in the summaries of an interrupted and an uninterrupted run.
func gist(t testing.TB, s Summary) string {
	t.Helper()
	s.Run, s.Seconds = "", 0
	s.ByUnit = slices.Clone(s.ByUnit)
	for i := range s.ByUnit {
		passes := slices.Clone(s.ByUnit[i].Passes)
		for k := range passes {
			passes[k].Seconds, passes[k].CPU = 0, 0
		}
		s.ByUnit[i].Passes = passes
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
