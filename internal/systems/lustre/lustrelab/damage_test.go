package lustrelab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/systems/lustre"
)

// hurt are file systems on which every recipe finds something to injure.
var hurt = map[string]Options{
	"indirect": {Files: 700, Dirs: 90, Striped: 20, Seed: 11, HardLinks: 200, Remote: 200, BigDir: 300, LostFound: true},
	"csum":     {MDTs: 3, Files: 900, Dirs: 110, Striped: 20, Seed: 12, HardLinks: 200, Remote: 200, Extents: true, MetadataCsum: true, Bit64: true, InodeSize: 1024, Foreign: true},
}

// makeHurt makes such a file system in a directory of its own, as a copy of one that is made once.
func makeHurt(t *testing.T, base string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fs")
	if err := lab.CopyStore(base, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func makeBase(t *testing.T, o Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if _, err := Make(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every recipe injures something that a naive program sees, and nothing that ext4 checks by sums and counts.
func TestDamage(t *testing.T) {
	for what, o := range hurt {
		base := makeBase(t, o)
		for _, r := range Recipes() {
			t.Run(what+"/"+strings.TrimPrefix(r.Class, "lustre/"), func(t *testing.T) {
				t.Parallel()
				dir := makeHurt(t, base)
				truth, err := Damage(t.Context(), dir, 5, []lab.Injury{{Class: r.Class, Count: 3}})
				if err != nil {
					t.Fatal(err)
				}
				if truth.Done[0].Made() < 2 || len(truth.Expected)+len(truth.Allowed) < truth.Done[0].Made() {
					t.Errorf("%+v", truth)
				}
				paths, err := Targets(dir)
				if err != nil {
					t.Fatal(err)
				}
				w := readAll(t, openAll(t, paths))
				bad := slices.Clone(w.wrong)
				if w.check(); len(w.wrong) == 0 {
					t.Error("nothing was seen")
				}
				for _, s := range bad { // what was met in reading, before anything was compared
					if strings.Contains(s, "Kind:") {
						t.Error(s)
					}
				}
			})
		}
	}
}

// The same seed and injuries give the same truth and bytes; several at once do not get in each other's way.
func TestDamageTogether(t *testing.T) {
	base := makeBase(t, hurt["csum"])
	var all []lab.Injury
	for _, r := range Recipes() {
		all = append(all, lab.Injury{Class: r.Class, Count: 2})
	}
	first := ""
	for range 2 {
		dir := makeHurt(t, base)
		truth, err := Damage(t.Context(), dir, 5, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range truth.Done {
			if d.Made() == 0 {
				t.Errorf("%s: nothing was done", d.Class)
			}
		}
		paths, err := Targets(dir)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := lab.Digest(paths)
		if err != nil {
			t.Fatal(err)
		}
		if first != "" && first != sum {
			t.Error("the bytes differ")
		}
		first = sum
		if _, err := Damage(t.Context(), dir, 5, all); err == nil {
			t.Error("a damaged file system was injured again")
		}
	}
}

// The truth speaks of classes that the check has.
func TestClassNames(t *testing.T) {
	base := makeBase(t, hurt["indirect"])
	var all []lab.Injury
	for _, r := range Recipes() {
		all = append(all, lab.Injury{Class: r.Class})
	}
	truth, err := Damage(t.Context(), base, 1, all)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range lustre.Classes {
		known[c.ID] = true
	}
	told := map[string]bool{}
	for _, e := range truth.Expected {
		if told[e.Class] = true; !known[e.Class] {
			t.Errorf("no class %s", e.Class)
		}
	}
	for _, a := range truth.Allowed {
		if strings.Contains(truth.Facts["info"], a.Class) {
			told[a.Class] = true
		}
		if !known[a.Class] {
			t.Errorf("no class %s", a.Class)
		}
	}
	for id := range known {
		if !told[id] && id != lustre.Damage {
			t.Errorf("no recipe makes %s", id)
		}
	}
}

func TestDamageRefuses(t *testing.T) {
	if _, err := Damage(t.Context(), t.TempDir(), 1, []lab.Injury{{Class: orphan}}); err == nil || !strings.Contains(err.Error(), "mdt*.img") {
		t.Errorf("an empty directory: %v", err)
	}
	base := makeBase(t, Options{Files: 50, Seed: 1})
	if _, err := Damage(t.Context(), base, 1, []lab.Injury{{Class: "nonsense"}}); err == nil {
		t.Error("a class that does not exist")
	}
	if err := os.Remove(filepath.Join(base, "mdt0.img")); err != nil {
		t.Fatal(err)
	}
	if _, err := Damage(t.Context(), base, 1, []lab.Injury{{Class: orphan}}); err == nil || !strings.Contains(err.Error(), "MDT0000 is missing") {
		t.Errorf("without MDT0: %v", err)
	}
}
