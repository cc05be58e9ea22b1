package lustre

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fettle/internal/check"
	"fettle/internal/lab"
	"fettle/internal/runs"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// metered is a store whose passes are watched: how many records lie between two checkpoints.
type metered struct {
	store.Store
	mu    sync.Mutex
	since int64            // records since the last checkpoint
	most  map[string]int64 // by pass
	saves map[string]int
}

func (m *metered) Units() []store.Unit {
	var out []store.Unit
	for _, u := range m.Store.Units() {
		out = append(out, meteredUnit{u, m})
	}
	return out
}

type meteredUnit struct {
	store.Unit
	m *metered
}

func (u meteredUnit) Passes() []store.Pass {
	all := u.Unit.Passes()
	for i := range all {
		run, name := all[i].Run, all[i].Name
		all[i].Run = func(ctx context.Context, env store.Env) error {
			err := run(ctx, &meteredEnv{env, u.m, name})
			u.m.saved(name) // the end of a pass is a checkpoint
			return err
		}
	}
	return all
}

type meteredEnv struct {
	store.Env
	m    *metered
	pass string
}

func (e *meteredEnv) Did(ctx context.Context, records, bytes int64) error {
	e.m.mu.Lock()
	e.m.since += records
	e.m.most[e.pass] = max(e.m.most[e.pass], e.m.since)
	e.m.mu.Unlock()
	return e.Env.Did(ctx, records, bytes)
}

func (e *meteredEnv) Save(state any) error {
	defer e.m.saved(e.pass)
	return e.Env.Save(state)
}

func (m *metered) saved(pass string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = 0
	m.saves[pass]++
}

// At most the work of one interval lies between two checkpoints, in the sweep as well as within partitions of the match. On a fake clock
// only the limit takes time, so that work can be told from time; what the limiter lets a pause save up, and what lies between two looks at
// the clock, comes on top.
func TestAtMostOneIntervalIsLost(t *testing.T) {
	mdts := t.TempDir() + "/mdts"
	if _, err := lustrelab.Make(t.Context(), mdts, lustrelab.Options{Seed: 5, Files: 1200, HardLinks: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := lustrelab.Damage(t.Context(), mdts, 6, []lab.Injury{{Class: "lustre/bad-type", Count: 30}}); err != nil {
		t.Fatal(err)
	}
	const rate, interval = 100, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		st, err := System{}.Open(t.Context(), store.Location{System: "lustre", Paths: lustrelab.Files(mdts)}, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		m := &metered{Store: st, most: map[string]int64{}, saves: map[string]int{}}
		dir, err := runs.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r, err := dir.New(runs.Spec{Store: "lustre:x", System: "lustre"})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := check.Run(t.Context(), check.Config{Store: m, Classes: Classes, Run: r, Rate: rate, Interval: interval, Workers: 1})
		if err != nil || sum.Findings < 30 {
			t.Fatalf("%d findings, error %v", sum.Findings, err)
		}
		for _, pass := range []string{"sweep", "match"} {
			if most := rate*int64((interval+time.Second)/time.Second) + lookEvery; m.most[pass] > most || m.saves[pass] < 5 {
				t.Errorf("%s: %d records between two checkpoints, at most %d should be; %d checkpoints", pass, m.most[pass], most, m.saves[pass])
			}
		}
		t.Logf("records between checkpoints, at most: %v; checkpoints: %v", m.most, m.saves)
	})
}
