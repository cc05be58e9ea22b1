package flux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// Every pass leaves its result in the scratch directory, so that a resumed check, a plan and a confirmation start from
// there. A result counts only for the very state of the store that it was made from.
type savedResult struct {
	Fingerprint string          `json:"fingerprint"`
	Settings    string          `json:"settings"` // the options that the result depends on
	Result      json.RawMessage `json:"result"`
}

func (u *unit) resultKey(ctx context.Context) (savedResult, error) {
	fp, err := u.Fingerprint(ctx)
	return savedResult{Fingerprint: fp, Settings: fmt.Sprintf("checkpoint=%s scan=%t wal=%s", u.opts.checkpoint, u.opts.scan, u.opts.wal)}, err
}

// loadResult fills v from the saved result of a pass and tells whether there was a valid one.
func (u *unit) loadResult(ctx context.Context, dir, pass string, v any) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, pass+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read result of pass %s: %w", pass, err)
	}
	key, err := u.resultKey(ctx)
	if err != nil {
		return false, err
	}
	var s savedResult
	if err := json.Unmarshal(b, &s); err != nil || s.Fingerprint != key.Fingerprint || s.Settings != key.Settings {
		return false, nil // torn or of another state: the pass is run again
	}
	return true, json.Unmarshal(s.Result, v)
}

// saveResult writes the result of a pass by rename.
func (u *unit) saveResult(ctx context.Context, dir, pass string, v any) error {
	s, err := u.resultKey(ctx)
	if err != nil {
		return err
	}
	if s.Result, err = json.Marshal(v); err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, pass+".json")
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return fmt.Errorf("save result of pass %s: %w", pass, err)
	}
	return os.Rename(name+".new", name)
}

// ensureIndex makes sure that u.idx is there, from the spool if need be.
func (u *unit) ensureIndex(ctx context.Context, env store.Env) error {
	if u.idx != nil {
		return nil
	}
	return u.sweep(ctx, env)
}

// analyse runs the passes up to the walk, or loads what they left in work.
func (u *unit) analyse(ctx context.Context, work string, workers int) error {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	env := &quietEnv{dir: work, workers: workers}
	for _, pass := range u.Passes()[:3] { // without the report
		env.part = store.Begin(ctx, pass.Name, pass.Title, 0, 0)
		err := pass.Run(ctx, env)
		env.part.End()
		if err != nil {
			return err
		}
	}
	return nil
}

// quietEnv runs passes outside of a check: nothing is limited or checkpointed, and only a meter of the caller's counts.
type quietEnv struct {
	dir     string
	workers int
	part    *store.Part // nil: nothing is counted
}

func (*quietEnv) Emit(finding.Finding) (int, error) {
	return 0, errors.New("finding outside of a check")
}
func (e *quietEnv) Total(records, bytes int64) {
	if e.part != nil {
		e.part.Total(records, bytes)
	}
}
func (e *quietEnv) Did(ctx context.Context, records, bytes int64) error {
	if e.part != nil {
		e.part.Did(records, bytes)
	}
	return ctx.Err()
}
func (*quietEnv) Memory() int64          { return 256 << 20 }
func (e *quietEnv) Workers() int         { return max(1, e.workers) }
func (e *quietEnv) Scratch() string      { return e.dir }
func (*quietEnv) Due() bool              { return false }
func (*quietEnv) Save(any) error         { return nil }
func (*quietEnv) Load(any) (bool, error) { return false, nil }
func (*quietEnv) Fact(string, any)       {}
func (*quietEnv) Note(string)            {}
func (*quietEnv) Unseen(string)          {}
