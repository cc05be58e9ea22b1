package repair

import (
	"context"
	"fmt"
	"strconv"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// pickUp continues an interrupted application: it completes the step in progress, if there is one, and returns the journal
// and how many steps are done. The unit is locked, so the journal is read again: it may have moved on since the gates.
func (j *job) pickUp(ctx context.Context, w store.Writer) (*journal, int, error) {
	s, err := j.past.scan(j.cfg.Files, true)
	if err != nil {
		return nil, 0, err
	}
	if stateOf(s) != Applying || s.header.Plan != j.cfg.Plan.Checksum || s.header.Steps != len(j.plan.Steps) || len(s.steps) > len(j.plan.Steps) {
		return nil, 0, j.fail("resume", fmt.Errorf("%w: %s is not the journal of this plan any more", errJournal, j.past.path), "try again")
	}
	j.out.Journal, j.out.Before = j.past.path, s.header.Fingerprint
	log, err := continueJournal(j.cfg.Files, j.past.path, s)
	if err != nil {
		return nil, 0, j.fail("resume", err, "")
	}
	for i, st := range s.steps {
		if st.Step != j.plan.Steps[i].ID {
			return log, 0, j.fail("resume", fmt.Errorf("%w: step %d comes at place %d", errJournal, st.Step, i+1), "")
		}
	}
	if n := len(s.steps); n > 0 && !s.steps[n-1].done {
		if err := j.complete(ctx, w, log, s, s.steps[n-1]); err != nil {
			return log, 0, err
		}
	}
	return log, len(s.steps), nil
}

// complete writes what an interrupted step has yet to write. All its records are written, not only those that still hold
// their old content: a new one may have been written by a process that died before it could make it durable.
func (j *job) complete(ctx context.Context, w store.Writer, log *journal, s *scanned, st *stepLog) error {
	op := fmt.Sprintf("resume step %d", st.Step)
	if err := ctx.Err(); err != nil {
		return &fault.Error{Op: op, Where: j.plan.Unit, Err: err, Kind: fault.Cancelled, Hint: j.wayOn(log)}
	}
	ctx = context.WithoutCancel(ctx)
	var bad ConflictError
	part := store.Begin(ctx, "resume", "completing step "+strconv.Itoa(st.Step), 2*int64(len(st.changes)), 0) // each is compared and written
	defer part.End()
	err := eachChange(log.f, log.path, s, st, false, func(c store.Change) error {
		present, err := w.Read(ctx, c.Target, c.Addr)
		if err != nil {
			return fmt.Errorf("read record %s %s: %w", c.Target, c.Addr, err)
		}
		if standingOf(present, c) == isOther {
			bad.add(Conflict{Step: st.Step, Target: c.Target, Addr: c.Addr, What: "neither its old nor its new content"})
		}
		part.Did(1, 0)
		return nil
	})
	if err != nil {
		return j.fail(op, err, "")
	}
	if bad.Total > 0 {
		return conflictFault(op, j.plan.Unit, &bad)
	}
	var size int64
	err = eachChange(log.f, log.path, s, st, false, func(c store.Change) error {
		size += int64(len(c.After))
		if err := w.Write(ctx, c); err != nil {
			return fmt.Errorf("write record %s %s: %w", c.Target, c.Addr, err)
		}
		part.Did(1, 0)
		return nil
	})
	if err != nil {
		return j.fail(op, err, j.wayOn(log))
	}
	return j.finish(ctx, w, log, StepResult{Step: st.Step, Title: st.Title, Findings: st.Findings, Records: len(st.changes), Bytes: size, Resumed: true})
}

// eachChange reads the changes of a step one by one, in their order or from the last to the first.
func eachChange(f File, path string, s *scanned, st *stepLog, backwards bool, do func(store.Change) error) error {
	for i := range st.changes {
		if backwards {
			i = len(st.changes) - 1 - i
		}
		c, err := readChange(f, path, st.changes[i], s.end)
		if err != nil {
			return err
		}
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}
