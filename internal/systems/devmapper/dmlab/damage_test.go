package dmlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/fault"
	"fettle/internal/lab"
)

// healthy makes a set once and returns a function that copies it.
func healthy(t *testing.T, opt Options) func(t testing.TB) string {
	t.Helper()
	base := filepath.Join(t.TempDir(), "set")
	if _, err := Make(context.Background(), base, opt); err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) string {
		dir := filepath.Join(t.TempDir(), "set")
		if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

// TestRecipes makes every kind of damage twice: files change, the truth names it, and the same seed gives the same truth.
func TestRecipes(t *testing.T) {
	ctx := context.Background()
	fresh := healthy(t, Options{Seed: 4, Images: 4, Containers: 30})
	whole := fresh(t)
	for _, r := range recipes() {
		t.Run(filepath.Base(r.Class), func(t *testing.T) {
			var first *lab.Truth
			for range 2 {
				dir := fresh(t)
				truth, err := Damage(ctx, dir, 7, []lab.Injury{{Class: r.Class, Count: 3}})
				if err != nil {
					t.Fatal(err)
				}
				if len(truth.Done) != 1 || truth.Done[0].Made() == 0 {
					t.Fatalf("nothing was done: %+v", truth.Done)
				}
				if len(truth.Expected) == 0 && truth.Facts["info"] == "" {
					t.Fatalf("nothing is expected of %q", truth.Done[0].What)
				}
				if !changed(t, whole, dir) {
					t.Error("no file was changed")
				}
				if first != nil && !reflect.DeepEqual(first, truth) {
					t.Errorf("the same seed gave\n%+v and\n%+v", first, truth)
				}
				first = truth
			}
		})
	}
}

func changed(t *testing.T, a, b string) bool {
	if !slices.EqualFunc(Files(a), Files(b), func(x, y string) bool { return filepath.Base(x) == filepath.Base(y) }) {
		return true
	}
	for _, f := range Files(a) {
		x, err1 := os.ReadFile(f)
		y, err2 := os.ReadFile(filepath.Join(b, filepath.Base(f)))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			return true
		}
	}
	return false
}

// TestFixtureKinds demands a recipe for every kind of damage of which there is a described state.
func TestFixtureKinds(t *testing.T) {
	have := map[string]bool{}
	for _, r := range recipes() {
		for _, f := range strings.Fields(r.fixtures) {
			if have[f] {
				t.Errorf("%s is made by two recipes", f)
			}
			have[f] = true
		}
	}
	for i := 1; i <= 54; i++ {
		if f := fmt.Sprintf("d%02d", i); !have[f] {
			t.Errorf("no recipe for %s", f)
		}
	}
}

// TestDamageTogether injures sets in several ways at once: the truth names nothing twice, and expects nothing that it also allows.
func TestDamageTogether(t *testing.T) {
	fresh := healthy(t, Options{Seed: 6, Images: 3, Containers: 20})
	var classes []string
	for _, r := range recipes() {
		if !r.Alone {
			classes = append(classes, r.Class)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		var injuries []lab.Injury
		for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom(classes), 1, 5, rapid.ID[string]).Draw(rt, "classes") {
			injuries = append(injuries, lab.Injury{Class: c, Count: rapid.IntRange(0, 4).Draw(rt, "count")})
		}
		truth, err := Damage(context.Background(), fresh(t), rapid.Uint64().Draw(rt, "seed"), injuries)
		if err != nil {
			rt.Fatal(err)
		}
		seen := map[string]bool{}
		for _, e := range truth.Expected {
			if seen[e.Line()] {
				rt.Fatalf("twice: %s", e.Line())
			}
			seen[e.Line()] = true
		}
	})
}

func TestDamageRefuses(t *testing.T) {
	ctx := context.Background()
	fresh := healthy(t, Options{Seed: 1})
	for _, injuries := range [][]lab.Injury{{{Class: "devmapper/nonsense"}}, {{Class: poolEmpty}, {Class: noSnapshot}}} {
		dir := fresh(t)
		_, err := Damage(ctx, dir, 1, injuries)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Usage {
			t.Errorf("%v: %v", injuries, err)
		}
	}
	// What records and devices there are is looked at; states and links are not.
	for _, class := range []string{noDevice, blocksNextID, notInPool, leakedDevice, noSnapshot, snapshotDuplicate, snapshotUnparsable, danglingBackend,
		recordUnparsable, duplicateDevice, unreferenced, metaUnparsable, poolEmpty, wrongPool, poolRenamed, boltEmpty, boltNoMeta, boltTruncated, thinSuperChecksum, thinNodeChecksum} {
		dir := fresh(t)
		if _, err := Damage(ctx, dir, 1, []lab.Injury{{Class: class}}); err != nil {
			t.Fatal(err)
		}
		if _, err := Damage(ctx, dir, 1, []lab.Injury{{Class: stateStuck}}); err == nil {
			t.Errorf("a set damaged by %s was damaged again", class)
		}
	}
	if _, err := Damage(ctx, t.TempDir(), 1, []lab.Injury{{Class: noDevice}}); err == nil {
		t.Error("an empty directory was damaged")
	}
}
