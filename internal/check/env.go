package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// env is the store.Env of one pass of one unit.
type env struct {
	e       *engine
	u       *unitRun
	pass    string
	scratch string

	mu    sync.Mutex
	saved json.RawMessage // by the last Save, in this life or an earlier one
	err   error           // the first error that a method returned for a reason of its own
}

// fault remembers err, so that a pass cannot go on to a good end after it.
func (v *env) fault(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = err
	}
	return err
}

func (v *env) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Emit implements store.Env.
func (v *env) Emit(f finding.Finding) (int, error) {
	if err := v.complete(&f); err != nil {
		return 0, v.fault(err)
	}
	e, u := v.e, v.u
	if u.live {
		// An error leaves the finding: it cannot be shown to be a race.
		if holds, err := u.confirm(&f); err == nil && !holds {
			e.mu.Lock()
			u.dropped++
			e.mu.Unlock()
			return 0, nil
		} else if err != nil {
			u.note(u.prefix("findings could not be read again, they are reported as they were: " + err.Error()))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := f.CausedBy; c != nil && (*c < 0 || *c >= e.numbers.next) {
		return 0, v.fault(fmt.Errorf("finding of class %s is said to be caused by number %d, which does not exist", f.Class, *c))
	} else if c != nil && *c == 0 {
		f.CausedBy = nil // the cause was dropped as a race
	}
	f.Seq = e.numbers.take(u.last)
	if err := e.log.Append(&f); err != nil {
		return 0, v.fault(e.failLocked(err))
	}
	u.count(&f)
	if e.cfg.OnFinding != nil {
		e.cfg.OnFinding(f)
	}
	return f.Seq, nil
}

// complete fills in what the pass left open and refuses what the system's table of classes does not have.
func (v *env) complete(f *finding.Finding) error {
	c, err := v.e.class(f.Class)
	if err != nil {
		return err
	}
	f.Type, f.Schema, f.Run, f.Unit = "finding", finding.Schema, v.e.cfg.Run.ID(), v.u.id()
	f.Found = time.Now().UTC().Truncate(time.Millisecond)
	if f.Severity == "" {
		f.Severity = c.Severity
	}
	if _, err := finding.ParseSeverity(string(f.Severity)); err != nil {
		return fmt.Errorf("finding of class %s: %w", f.Class, err)
	}
	if f.Title == "" {
		f.Title = c.Title
	}
	// Clones, because the receivers of findings keep them; never nil, because readers of the JSON expect arrays.
	f.Evidence = append([]finding.Evidence{}, f.Evidence...)
	if f.Actions == nil {
		f.Actions = c.ActionNames()
	}
	f.Actions = append([]finding.Action{}, f.Actions...)
	for _, a := range f.Actions {
		if a != finding.Ignore && a != finding.Interact && !c.Offers(a) {
			return fmt.Errorf("finding of class %s offers the action %q, which the class does not have", f.Class, a)
		}
	}
	switch {
	case f.Suggested == "" && len(f.Actions) > 0:
		f.Suggested = f.Actions[0]
	case f.Suggested != "" && !slices.Contains(f.Actions, f.Suggested):
		return fmt.Errorf("finding of class %s suggests %q, which it does not offer", f.Class, f.Suggested)
	case f.Suggested != "":
		f.Prefer(f.Suggested, f.Why)
	}
	for _, r := range v.e.cfg.Severities {
		if r.matches(f) {
			f.Severity = r.Severity
			break
		}
	}
	f.Accepted = v.e.cfg.Baseline.accepts(f)
	return nil
}

// Total implements store.Env.
func (v *env) Total(records, bytes int64) {
	v.u.totalRecords.Store(max(records, 0))
	v.u.totalBytes.Store(max(bytes, 0))
}

// Did implements store.Env. Without a limit it costs two atomic additions and two looks at contexts.
func (v *env) Did(ctx context.Context, records, bytes int64) error {
	records, bytes = max(records, 0), max(bytes, 0)
	v.u.passRecords.Add(records)
	v.u.passBytes.Add(bytes)
	if v.e.ctx.Err() != nil {
		return v.e.cause()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !v.e.lim.limited.Load() {
		return nil
	}
	return v.e.wait(ctx, records, bytes)
}

// wait waits for the rate limit until either context is done.
func (e *engine) wait(ctx context.Context, records, bytes int64) error {
	at := e.lim.announce(records, bytes)
	if e.lim.left(at) <= 0 {
		return nil
	}
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ctx, func() { cancel(e.cause()) })()
	err := e.lim.await(both, at)
	if err != nil && e.ctx.Err() != nil {
		return e.cause()
	}
	return err
}

// Memory implements store.Env.
func (v *env) Memory() int64 { return max(v.e.cfg.Memory/int64(v.e.abreast), 1<<20) }

// Workers implements store.Env.
func (v *env) Workers() int { return max(v.e.cfg.Workers/v.e.abreast, 1) }

// Scratch implements store.Env.
func (v *env) Scratch() string { return v.scratch }

// Due implements store.Env. A stop is a good reason for a checkpoint.
func (v *env) Due() bool {
	return v.u.due() || v.e.ctx.Err() != nil
}

// Save implements store.Env.
func (v *env) Save(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return v.fault(fmt.Errorf("save the state of pass %s: %w", v.pass, err))
	}
	if err := v.e.save(v.u, func(p *point) { p.Pass, p.State = v.pass, b }); err != nil {
		return v.fault(err)
	}
	v.mu.Lock()
	v.saved = b
	v.mu.Unlock()
	v.u.setDue()
	return nil
}

// Load implements store.Env.
func (v *env) Load(state any) (bool, error) {
	v.mu.Lock()
	b := v.saved
	v.mu.Unlock()
	if b == nil {
		return false, nil
	}
	if err := json.Unmarshal(b, state); err != nil {
		return false, v.fault(&fault.Error{Op: "resume", Where: "pass " + v.pass, Err: err, Hint: "check the store anew"})
	}
	return true, nil
}

// Fact implements store.Env.
func (v *env) Fact(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		b, _ = json.Marshal(fmt.Sprint(value)) // a string can always be marshalled
	}
	v.e.mu.Lock()
	defer v.e.mu.Unlock()
	v.u.facts[name] = b
}

// Note implements store.Env.
func (v *env) Note(text string) { v.u.note(v.u.prefix(text)) }

// Unseen implements store.Env.
func (v *env) Unseen(text string) {
	v.Note(text)
	v.e.mu.Lock()
	defer v.e.mu.Unlock()
	v.u.unseen = true
}
