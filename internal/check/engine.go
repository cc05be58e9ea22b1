package check

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"fettle/internal/finding"
	"fettle/internal/runs"
)

// engine is one life of one check.
type engine struct {
	cfg     Config
	classes map[string]finding.Class
	ctx     context.Context // done as soon as passes have to stop; see cause
	cancel  context.CancelCauseFunc
	parent  context.Context // the caller's
	lim     *limiter
	units   []*unitRun
	abreast int // units that run at the same time
	start   time.Time
	before  float64 // seconds spent in earlier lives
	window  window  // used by the watcher only, like pace
	pace    pace    // what the rates in the window belong to

	mu      sync.Mutex // guards what follows, the counters of units and the order of OnFinding
	log     *runs.Log
	numbers numbers
	notes   []string
	fatal   error // the first failure that ends the whole check
	badCtl  error // control.json could not be read
	kept    *runs.Checkpoint
}

func newEngine(parent context.Context, cfg Config) *engine {
	e := &engine{cfg: cfg, classes: map[string]finding.Class{}, start: time.Now(), lim: newLimiter(cfg.Rate, cfg.RateBytes)}
	for _, c := range cfg.Classes {
		e.classes[c.ID] = c
	}
	for _, u := range cfg.Store.Units() {
		ur := &unitRun{e: e, unit: u}
		ur.reset()
		e.units = append(e.units, ur)
	}
	e.abreast = max(1, min(cfg.Workers, len(e.units)))
	e.parent = parent
	e.ctx, e.cancel = context.WithCancelCause(parent)
	return e
}

// work runs all units that are not done and returns when none is running any more.
func (e *engine) work() {
	watched := make(chan struct{})
	stopWatch := make(chan struct{})
	go func() {
		defer close(watched)
		e.watch(stopWatch)
	}()
	slots := make(chan struct{}, e.abreast)
	var wg sync.WaitGroup
	for _, u := range e.units {
		if u.point.Done {
			continue
		}
		slots <- struct{}{}
		if e.ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			err := u.run()
			e.mu.Lock()
			defer e.mu.Unlock()
			u.running, u.err = false, err
		})
	}
	wg.Wait()
	close(stopWatch)
	<-watched
}

// cause says why ctx is done: ErrStopped, also when the caller cancelled for a reason of its own, or what went wrong.
func (e *engine) cause() error {
	err := context.Cause(e.ctx)
	if e.parent.Err() != nil && err == context.Cause(e.parent) {
		return ErrStopped
	}
	return err
}

// failLocked ends the whole check because of err, which is returned. The caller holds mu.
func (e *engine) failLocked(err error) error {
	if e.fatal == nil {
		e.fatal = err
	}
	e.cancel(err)
	return err
}

// note adds a sentence for the person, once. Callers hold mu or are alone.
func (e *engine) note(text string) {
	e.notes = addNote(e.notes, text)
}

// maxNotes bounds the sentences about one unit: nobody reads more, and a pass may meet very many oddities.
const maxNotes = 100

func addNote(notes []string, text string) []string {
	switch {
	case len(notes) > maxNotes || slices.Contains(notes, text):
		return notes
	case len(notes) == maxNotes:
		return append(notes, "there were more notes than these")
	}
	return append(notes, text)
}

// seconds is the time spent in all lives of the run.
func (e *engine) seconds() float64 { return e.before + time.Since(e.start).Seconds() }

// class returns the system's class of that id.
func (e *engine) class(id string) (finding.Class, error) {
	c, ok := e.classes[id]
	if !ok {
		return c, fmt.Errorf("a pass found %q, which is not a class of the system", id)
	}
	return c, nil
}
