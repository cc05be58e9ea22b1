package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// testEnv is the smallest store.Env: it keeps everything in memory, always wants a checkpoint, and never stops a pass.
type testEnv struct {
	mu      sync.Mutex
	unit    string
	scratch string
	found   []finding.Finding
	bad     []error
}

// Check runs all passes of a unit and returns its findings. An error of a pass, or a finding or checkpoint that cannot be
// written down, fails the test.
func Check(t testing.TB, u store.Unit) []finding.Finding {
	t.Helper()
	env := &testEnv{unit: u.ID(), scratch: t.TempDir()}
	for _, p := range u.Passes() {
		if err := p.Run(t.Context(), env); err != nil {
			t.Fatalf("unit %s, pass %s: %v", u.ID(), p.Name, err)
		}
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
	e.found = append(e.found, f)
	return f.Seq, nil
}

func (e *testEnv) Total(int64, int64) {}

func (e *testEnv) Did(ctx context.Context, _, _ int64) error { return ctx.Err() }

func (e *testEnv) Memory() int64 { return 64 << 20 }

func (e *testEnv) Workers() int { return 2 }

func (e *testEnv) Scratch() string { return e.scratch }

func (e *testEnv) Due() bool { return true }

func (e *testEnv) Save(state any) error {
	_, err := json.Marshal(state)
	return err
}

func (e *testEnv) Load(any) (bool, error) { return false, nil }

func (e *testEnv) Fact(name string, value any) {
	if _, err := json.Marshal(value); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.bad = append(e.bad, fmt.Errorf("fact %s: %w", name, err))
	}
}

func (e *testEnv) Note(string) {}
