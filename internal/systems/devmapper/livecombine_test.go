package devmapper

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// liveRepair plans and applies on a live pool, with only the named actions allowed that cannot be undone.
func liveRepair(t *testing.T, dir string, set, policy, allow []string) *repair.Plan {
	t.Helper()
	run := t.TempDir()
	fs := storetest.Check(t, openSet(t, dir, set...), Classes...)
	pol, err := finding.ParsePolicy(policy, Classes)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: dir, Units: []store.Planner{openSet(t, dir, set...)}, Findings: repair.Slice(fs),
		Policy: pol, WorkDir: repair.WorkDirs(run)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = repair.Apply(t.Context(), repair.ApplyConfig{Plan: plan, Units: []store.Planner{openSet(t, dir, set...)}, Dir: run,
		MaxLoss: repair.NewThreshold(100, 1<<62), AllowIrreversible: allow})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestOnlyDeletionsAreAllowedByName repairs a link and deletes a device of a live pool in one plan.
func TestOnlyDeletionsAreAllowedByName(t *testing.T) {
	_, dir, set := liveSet(t, "c04")
	b := &bench{t: t, dir: dir}
	b.in(metaName, func(tx *bbolt.Tx) error {
		es := entriesOf(tx, "k8s.io")
		return es.ForEachBucket(func(k []byte) error {
			if c := es.Bucket(k).Bucket([]byte("children")); c != nil {
				return es.Bucket(k).DeleteBucket([]byte("children"))
			}
			return nil
		})
	})
	liveRepair(t, dir, set, []string{BlocksNextID + "=discard"}, []string{BlocksNextID + "/discard"})
	for _, f := range storetest.Check(t, openSet(t, dir, set...), Classes...) {
		if f.Counts() {
			t.Errorf("left %s", brief(&f))
		}
	}
}

// TestRebuildAsksTheLivePool writes the pool's database anew: only the pool tells which ids must not be given out again.
func TestRebuildAsksTheLivePool(t *testing.T) {
	m, dir, set := liveSet(t, "c04")
	if err := os.Truncate(filepath.Join(dir, m.Pool+".db"), 0); err != nil {
		t.Fatal(err)
	}
	liveRepair(t, dir, set, nil, nil)
	for _, f := range storetest.Check(t, openSet(t, dir, set...), Classes...) {
		if f.Class == UnknownInPool || f.Class == FreeIDInPool || f.Class == SequenceBehind {
			t.Errorf("left %s", brief(&f))
		}
	}
}

// TestConfirmAsksAPoolNowAndThen confirms many findings without a call of dmsetup for each: this unit has no pool to call.
func TestConfirmAsksAPoolNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unit{active: active{print: "live:rw", printed: time.Now()}}
		time.Sleep(printAge)
		if got, err := u.recentPrint(t.Context()); got != "live:rw" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}
