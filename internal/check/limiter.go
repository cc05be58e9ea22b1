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
	// burst is how much work may be saved up while nobody asks, as a time at the given rate: a short pause is made up for, and the speed of
	// five seconds is never a tenth above the limit.
	burst = 400 * time.Millisecond
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

// take gives the ticket for n units. Who has nothing of this kind to do need not wait for those who have.
func (b *bucket) take(n int64) (ticket float64) {
	if n == 0 {
		return 0
	}
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

// place is a place in line: a ticket of each bucket.
type place struct{ records, bytes float64 }

// announce takes a place in line for so much work.
func (l *limiter) announce(records, bytes int64) place {
	l.mu.Lock()
	defer l.mu.Unlock()
	return place{l.records.take(records), l.bytes.take(bytes)}
}

// left is how long it takes at the present rates until the work at that place is allowed; 0 when it is.
func (l *limiter) left(at place) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	return max(l.records.wait(at.records), l.bytes.wait(at.bytes))
}

// await waits until the work at that place is allowed or ctx is done.
func (l *limiter) await(ctx context.Context, at place) error {
	for {
		wait := l.left(at)
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
