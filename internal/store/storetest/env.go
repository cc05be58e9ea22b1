package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// testEnv is the smallest store.Env: it keeps everything in memory, wants checkpoints, and stops a pass only when it is told to.
type testEnv struct {
	mu      sync.Mutex
	unit    string
	classes finding.Classes
	scratch string
	found   []finding.Finding
	bad     []error
	stopAt  int // Did returns errStop at this call; 0 means never
	calls   int
	asked   int    // Dues so far
	state   []byte // what the running pass saved
	kept    int    // findings that are part of state
}

var errStop = errors.New("stopped on purpose")

// Check runs all passes of a unit and returns its findings. What a finding leaves empty is filled in from its class, as the
// check engine does it. An error of a pass, or a finding or checkpoint that cannot be
// written down, fails the test.
func Check(t testing.TB, u store.Unit, classes ...finding.Class) []finding.Finding {
	t.Helper()
	env := &testEnv{unit: u.ID(), scratch: t.TempDir(), classes: classes}
	for _, p := range u.Passes() {
		if err := p.Run(t.Context(), env); err != nil {
			t.Fatalf("unit %s, pass %s: %v", u.ID(), p.Name, err)
		}
		env.state, env.kept = nil, len(env.found) // a checkpoint is of one pass
	}
	for _, err := range env.bad {
		t.Errorf("unit %s: %v", u.ID(), err)
	}
	return env.found
}

func (e *testEnv) Emit(f finding.Finding) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.Type, f.Schema, f.Run, f.Unit = "finding", finding.Schema, "test", e.unit
	f.Seq, f.Found = len(e.found)+1, time.Unix(1700000000, 0).UTC()
	if c, ok := e.classes.Lookup(f.Class); ok {
		fill(&f, c)
	}
	e.found = append(e.found, f)
	return f.Seq, nil
}

// fill completes a finding from its class.
func fill(f *finding.Finding, c finding.Class) {
	if f.Severity == "" {
		f.Severity = c.Severity
	}
	if f.Title == "" {
		f.Title = c.Title
	}
	if f.Actions == nil {
		f.Actions = c.ActionNames()
	}
	if f.Suggested == "" && len(f.Actions) > 0 {
		f.Suggested = f.Actions[0]
	}
}

func (e *testEnv) Total(int64, int64) {}

func (e *testEnv) Did(ctx context.Context, _, _ int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	if e.stopAt > 0 && e.calls >= e.stopAt {
		return errStop
	}
	return ctx.Err()
}

func (e *testEnv) Memory() int64 { return 64 << 20 }

func (e *testEnv) Workers() int { return 2 }

func (e *testEnv) Scratch() string { return e.scratch }

// dueEvery is how many questions lie between two checkpoints of a pass that is not stopped. One at each question would make a check of a
// small store write to disk hundreds of times, and tests check thousands of them.
const dueEvery = 16

// Due is always true for a pass that will be stopped: it has to go on from wherever that happens.
func (e *testEnv) Due() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	return e.stopAt > 0 || e.asked%dueEvery == 0
}

func (e *testEnv) Save(state any) error {
	raw, err := json.Marshal(state)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state, e.kept = raw, len(e.found)
	return err
}

func (e *testEnv) Load(state any) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == nil {
		return false, nil
	}
	return true, json.Unmarshal(e.state, state)
}

func (e *testEnv) Fact(name string, value any) {
	if _, err := json.Marshal(value); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.bad = append(e.bad, fmt.Errorf("fact %s: %w", name, err))
	}
}

func (e *testEnv) Note(string) {}

func (e *testEnv) Unseen(string) {}

// CheckInterrupted checks the unit that open gives, but stops every pass at its stop-th report of work, opens the unit anew,
// and resumes from what the pass had saved; each life of a pass gets twice as far as the one before. It returns what was found
// in the end and how often it was interrupted.
func CheckInterrupted(t testing.TB, stop int, open func() (store.Unit, func()), classes ...finding.Class) (found []finding.Finding, interrupted int) {
	t.Helper()
	u, done := open()
	env := &testEnv{unit: u.ID(), scratch: t.TempDir(), stopAt: stop, classes: classes}
	for i := 0; i < len(u.Passes()); {
		p := u.Passes()[i]
		err := p.Run(t.Context(), env)
		switch {
		case err == nil:
			i++
			env.state, env.kept = nil, len(env.found)
		case errors.Is(err, errStop):
			interrupted++
			done()
			u, done = open()
			env.found = env.found[:env.kept]
			env.stopAt *= 2
		default:
			t.Fatalf("unit %s, pass %s, after %d interruptions: %v", u.ID(), p.Name, interrupted, err)
		}
		env.calls = 0
	}
	done()
	return env.found, interrupted
}
