package fluxlab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/store"
)

// Kit is what Flux contributes to the lab, with stores of so many jobs. sys is package flux's System, handed in so that
// nothing here imports it.
func Kit(sys store.System, jobs int) *lab.Kit {
	k := &lab.Kit{System: sys, Recipes: Recipes(), Damage: Damage, Observe: Observe, Files: Files,
		Make: func(ctx context.Context, path string, seed uint64) error {
			_, err := Make(ctx, path, Options{Seed: seed, Jobs: jobs})
			return err
		}}
	var all []lab.Injury
	for _, r := range recipes() {
		if r.stage < pageStage && r.Class != legacyCheckpoint && r.Class != noCheckpoint && r.Class != danglingRoot && r.Class != rootIsValue {
			all = append(all, lab.Injury{Class: r.Class, Count: 2})
		}
	}
	k.Mixed = []lab.Case{
		{Name: "all-rows-at-once", Injuries: all},
		{Name: "rows-and-pages", Injuries: append(all[:len(all):len(all)], lab.Injury{Class: badPage, Count: 2}, lab.Injury{Class: badIndex, Count: 2})},
		{Name: "root-and-values", Injuries: []lab.Injury{{Class: danglingRoot}, {Class: danglingValref, Count: 5}, {Class: danglingDirref, Count: 2}}},
	}
	for _, percent := range []float64{1, 10, 50} {
		k.Mixed = append(k.Mixed, lab.Case{Name: fmt.Sprintf("random-rows-%g%%", percent), Injuries: []lab.Injury{{Class: randomRows, Percent: percent}}})
	}
	return k
}

// Files are the files of a content store.
func Files(path string) []string {
	return []string{path, path + "-wal", path + "-shm", path + "-journal"}
}

// Observe reads a finding in the words of the truth: the bad indexes are those that its detail lists.
func Observe(f *finding.Finding) lab.Expect {
	e := lab.Expect{Class: f.Class, Path: f.Path, Subject: f.Subject, Note: f.Title}
	var d struct {
		Bad []struct {
			Index int `json:"index"`
		} `json:"bad"`
		Behind bool `json:"behind_mended"`
	}
	if json.Unmarshal(f.Detail, &d) == nil && f.Path != nil && *f.Path != "" {
		for _, b := range d.Bad {
			e.Index = append(e.Index, b.Index)
		}
		slices.Sort(e.Index)
	}
	if d.Behind {
		// The walker does not look behind a directory with wrong content. To it a damaged blob there is one that nothing
		// uses, and anything else there is hidden.
		e = lab.Expect{Subject: f.Subject, Note: f.Title}
		if f.Class == "flux/hash-mismatch" || f.Class == "flux/undecodable-blob" {
			e.Class = "flux/damaged-orphan"
		}
	}
	return e
}
