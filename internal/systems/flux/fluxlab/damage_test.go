package fluxlab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/fault"
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

// TestDamageTogether injures stores in several ways at once. Whatever is chosen, the truth can be worked out, and
// names nothing twice.
func TestDamageTogether(t *testing.T) {
	ctx := context.Background()
	base, err := os.ReadFile(made(t, Options{Seed: 6, Jobs: 2}))
	if err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, r := range recipes() {
		if !r.Alone {
			classes = append(classes, r.Class)
		}
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var injuries []lab.Injury
		for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom(classes), 1, 4, rapid.ID[string]).Draw(t, "classes") {
			in := lab.Injury{Class: c, Count: rapid.IntRange(0, 5).Draw(t, "count")}
			if rapid.Bool().Draw(t, "share") {
				in.Percent = rapid.Float64Range(0.1, 30).Draw(t, "percent")
			}
			injuries = append(injuries, in)
		}
		seed := rapid.Uint64().Draw(t, "seed")
		path := filepath.Join(dir, "content.sqlite")
		if err := os.WriteFile(path, base, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := Damage(ctx, path, seed, injuries)
		if err != nil {
			// Without checkpt_v2 there is nothing for bad-checkpoint to spoil.
			if slices.ContainsFunc(injuries, func(i lab.Injury) bool { return i.Class == legacyCheckpoint || i.Class == noCheckpoint }) {
				return
			}
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range first.Expected {
			if line := e.Line(); seen[line] && e.Class != duplicateBlob {
				t.Fatalf("twice: %s", line)
			} else {
				seen[line] = true
			}
		}
	})
}

func TestDamageRefuses(t *testing.T) {
	ctx := context.Background()
	path := made(t, Options{Seed: 1, Jobs: 3})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, injuries := range [][]lab.Injury{{{Class: "flux/nonsense"}}, {{Class: truncatedFile}, {Class: badHeader}}, {{Class: danglingValref}, {Class: walCorrupt}}} {
		_, err := Damage(ctx, path, 1, injuries)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Usage {
			t.Errorf("%v: %v", injuries, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Fatalf("%v: the store was touched", injuries)
		}
	}
	if _, err := Damage(ctx, path, 1, []lab.Injury{{Class: danglingRoot}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Damage(ctx, path, 1, []lab.Injury{{Class: danglingValref}}); err == nil {
		t.Error("a damaged store was damaged again")
	}
}
