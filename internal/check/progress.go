package check

import (
	"encoding/json"
	"slices"
	"time"

	"fettle/internal/runs"
	"fettle/internal/store"
)

const (
	controlEvery  = 200 * time.Millisecond
	progressEvery = 500 * time.Millisecond
	// windowLength is how far back the shown rate looks: long enough to be steady, short enough to follow a new limit.
	windowLength = 5 * time.Second
)

// sample is how much was done until a moment.
type sample struct {
	at             time.Time
	records, bytes int64
}

// window computes rates over the last seconds. It holds at most windowLength/progressEvery samples and a few more.
type window struct {
	samples        []sample
	records, bytes float64 // what rates returned last
}

// rates adds a sample and returns what was done per second since the oldest one; what it returned before if that is this very moment.
func (w *window) rates(s sample) (records, bytes float64) {
	w.samples = append(w.samples, s)
	for len(w.samples) > 2 && s.at.Sub(w.samples[1].at) >= windowLength {
		w.samples = w.samples[1:]
	}
	old := w.samples[0]
	dt := s.at.Sub(old.at).Seconds()
	if dt > 0 {
		w.records, w.bytes = float64(s.records-old.records)/dt, float64(s.bytes-old.bytes)/dt
	}
	return w.records, w.bytes
}

// restart forgets all but the last sample: what was before says nothing about what comes.
func (w *window) restart() {
	if n := len(w.samples); n > 1 {
		w.samples = w.samples[n-1:]
	}
}

// pace is what a rate depends on.
type pace struct {
	pass            string
	rate, rateBytes int64
}

// watch obeys control.json and shows progress until stop is closed.
func (e *engine) watch(stop <-chan struct{}) {
	control := time.NewTicker(controlEvery)
	defer control.Stop()
	show := time.NewTicker(progressEvery)
	defer show.Stop()
	e.obey()
	for {
		select {
		case <-stop:
			return
		case <-control.C:
			e.obey()
		case <-show.C:
			e.show()
		}
	}
}

// obey does what control.json asks for.
func (e *engine) obey() {
	c, err := e.cfg.Run.Control()
	e.badCtl = err
	if err != nil {
		return // perhaps written by hand and not whole yet; what is still unreadable at the end becomes a note
	}
	if c.Stop {
		e.cancel(ErrStopped)
	}
	records, bytes := e.lim.rates()
	e.lim.set(c.Rate, c.RateBytes)
	if r, b := e.lim.rates(); r != records || b != bytes {
		e.progress() // a sample of this moment: what was done before it went by the old limit
		e.window.restart()
	}
}

// show writes status.json, makes findings visible to readers and calls OnProgress.
func (e *engine) show() {
	p := e.progress()
	e.mu.Lock()
	err := e.log.Flush()
	if err != nil {
		e.failLocked(err)
	}
	e.mu.Unlock()
	if err := e.cfg.Run.WriteStatus(e.status(runs.Running, p)); err != nil {
		e.mu.Lock()
		e.failLocked(err)
		e.mu.Unlock()
	}
	if e.cfg.OnProgress != nil {
		e.cfg.OnProgress(p)
	}
}

// progress sums up where the units are. Only the watcher calls it while passes run.
func (e *engine) progress() Progress {
	p := Progress{Units: len(e.units), Elapsed: e.seconds(), ETA: -1}
	p.Rate, p.RateBytes = e.lim.rates()
	known := [2]bool{true, true} // the totals of all running passes are known
	e.mu.Lock()
	now := sample{at: time.Now()} // not earlier: a checkpoint may hold mu for a second
	for _, u := range e.units {
		records, bytes := u.passRecords.Load(), u.passBytes.Load()
		now.records += u.records + records
		now.bytes += u.bytes + bytes
		p.Findings += u.tally.findings
		if u.point.Done {
			p.UnitsDone++
		}
		if !u.running {
			continue
		}
		if p.Unit == "" {
			p.Unit, p.Pass, p.Title = u.id(), u.pass.Name, u.pass.Title
			p.PassNumber, p.Passes = u.passNumber()
		}
		p.Records += records
		p.Bytes += bytes
		tr, tb := u.totalRecords.Load(), u.totalBytes.Load()
		p.TotalRecords += tr
		p.TotalBytes += tb
		known[0], known[1] = known[0] && tr > 0, known[1] && tb > 0
	}
	e.mu.Unlock()
	if now := (pace{p.Pass, p.Rate, p.RateBytes}); now != e.pace {
		e.pace = now
		e.window.restart()
	}
	p.RecordsPerSecond, p.BytesPerSecond = e.window.rates(now)
	switch {
	case p.Unit == "":
	case known[1] && p.BytesPerSecond > 0:
		p.ETA = float64(max(p.TotalBytes-p.Bytes, 0)) / p.BytesPerSecond
	case known[0] && p.RecordsPerSecond > 0:
		p.ETA = float64(max(p.TotalRecords-p.Records, 0)) / p.RecordsPerSecond
	}
	return p
}

// passNumber tells which of the unit's passes is at work, from 1, and how many there are.
func (u *unitRun) passNumber() (n, of int) {
	all := u.unit.Passes()
	return slices.IndexFunc(all, func(p store.Pass) bool { return p.Name == u.pass.Name }) + 1, len(all)
}

// status is what status.json says.
func (e *engine) status(state runs.State, p Progress) runs.Status {
	st := runs.Status{State: state, Progress: p, Began: e.start.UTC().Truncate(time.Millisecond), ByPass: []runs.PassSummary{}, Facts: map[string]any{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.units {
		st.ByPass = addPasses(st.ByPass, u.clock.addTo(u.point.Spent, u.passRecords.Load(), u.passBytes.Load()))
		addFacts(st.Facts, u.facts)
	}
	st.Checkpoint = e.kept
	return st
}

// addPasses adds what the passes of one more unit took.
func addPasses(sum, more []runs.PassSummary) []runs.PassSummary {
	for _, p := range more {
		i := slices.IndexFunc(sum, func(s runs.PassSummary) bool { return s.Pass == p.Pass })
		if i < 0 {
			sum = append(sum, p)
			continue
		}
		s := &sum[i]
		s.Seconds, s.CPU, s.Records, s.Bytes = s.Seconds+p.Seconds, s.CPU+p.CPU, s.Records+p.Records, s.Bytes+p.Bytes
	}
	return sum
}

// addFacts adds the facts of one more unit.
func addFacts(all map[string]any, more map[string]json.RawMessage) {
	for name, raw := range more {
		all[name] = sum(all[name], decodeFact(raw))
	}
}
