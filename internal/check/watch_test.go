package check

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"fettle/internal/store"
)

// On the fake clock, as the tests of the other progress.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(store.Meter)
		ctx := store.WithMeter(t.Context(), m)
		var all []Progress
		stop := Watch(m, func(p Progress) { all = append(all, p) })
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(all) != 0 {
			t.Fatalf("shown although nothing goes on: %+v", all)
		}
		slowly := func(p *store.Part, records, bytes int64) {
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				p.Did(records, bytes)
			}
			synctest.Wait() // nobody touches all after it
		}
		outer := store.Begin(ctx, "confirm", "reading again", 200, 0)
		slowly(outer, 1, 0) // ten seconds
		near := func(got, want float64) bool { return math.Abs(got-want) < 0.05*want+0.2 }
		if len(all) != 20 {
			t.Fatalf("%d reports in 10 s", len(all))
		}
		if p := all[9]; p.Pass != "confirm" || p.Title != "reading again" || p.TotalRecords != 200 || !near(p.RecordsPerSecond, 10) ||
			!near(p.ETA, float64(200-p.Records)/10) || !near(p.Elapsed, 6) {
			t.Errorf("half way: %+v", p)
		}
		all = nil
		inner := store.Begin(ctx, "sweep", "verifying", 0, 0)
		inner.Total(0, 1000)
		slowly(inner, 1, 5)
		if p := all[9]; p.Pass != "sweep" || p.TotalBytes != 1000 || !near(p.BytesPerSecond, 50) || !near(p.ETA, float64(1000-p.Bytes)/50) {
			t.Errorf("inside: %+v", p)
		}
		inner.End()
		inner.End()
		all = nil
		slowly(outer, 1, 0)
		// The rate is that of the part alone: the time in which it waited for the inner one does not count.
		if p := all[3]; p.Pass != "confirm" || !near(p.RecordsPerSecond, 10) {
			t.Errorf("outside again: %+v", p)
		}
		outer.End()
		stop()
		n := len(all)
		time.Sleep(time.Minute)
		if len(all) != n {
			t.Error("shown after the end")
		}
	})
}

func TestNobodyWatches(t *testing.T) {
	for name, ctx := range map[string]context.Context{"no meter": t.Context(), "silenced": store.WithMeter(store.WithMeter(t.Context(), new(store.Meter)), nil)} {
		p := store.Begin(ctx, "a", "A", 1, 2)
		p.Did(1, 2)
		p.End()
		if r, b := p.Done(); r != 1 || b != 2 {
			t.Errorf("%s: did %d, %d", name, r, b)
		}
	}
}
