package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Meter counts the work that is done outside of a check, where there is no Env: planning, confirming, applying, undoing. It
// travels in the context, because that work goes through methods of the contract (Confirm, Plan, Lower) whose callers
// mostly do not care. Work is made of parts; a part that is begun inside another one is the one that is shown until it ends.
type Meter struct {
	mu   sync.Mutex
	open []*Part // the innermost last
}

// Part is one piece of work of known kind. Its methods may be called from several goroutines.
type Part struct {
	Name  string // permanent, as in a Pass
	Title string // what people see
	Begun time.Time

	meter                    *Meter // nil: nobody watches
	records, bytes           atomic.Int64
	totalRecords, totalBytes atomic.Int64
}

type meterKey struct{}

// WithMeter returns a context whose work m counts; nil for nobody.
func WithMeter(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// Begin begins a part of which so much is to be done, 0 for unknown. It never returns nil; End must be called.
func Begin(ctx context.Context, name, title string, records, bytes int64) *Part {
	p := &Part{Name: name, Title: title, Begun: time.Now()}
	p.Total(records, bytes)
	if m, _ := ctx.Value(meterKey{}).(*Meter); m != nil {
		p.meter = m
		m.mu.Lock()
		m.open = append(m.open, p)
		m.mu.Unlock()
	}
	return p
}

// Total says anew how much there is to do, 0 for unknown.
func (p *Part) Total(records, bytes int64) {
	p.totalRecords.Store(max(records, 0))
	p.totalBytes.Store(max(bytes, 0))
}

// Did counts work done.
func (p *Part) Did(records, bytes int64) {
	p.records.Add(records)
	p.bytes.Add(bytes)
}

// Done tells how much was done so far, Of how much there is to do.
func (p *Part) Done() (records, bytes int64) { return p.records.Load(), p.bytes.Load() }

// Of tells how much there is to do, 0 for unknown.
func (p *Part) Of() (records, bytes int64) { return p.totalRecords.Load(), p.totalBytes.Load() }

// End ends the part; a second End does nothing.
func (p *Part) End() {
	if p.meter == nil {
		return
	}
	p.meter.mu.Lock()
	defer p.meter.mu.Unlock()
	if i := slices.Index(p.meter.open, p); i >= 0 {
		p.meter.open = slices.Delete(p.meter.open, i, i+1)
	}
}

// Now is the innermost part that is going on, nil if there is none.
func (m *Meter) Now() *Part {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.open) == 0 {
		return nil
	}
	return m.open[len(m.open)-1]
}
