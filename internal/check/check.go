package check

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// Progress is how far a check is; Summary is how it ended. Both are also files of the run.
type (
	Progress = runs.Progress
	Summary  = runs.Summary
)

// ErrStopped is why a pass has to end early: the context was cancelled or somebody asked the run to stop.
var ErrStopped = errors.New("stopped on request")

// Defaults of Config.
const (
	DefaultMemory   = 256 << 20
	DefaultInterval = 10 * time.Second
)

// Config says what to check and how.
type Config struct {
	Store   store.Store
	Classes finding.Classes // of the store's system
	Run     *runs.Run

	Memory    int64         // bytes for all units together; 0 means DefaultMemory
	Workers   int           // goroutines for all units together; 0 means one per CPU
	Rate      int64         // records per second; 0 for no limit
	RateBytes int64         // bytes per second; 0 for no limit
	Interval  time.Duration // between checkpoints; 0 means DefaultInterval
	Resume    bool          // go on from the run's checkpoint

	Severities []SeverityRule // the first that matches a finding decides
	Baseline   *Baseline      // accepted findings; nil for none

	// OnProgress is called about twice a second and once at the end, never by two goroutines at a time.
	OnProgress func(Progress)
	// OnFinding is called once for every finding of the run, in the order of findings.jsonl, never by two goroutines at
	// a time; a resumed run begins with those it kept. All passes wait for it; it must not call back into the check.
	OnFinding func(finding.Finding)
}

// Run checks the store and keeps everything in cfg.Run. It takes the run's lock.
//
// The summary is filled whenever the check has begun, also with an error: one wrapping ErrStopped (fault.Cancelled) when
// the check was stopped, otherwise what went wrong. Resuming a run whose check has finished returns its summary.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	if err := cfg.prepare(); err != nil {
		return Summary{}, err
	}
	unlock, err := cfg.Run.Lock()
	if err != nil {
		return Summary{}, err
	}
	defer unlock()
	if sum, err := cfg.Run.Summary(); err == nil && sum.State == runs.Finished {
		if cfg.Resume {
			return sum, cfg.replay()
		}
		return sum, &fault.Error{Op: "check", Where: cfg.Run.ID(), Err: errors.New("this run has been checked already"), Kind: fault.Usage}
	}
	e := newEngine(ctx, cfg)
	defer e.cancel(nil)
	if err := e.open(); err != nil {
		return Summary{}, errors.Join(err, cfg.Run.WriteStatus(runs.Status{State: runs.Failed, Error: err.Error()}))
	}
	e.work()
	return e.finish()
}

// prepare checks the configuration and fills in defaults.
func (c *Config) prepare() error {
	if c.Store == nil || c.Run == nil {
		return errors.New("check: Config needs a Store and a Run")
	}
	if c.Memory <= 0 {
		c.Memory = DefaultMemory
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	c.Rate, c.RateBytes = max(c.Rate, 0), max(c.RateBytes, 0)
	seen := map[string]bool{}
	for _, u := range c.Store.Units() {
		if u.ID() == "" || seen[u.ID()] {
			return fmt.Errorf("check: unit id %q is empty or not unique", u.ID())
		}
		seen[u.ID()] = true
		names := map[string]bool{}
		for _, p := range u.Passes() {
			if p.Name == "" || p.Run == nil || names[p.Name] {
				return fmt.Errorf("check: unit %s: pass %q has no name or no function, or its name is not unique", u.ID(), p.Name)
			}
			names[p.Name] = true
		}
	}
	return nil
}

// replay shows the findings of a finished run.
func (c *Config) replay() error {
	if c.OnFinding == nil {
		return nil
	}
	for f, err := range c.Run.Findings() {
		if err != nil {
			return err
		}
		c.OnFinding(f)
	}
	return nil
}
