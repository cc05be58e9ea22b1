package dmlab

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/store"
)

// Kit is what the devmapper snapshotter contributes to the lab, with sets of that size. A set is a directory. sys is package
// devmapper's System, handed in so that nothing here imports it.
func Kit(sys store.System, opt Options) *lab.Kit {
	k := &lab.Kit{System: sys, Recipes: Recipes(), Damage: Damage, Observe: Observe, Files: Files,
		Make: func(ctx context.Context, path string, seed uint64) error {
			o := opt
			o.Seed = seed
			_, err := Make(ctx, path, o)
			return err
		}}
	var small, repairable []lab.Injury
	for _, r := range recipes() {
		if r.Alone || r.Class == identityWrong {
			continue
		}
		if r.stage == recordStage {
			small = append(small, lab.Injury{Class: r.Class})
			if r.keeps == "" {
				repairable = append(repairable, lab.Injury{Class: r.Class})
			}
		}
	}
	k.Mixed = []lab.Case{
		{Name: "all-records-at-once", Injuries: small},
		{Name: "all-repairable-at-once", Injuries: repairable},
		{Name: "crashes", Injuries: []lab.Injury{{Class: blocksNextID}, {Class: stateStuck, Count: 3}, {Class: idFaultyOrphan, Count: 2}, {Class: noDevice, Count: 2}}},
		{Name: "counts", Injuries: []lab.Injury{{Class: thinDataLow, Count: 3}, {Class: thinDataLeaked, Count: 3}, {Class: thinMappedWrong, Count: 2}}},
	}
	return k
}

// Files are all files in the directory of a set.
func Files(path string) []string {
	list, err := os.ReadDir(path)
	if err != nil {
		return []string{filepath.Join(path, metaFile), filepath.Join(path, storeFile), filepath.Join(path, thinFile)}
	}
	var out []string
	for _, e := range list {
		if e.Type().IsRegular() {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// Observe reads a finding in the words of the truth: subjects are compared, paths are for people.
func Observe(f *finding.Finding) lab.Expect {
	return lab.Expect{Class: f.Class, Subject: f.Subject, Note: f.Title}
}
