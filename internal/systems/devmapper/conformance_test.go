package devmapper

import (
	"testing"

	"fettle/internal/lab"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/dmlab"
)

// injured makes a set of the lab and injures it.
func injured(classes ...string) func(testing.TB, string) {
	return func(t testing.TB, path string) {
		if _, err := dmlab.Make(t.Context(), path, dmlab.Options{Seed: 7}); err != nil {
			t.Fatal(err)
		}
		var in []lab.Injury
		for _, c := range classes {
			in = append(in, lab.Injury{Class: "devmapper/" + c})
		}
		if len(in) == 0 {
			return
		}
		if _, err := dmlab.Damage(t.Context(), path, 7, in); err != nil {
			t.Fatal(err)
		}
	}
}

func location(path string) string { return "devmapper:" + path }

// conformance are the kinds of repair: records of each database, thin metadata written anew, whole databases written anew.
var conformance = []storetest.Case{
	{Name: "healthy", Make: injured(), Location: location},
	{Name: "records", Make: injured("backlink-missing", "child-link-missing", "id-taken-orphan"), Location: location,
		Want: map[string]int{"devmapper/backlink-missing": 1, "devmapper/child-link-missing": 1, "devmapper/id-taken-orphan": 1}},
	{Name: "thin device deleted", Make: injured("leaked-thin-device"), Location: location, Want: map[string]int{"devmapper/leaked-thin-device": 1}, Renames: true},
	{Name: "empty database", Make: injured("bbolt-empty-file"), Location: location, Want: map[string]int{"devmapper/bbolt-empty-file": 1}, Renames: true},
}

func TestConformance(t *testing.T) {
	s := storetest.Suite{System: System{}, Cases: conformance, Tears: true}
	if testing.Short() {
		s.MaxCrashes = 6
	}
	storetest.Run(t, s)
}
