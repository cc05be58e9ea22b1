package fluxlab

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/lab"
)

func made(t *testing.T, opt Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "content.sqlite")
	if _, err := Make(context.Background(), path, opt); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRecipes makes every kind of damage twice: the truth names it, and the same seed gives the same bytes.
func TestRecipes(t *testing.T) {
	ctx := context.Background()
	base, err := os.ReadFile(made(t, Options{Seed: 5, Jobs: 60}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Recipes() {
		t.Run(filepath.Base(r.Class), func(t *testing.T) {
			var first [][]byte
			for range 2 {
				path := filepath.Join(t.TempDir(), "content.sqlite")
				if err := os.WriteFile(path, base, 0o600); err != nil {
					t.Fatal(err)
				}
				truth, err := Damage(ctx, path, 7, []lab.Injury{{Class: r.Class, Count: 3}})
				if err != nil {
					t.Fatal(err)
				}
				if len(truth.Done) != 1 || truth.Done[0].Made() == 0 {
					t.Fatalf("nothing was done: %+v", truth.Done)
				}
				if len(truth.Expected) == 0 {
					t.Fatalf("nothing is expected of %q", truth.Done[0].What)
				}
				var all [][]byte
				changed := false
				for _, f := range Files(path) {
					b, _ := os.ReadFile(f)
					all = append(all, b)
					changed = changed || f == path && !bytes.Equal(b, base) || f != path && b != nil
				}
				if !changed {
					t.Error("no file was changed")
				}
				if first == nil {
					first = all
					for _, w := range truth.Done[0].What {
						t.Log(w)
					}
					for i, e := range truth.Expected {
						if i < 8 {
							t.Log("expects", e.Line(), e.Note)
						}
					}
					t.Log("hidden", truth.HiddenCount, truth.Facts)
					continue
				}
				for i := range all {
					if !bytes.Equal(first[i], all[i]) {
						t.Errorf("%s differs with the same seed", Files("")[i])
					}
				}
			}
		})
	}
}
