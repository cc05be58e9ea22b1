package check

import (
	"time"

	"fettle/internal/store"
)

// Watch calls show about twice a second with what m counts, in the form in which the progress of a check is shown, until the
// function it returns is called. Nothing is shown while no part of the work has begun. show is never called by two
// goroutines at a time, and not any more once stop has returned.
func Watch(m *store.Meter, show func(Progress)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	w := watched{begun: time.Now()}
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if p, ok := w.progress(m.Now()); ok {
					show(p)
				}
			}
		}
	}()
	return func() { close(end); <-ended }
}

// watched is what has to be remembered from one look at a meter to the next.
type watched struct {
	begun  time.Time
	looked time.Time // the last time
	part   *store.Part
	window window
}

// progress says how far part is; false if there is none.
func (w *watched) progress(part *store.Part) (Progress, bool) {
	now := time.Now()
	defer func() { w.looked = now }()
	if part != w.part {
		w.part, w.window = part, window{}
		if part != nil && part.Begun.After(w.looked) { // otherwise it waited for a part inside it, and is slower than it was
			w.window.rates(sample{at: part.Begun})
		}
	}
	if part == nil {
		return Progress{}, false
	}
	p := Progress{Pass: part.Name, Title: part.Title, Elapsed: now.Sub(w.begun).Seconds(), ETA: -1}
	p.Records, p.Bytes = part.Done()
	p.TotalRecords, p.TotalBytes = part.Of()
	p.RecordsPerSecond, p.BytesPerSecond = w.window.rates(sample{now, p.Records, p.Bytes})
	switch {
	case p.TotalBytes > 0 && p.BytesPerSecond > 0:
		p.ETA = float64(max(p.TotalBytes-p.Bytes, 0)) / p.BytesPerSecond
	case p.TotalRecords > 0 && p.RecordsPerSecond > 0:
		p.ETA = float64(max(p.TotalRecords-p.Records, 0)) / p.RecordsPerSecond
	}
	return p, true
}
