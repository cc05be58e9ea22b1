package check

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fettle/internal/runs"
	"fettle/internal/store"
)

// All tests here run on the fake clock of testing/synctest: time passes only while every goroutine sleeps.

// near tells whether d is within 300 ms of want: the burst and one nap.
func near(d, want time.Duration) bool { return (d - want).Abs() <= 300*time.Millisecond }

// work does n records of ten bytes one by one.
func work(ctx context.Context, env store.Env, n int) error {
	for range n {
		if err := env.Did(ctx, 1, 10); err != nil {
			return err
		}
	}
	return nil
}

func TestRateLimits(t *testing.T) {
	for name, c := range map[string]struct {
		rate, rateBytes int64
		want            time.Duration
	}{
		"none":             {0, 0, 0},
		"records":          {100, 0, 10 * time.Second},
		"bytes":            {0, 500, 20 * time.Second},
		"the slower holds": {100, 500, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := runOne(t, Config{Rate: c.rate, RateBytes: c.rateBytes}, func(ctx context.Context, env store.Env) error {
					return work(ctx, env, 1000)
				})
				if d := time.Since(start); err != nil || !near(d, c.want) {
					t.Errorf("took %v, want %v; error %v", d, c.want, err)
				}
			})
		})
	}
}

func TestRateIsSharedByGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ends := make([]time.Duration, 4)
		_, err := runOne(t, Config{Rate: 100}, func(ctx context.Context, env store.Env) error {
			var wg sync.WaitGroup
			for i := range ends {
				wg.Go(func() {
					if err := work(ctx, env, 250); err != nil {
						t.Error(err)
					}
					ends[i] = time.Since(start)
				})
			}
			wg.Wait()
			return nil
		})
		if d := time.Since(start); err != nil || !near(d, 10*time.Second) {
			t.Errorf("took %v, error %v", d, err)
		}
		for _, d := range ends { // nobody is starved: equal work ends together
			if !near(d, 10*time.Second) {
				t.Errorf("one goroutine ended after %v", d)
			}
		}
	})
}

// change asks the run for c after d.
func change(t *testing.T, r *runs.Run, d time.Duration, c runs.Control) {
	go func() {
		time.Sleep(d)
		if err := r.Request(c); err != nil {
			t.Error(err)
		}
	}()
}

func TestRateChangedWhileRunning(t *testing.T) {
	rate := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		first int64
		then  runs.Control
		want  time.Duration
	}{
		// 1000 records of ten bytes; after 5 s half of them are done at 100/s.
		"doubled":         {100, runs.Control{Rate: rate(200)}, 7500 * time.Millisecond},
		"halved":          {100, runs.Control{Rate: rate(50)}, 15 * time.Second},
		"lifted":          {100, runs.Control{Rate: rate(0)}, 5 * time.Second},
		"bytes set":       {100, runs.Control{RateBytes: rate(500)}, 15 * time.Second},
		"out of a crawl":  {1, runs.Control{Rate: rate(1000)}, 6 * time.Second},
		"negative is off": {100, runs.Control{Rate: rate(-1)}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRun(t)
				change(t, r, 5*time.Second, c.then)
				start := time.Now()
				_, err := runOne(t, Config{Run: r, Rate: c.first}, func(ctx context.Context, env store.Env) error { return work(ctx, env, 1000) })
				if d := time.Since(start); err != nil || (d-c.want).Abs() > 600*time.Millisecond {
					t.Errorf("took %v, want %v; error %v", d, c.want, err)
				}
				time.Sleep(10 * time.Second) // until the requester has ended in any case
			})
		})
	}
}

// A single huge announcement must neither be waited for in one sleep nor survive a new limit or a stop.
func TestStopWhileWaitingForTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRun(t)
		change(t, r, 3*time.Second, runs.Control{Stop: true})
		start := time.Now()
		_, err := runOne(t, Config{Run: r, Rate: 1}, func(ctx context.Context, env store.Env) error {
			return env.Did(ctx, math.MaxInt64, math.MaxInt64)
		})
		if d := time.Since(start); !errors.Is(err, ErrStopped) || (d-3*time.Second).Abs() > 500*time.Millisecond {
			t.Errorf("took %v, error %v", d, err)
		}
		if st, err := r.Status(); err != nil || st.State != runs.Stopped || !st.Resumable() {
			t.Errorf("status %+v, %v", st, err)
		}
		// The request was for that life only.
		_, err = runOne(t, Config{Run: r, Resume: true}, func(ctx context.Context, env store.Env) error {
			time.Sleep(2 * time.Second)
			return env.Did(ctx, 1, 1)
		})
		if err != nil {
			t.Errorf("the resumed run obeyed the old request: %v", err)
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRun(t)
		var all []Progress
		sum, err := runOne(t, Config{Run: r, Rate: 100, OnProgress: func(p Progress) {
			all = append(all, p)
			if st, err := r.Status(); err != nil || p.UnitsDone == 0 && (st.State != runs.Running || st.Records != p.Records) {
				t.Errorf("status %+v, %v", st, err)
			}
		}}, func(ctx context.Context, env store.Env) error {
			env.Total(2000, 20000)
			return work(ctx, env, 2000)
		})
		if err != nil || sum.Seconds < 19.5 || sum.Seconds > 20.5 {
			t.Fatalf("summary %+v, error %v", sum, err)
		}
		if len(all) < 39 || len(all) > 42 {
			t.Fatalf("%d progress reports in 20 s", len(all))
		}
		p := all[19] // after 10 s
		if p.Unit != "u" || p.Pass != "p" || p.Title != "P" || p.TotalRecords != 2000 || p.Rate != 100 ||
			math.Abs(p.RecordsPerSecond-100) > 5 || math.Abs(p.BytesPerSecond-1000) > 50 || math.Abs(p.ETA-10) > 1 || math.Abs(p.Elapsed-10) > 0.1 {
			t.Errorf("after 10 s: %+v", p)
		}
		if last := all[len(all)-1]; last.UnitsDone != 1 || last.ETA != -1 {
			t.Errorf("at the end: %+v", last)
		}
	})
}

func TestDueEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saves := 0
		_, err := runOne(t, Config{Interval: 3 * time.Second}, func(ctx context.Context, env store.Env) error {
			for i := range 100 {
				time.Sleep(100 * time.Millisecond)
				if env.Due() {
					saves++
					if err := env.Save(i); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil || saves != 3 {
			t.Errorf("%d saves in 10 s, error %v", saves, err)
		}
	})
}

// What each pass took is in the summary, and a pass that was stopped and resumed is told once, with the time of both lives.
func TestPassTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleeps := func(name string, d time.Duration) store.Pass {
			return store.Pass{Name: name, Run: func(ctx context.Context, env store.Env) error {
				time.Sleep(d)
				if err := env.Save(1); err != nil {
					return err
				}
				return env.Did(ctx, 3, 30)
			}}
		}
		ctx, cancel := context.WithCancel(context.Background())
		second := sleeps("second", 2*time.Second)
		stopping := second
		stopping.Run = func(c context.Context, env store.Env) error {
			defer cancel()
			return second.Run(c, env)
		}
		r := newRun(t)
		_, err := Run(ctx, Config{Store: fakeStore{&fakeUnit{id: "u", passes: []store.Pass{sleeps("first", time.Second), stopping, sleeps("third", 0)}}},
			Classes: fakeClasses, Run: r})
		if !errors.Is(err, ErrStopped) {
			t.Fatalf("error %v, want a stop", err)
		}
		passes := []store.Pass{sleeps("first", time.Second), second, sleeps("third", 3*time.Second)}
		sum, err := Run(context.Background(), Config{Store: fakeStore{&fakeUnit{id: "u", passes: passes}}, Classes: fakeClasses, Run: r, Resume: true})
		if err != nil {
			t.Fatal(err)
		}
		got := sum.ByUnit[0].Passes
		if len(got) != 3 {
			t.Fatalf("%+v, want three passes", got)
		}
		for i, want := range []runs.PassSummary{{Pass: "first", Seconds: 1, Records: 3, Bytes: 30}, {Pass: "second", Seconds: 2, Records: 3, Bytes: 30},
			{Pass: "third", Seconds: 3, Records: 3, Bytes: 30}} {
			if got[i].CPU = 0; got[i] != want {
				t.Errorf("pass %d: %+v, want %+v", i, got[i], want)
			}
		}
	})
}

// A checkpoint that takes long is asked for earlier, so that not more than an interval lies between two that are saved.
func TestSlowCheckpointsAreAskedForEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var saved []time.Time
		_, err := runOne(t, Config{Interval: 3 * time.Second}, func(ctx context.Context, env store.Env) error {
			for i := range 300 {
				time.Sleep(100 * time.Millisecond)
				if env.Due() {
					time.Sleep(time.Second)
					if err := env.Save(i); err != nil {
						return err
					}
					saved = append(saved, time.Now())
				}
			}
			return nil
		})
		if err != nil || len(saved) < 8 {
			t.Fatalf("%d checkpoints, error %v", len(saved), err)
		}
		for i, at := range saved[1:] {
			if d := at.Sub(saved[i]); d < 2800*time.Millisecond || d > 3200*time.Millisecond {
				t.Errorf("%v between checkpoints %d and %d, want 3 s", d, i+1, i+2)
			}
		}
	})
}

// The speed that is shown is that of the new limit a few seconds after it was changed.
func TestShownSpeedFollowsTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, to := range []int64{200, 50} {
			r := newRun(t)
			change(t, r, 20*time.Second, runs.Control{Rate: &to})
			start := time.Now()
			late := 0
			_, err := runOne(t, Config{Run: r, Rate: 100, OnProgress: func(p Progress) {
				want := 100.0
				if since := time.Since(start); since >= 23*time.Second {
					want = float64(to)
					late++
				} else if since < 3*time.Second || since > 20*time.Second {
					return
				}
				if p.UnitsDone == 0 && math.Abs(p.RecordsPerSecond-want) > want/10 {
					t.Errorf("after %v: %.1f records per second, want %.0f", time.Since(start), p.RecordsPerSecond, want)
				}
			}}, func(ctx context.Context, env store.Env) error { return work(ctx, env, 4000) })
			if err != nil || late < 10 {
				t.Errorf("%d reports, error %v", late, err)
			}
		}
		time.Sleep(time.Minute)
	})
}

// A limit that was set while the check ran holds for the life after it, too.
func TestLimitOutlivesAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRun(t)
		ten := int64(10)
		change(t, r, time.Second, runs.Control{Rate: &ten, Stop: true})
		pass := func(ctx context.Context, env store.Env) error { return work(ctx, env, 1000) }
		if _, err := runOne(t, Config{Run: r, Rate: 100}, pass); !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
		start := time.Now()
		_, err := runOne(t, Config{Run: r, Rate: 100, Resume: true}, pass)
		if d := time.Since(start); err != nil || !near(d, 100*time.Second) {
			t.Errorf("took %v, error %v", d, err)
		}
	})
}
