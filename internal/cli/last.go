package cli

import (
	"slices"
	"time"

	"fettle/internal/repair"
	"fettle/internal/runs"
)

// last is the word for the newest run.
const last = "last"

// findInForce finds the run whose findings are meant: the one that a person named. "last" is the newest run, unless a repair of the same store was
// taken back since that run was made: then the newest run tells of a store that is no more, and what was found before the repair is there again. A
// run that is not the newest is named.
func (a *App) findInForce(name string) (*runs.Run, error) {
	r, err := a.findRun(name)
	if err != nil || name != last {
		return r, err
	}
	all, err := a.runsOfStore(r)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.ID() == r.ID() {
			continue
		}
		at, err := undoneAt(one)
		if err != nil {
			return nil, err
		}
		if at.After(r.Spec().Started) {
			a.say("last: run %s, whose repair was taken back; run %s, which checked the repaired store, is newer but does not hold any more", one.ID(), r.ID())
			return one, nil
		}
	}
	return r, nil
}

// runsOfStore lists the runs about the same places as r, the newest first.
func (a *App) runsOfStore(r *runs.Run) ([]*runs.Run, error) {
	dir, err := a.runsDir()
	if err != nil {
		return nil, err
	}
	all, err := dir.List()
	return slices.DeleteFunc(all, func(one *runs.Run) bool {
		return one.Broken() != nil || r.Broken() != nil || one.Spec().System != r.Spec().System || !slices.Equal(one.Spec().Paths, r.Spec().Paths)
	}), err
}

// undoneAt tells when the repair of a run was taken back as a whole; the zero time if it was not.
func undoneAt(r *runs.Run) (time.Time, error) {
	st, err := repair.StateOf(r.Path())
	if err != nil || st.State != repair.Undone {
		return time.Time{}, err
	}
	outs, err := r.Outcomes()
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	for _, o := range outs {
		if o.Stage == "undo" {
			at = o.At
		}
	}
	return at, nil
}
