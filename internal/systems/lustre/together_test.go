package lustre

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/systems/lustre/lustrelab"
)

// TestTogether injures file systems of two to four MDTs in every way at once. Everything is found; what only follows is grouped under what
// caused it; after a repair by default actions a check finds what these keep and nothing else, e2fsck has no complaint about either; an
// undo gives back identical images.
func TestTogether(t *testing.T) {
	for i, o := range []lustrelab.Options{
		{MDTs: 2, Files: 500, Dirs: 90, Striped: 20, HardLinks: 200, Remote: 200},
		{MDTs: 3, Files: 500, Dirs: 90, Striped: 20, HardLinks: 200, Remote: 200, Extents: true, MetadataCsum: true, Bit64: true, InodeSize: 1024},
		{MDTs: 4, Files: 500, Dirs: 120, Striped: 20, HardLinks: 200, Remote: 300, Extents: true, LostFound: true},
	} {
		seeds, err := strconv.Atoi(os.Getenv("FETTLE_LAB_SEEDS")) // more take minutes
		if err != nil {
			seeds = 1
		}
		for seed := range seeds {
			o.Seed = uint64(10*i + seed + 1)
			t.Run(fmt.Sprintf("%d MDTs seed %d", o.MDTs, o.Seed), func(t *testing.T) { together(t, o) })
		}
	}
}

func together(t *testing.T, o lustrelab.Options) {
	dir := filepath.Join(t.TempDir(), "fs")
	made, err := lustrelab.Make(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	healthy := toldByE2fsck(t, made.Paths)
	var all []lab.Injury
	for _, r := range lustrelab.Recipes() {
		if r.Class != "lustre/random-names" {
			all = append(all, lab.Injury{Class: r.Class, Count: 2})
		}
	}
	truth, err := lustrelab.Damage(t.Context(), dir, o.Seed, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range truth.Done {
		if d.Made() == 0 {
			t.Logf("%s: nothing was done", d.Class)
		}
	}
	for _, policy := range [][]string{nil, {"lustre/dangling-name=recreate", "lustre/stripe-lost=recreate", "lustre/wrong-mdt=rewrite"}} {
		mendTogether(t, made.Paths, truth, healthy, policy)
	}
}

// mendTogether repairs and takes the repair back.
func mendTogether(t *testing.T, paths []string, truth *lab.Truth, healthy [][]string, policy []string) {
	before := sums(t, paths)
	m := &mender{t: t, paths: paths, run: t.TempDir()}
	grouped(t, truth, m.make(policy...))
	m.apply()
	for _, f := range checkPaths(t, nil, paths...) {
		e := lustrelab.Observe(&f)
		kept := policy == nil && slices.ContainsFunc(truth.Kept, func(k lab.Allowed) bool { return k.Class == e.Class && k.Subject == e.Subject })
		if f.Counts() && !kept {
			t.Errorf("%s: left: %s %s %s", policy, f.Class, f.Subject, f.Title)
		}
	}
	if policy != nil { // names that are kept lead to free inodes
		complaints(t, paths, healthy)
	}
	m.undo()
	if sums(t, paths) != before {
		t.Error("undo did not give back identical images")
	}
}

// grouped holds findings against the truth: all that it expects is there, all else follows from something.
func grouped(t *testing.T, truth *lab.Truth, found []finding.Finding) {
	t.Helper()
	var counts, rest []lab.Expect
	for i := range found {
		if !found[i].Counts() {
			continue
		}
		e := lustrelab.Observe(&found[i])
		counts = append(counts, e)
		expected := slices.ContainsFunc(truth.Expected, func(x lab.Expect) bool { return x.Class == e.Class && x.Subject == e.Subject })
		if !expected && found[i].CausedBy == nil {
			rest = append(rest, e)
		}
	}
	c := lab.Compare(truth, counts)
	for _, e := range c.Missing {
		t.Errorf("missed: %s (%s)", e.Line(), e.Note)
	}
	for _, e := range c.Wrong {
		t.Errorf("false: %s (%s)", e.Line(), e.Note)
	}
	for _, e := range rest {
		t.Errorf("stands alone: %s (%s)", e.Line(), e.Note)
	}
}
