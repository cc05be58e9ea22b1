package check

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxNap bounds one sleep of the limiter, so that a changed rate takes effect soon.
	maxNap = 250 * time.Millisecond
	// burst is how much work may be saved up while nobody asks, as a time at the given rate.
	burst = 100 * time.Millisecond
)

// limiter makes callers wait so that records and bytes per second stay below limits that may change at any time. Callers
// are served in the order in which they came: each gets a place in line, counted in units of work.
type limiter struct {
	limited atomic.Bool // some limit is set
	mu      sync.Mutex
	last    time.Time
	records bucket
	bytes   bucket
}

// bucket is one limit. A caller with ticket t may go on as soon as granted reaches t.
type bucket struct {
	rate    float64 // per second; 0 for no limit
	taken   float64 // sum of all work announced: the next ticket
	granted float64 // sum of all work allowed so far
}

func (b *bucket) take(n int64) (ticket float64) {
	if b.rate > 0 {
		b.taken += float64(n)
	}
	return b.taken
}

func (b *bucket) refill(dt time.Duration) {
	if b.rate > 0 {
		b.granted = min(b.granted+b.rate*dt.Seconds(), b.taken+max(1, b.rate*burst.Seconds()))
	}
}

func (b *bucket) wait(ticket float64) time.Duration {
	if b.rate <= 0 || b.granted >= ticket {
		return 0
	}
	// A bounded number of seconds: the product must not overflow, and the caller looks again anyway.
	s := min((ticket-b.granted)/b.rate, 3600)
	return max(time.Duration(s*float64(time.Second)), time.Nanosecond)
}

func (b *bucket) set(rate int64) {
	if b.rate <= 0 {
		b.granted = b.taken // what was done without a limit is neither owed nor saved
	}
	b.rate = float64(max(rate, 0))
}

func newLimiter(records, bytes int64) *limiter {
	l := &limiter{last: time.Now()}
	l.set(&records, &bytes)
	return l
}

// set changes the limits; nil leaves one as it is, 0 lifts it.
func (l *limiter) set(records, bytes *int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if records != nil {
		l.records.set(*records)
	}
	if bytes != nil {
		l.bytes.set(*bytes)
	}
	l.limited.Store(l.records.rate > 0 || l.bytes.rate > 0)
}

// rates returns the limits in force.
func (l *limiter) rates() (records, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.records.rate), int64(l.bytes.rate)
}

func (l *limiter) refill() {
	now := time.Now()
	l.records.refill(now.Sub(l.last))
	l.bytes.refill(now.Sub(l.last))
	l.last = now
}

// take announces work and waits until it is allowed or ctx is done.
func (l *limiter) take(ctx context.Context, records, bytes int64) error {
	if !l.limited.Load() {
		return nil
	}
	l.mu.Lock()
	tr, tb := l.records.take(records), l.bytes.take(bytes)
	l.mu.Unlock()
	for {
		l.mu.Lock()
		l.refill()
		wait := max(l.records.wait(tr), l.bytes.wait(tb))
		l.mu.Unlock()
		if wait <= 0 {
			return nil
		}
		t := time.NewTimer(min(wait, maxNap))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}
