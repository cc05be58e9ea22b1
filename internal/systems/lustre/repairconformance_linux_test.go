package lustre

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/lustre/lustrelab"
)

// injured makes a file system of the lab in a directory and injures it.
func injured(o lustrelab.Options, classes ...string) func(testing.TB, string) {
	var in []lab.Injury
	for _, c := range classes {
		in = append(in, lab.Injury{Class: "lustre/" + c})
	}
	return injuredMany(o, in)
}

func injuredMany(o lustrelab.Options, in []lab.Injury) func(testing.TB, string) {
	return func(t testing.TB, path string) {
		o.Seed = 5
		if _, err := lustrelab.Make(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		if len(in) == 0 {
			return
		}
		if _, err := lustrelab.Damage(t.Context(), path, 5, in); err != nil {
			t.Fatal(err)
		}
	}
}

// images is the location of the file system in a directory.
func images(path string) string {
	list, err := filepath.Glob(filepath.Join(path, "mdt*.img"))
	if err != nil || len(list) == 0 {
		return "lustre:" + path
	}
	return "lustre:" + strings.Join(list, ",")
}

// Two forms of the file system below: as the public images have it, and with what mkfs.lustre of today turns on.
var (
	oldForm = lustrelab.Options{Files: 60, Dirs: 6, Striped: 2}
	newForm = lustrelab.Options{Files: 60, Dirs: 6, Striped: 2, Extents: true, MetadataCsum: true, Bit64: true, LostFound: true}
)

// conformance has each kind of repair: fields in place, names put in and moved between MDTs, lost+found made with its agent.
var conformance = []storetest.Case{
	{Name: "healthy", Make: inMemory(injured(oldForm)), Location: images},
	{Name: "fields", Make: inMemory(injured(oldForm, "bad-type", "linkea-missing", "missing-lma")), Location: images,
		Want: map[string]int{BadType: 1, LinkMissing: 1, MissingLMA: 1}},
	{Name: "names", Make: inMemory(injured(newForm, "orphan-object", "bad-name-hash")), Location: images, Want: map[string]int{Orphan: 1, BadNameHash: 1}},
	{Name: "lost+found", Make: inMemory(injured(oldForm, "orphan-unknown")), Location: images, Want: map[string]int{Orphan: 1}},
}

func TestRepairConformance(t *testing.T) {
	storetest.Run(t, storetest.Suite{System: System{}, Cases: conformance, Tears: true, MaxCrashes: 8, MaxSecond: 2, Copy: copyImages, Digest: digestImages})
}

// everyCrash asks for all crashes rather than some. It takes long.
var everyCrash = os.Getenv("FETTLE_EVERY_CRASH") != ""

// classPolicies are the policies under which each recipe of the lab is repaired. Those that are not listed are repaired by default.
var classPolicies = map[string][]string{
	"dangling-name":      {"lustre/dangling-name=remove", "lustre/dangling-name=recreate"},
	"dangling-directory": {"lustre/dangling-name=remove", "lustre/dangling-name=recreate"},
	"dangling-remote":    {"lustre/dangling-name=remove", "lustre/dangling-name=recreate"},
	"stripe-dangling":    {"lustre/dangling-name=recreate"},
	"stripe-lost":        {"lustre/stripe-lost=recreate"},
	"orphan-object":      {"", "lustre/orphan-object=discard"},
	"duplicate-fid":      {"lustre/duplicate-fid=quarantine"},
	"wrong-mdt":          {"lustre/wrong-mdt=rewrite"},
}

// classCases has each recipe of the lab by itself, on images of either form in turn.
func classCases() []storetest.Case {
	var out []storetest.Case
	for i, r := range lustrelab.Recipes() {
		name := strings.TrimPrefix(r.Class, "lustre/")
		o := []lustrelab.Options{oldForm, newForm}[i%2]
		o.Dirs, o.Remote = 12, 500 // enough of each kind of object for every recipe
		policies := classPolicies[name]
		if policies == nil {
			policies = []string{""}
		}
		for _, policy := range policies {
			c := storetest.Case{Name: strings.TrimSpace(name + " " + policy), Make: inMemory(injured(o, name)), Location: images}
			if policy != "" {
				c.Policy = []string{policy}
			}
			out = append(out, c)
		}
	}
	return out
}

// TestCrashOfEachClass cuts the repair of each class off at every write and sync, and then what puts it right.
func TestCrashOfEachClass(t *testing.T) {
	s := storetest.Suite{System: System{}, Cases: classCases(), Tears: true, InTurn: true, MaxSecond: 1, Copy: copyImages, Digest: digestImages}
	switch {
	case everyCrash:
		s.InTurn, s.MaxSecond = false, 1<<30
	case testing.Short():
		s.MaxCrashes, s.MaxSecond = 2, 0
	}
	storetest.RunCrashes(t, s)
}

// TestCrashOfRealRepairs does the same with cases of damage to real images, with the policies of TestRealRepairs: some operations of some
// cases, or all of all.
func TestCrashOfRealRepairs(t *testing.T) {
	paths := pair(t)
	s := storetest.Suite{System: System{}, Tears: true, InTurn: true, MaxCrashes: 6, Copy: copyImages, Digest: digestImages}
	if everyCrash {
		s.InTurn, s.MaxCrashes, s.MaxSecond = false, 0, 1<<30
	}
	for i, c := range damageCases(t) {
		policies := onRequest[c.ID]
		if policies == nil {
			policies = [][]string{{}}
		}
		for _, policy := range policies {
			if len(c.Truth) == 0 || onRequest[c.ID] != nil && len(policy) == 0 || !everyCrash && i%4 != 0 && len(policy) == 0 {
				continue
			}
			s.Cases = append(s.Cases, storetest.Case{Name: strings.TrimSpace(c.ID + " " + strings.Join(policy, " ")), Policy: policy, Location: images,
				Make: func(t testing.TB, path string) {
					copyImages(t, filepath.Dir(paths[0]), path)
					list, err := lustrelab.Targets(path)
					if err != nil {
						t.Fatal(err)
					}
					c.apply(t, list, false)
				}})
		}
	}
	storetest.RunCrashes(t, s)
}
