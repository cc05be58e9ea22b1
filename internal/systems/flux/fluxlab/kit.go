package fluxlab

import (
	"context"
	"encoding/json"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/store"
)

// Kit is what Flux contributes to the lab. sys is package flux's System, handed in so that nothing here imports it.
func Kit(sys store.System) *lab.Kit {
	return &lab.Kit{System: sys, Recipes: Recipes(), Damage: Damage, Observe: Observe, Files: Files,
		Make: func(ctx context.Context, path string, seed uint64) error {
			_, err := Make(ctx, path, Options{Seed: seed, Jobs: 120})
			return err
		}}
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
	}
	if json.Unmarshal(f.Detail, &d) == nil && f.Path != nil && *f.Path != "" {
		for _, b := range d.Bad {
			e.Index = append(e.Index, b.Index)
		}
		slices.Sort(e.Index)
	}
	return e
}
