package devmapper

import (
	"fmt"
	"path/filepath"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/dmlab"
)

// TestRebuildPages damages a page of each database at many places and rebuilds: what is left afterwards is named as lost in the plan, and nothing
// else is wrong.
func TestRebuildPages(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, dir: filepath.Join(t.TempDir(), "set"), run: t.TempDir()}
			if _, err := dmlab.Make(t.Context(), b.dir, dmlab.Options{Seed: seed, Images: 3, Layers: 4, Containers: 20}); err != nil {
				t.Fatal(err)
			}
			truth, err := dmlab.Damage(t.Context(), b.dir, seed, []lab.Injury{{Class: BoltPage}})
			if err != nil {
				t.Fatal(err)
			}
			before := storetest.Digest(t, b.dir)
			left := b.repaired()
			notes := b.plan.Units[0].Notes
			t.Logf("%v: left %q, notes %q", truth.Done, left, notes)
			if len(left) > 0 {
				t.Errorf("%v: left %q, notes %q", truth.Done, left, notes)
			}
			b.undo()
			if storetest.Digest(t, b.dir).Content != before.Content {
				t.Error("undo did not give back identical files")
			}
		})
	}
}
