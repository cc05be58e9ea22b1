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
	return func(t testing.TB, path string) {
		o.Seed = 5
		if _, err := lustrelab.Make(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		var in []lab.Injury
		for _, c := range classes {
			in = append(in, lab.Injury{Class: "lustre/" + c})
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
	{Name: "healthy", Make: injured(oldForm), Location: images},
	{Name: "fields", Make: injured(oldForm, "bad-type", "linkea-missing", "missing-lma"), Location: images,
		Want: map[string]int{BadType: 1, LinkMissing: 1, MissingLMA: 1}},
	{Name: "names", Make: injured(newForm, "orphan-object", "bad-name-hash"), Location: images, Want: map[string]int{Orphan: 1, BadNameHash: 1}},
	{Name: "lost+found", Make: injured(oldForm, "orphan-unknown"), Location: images, Want: map[string]int{Orphan: 1}},
}

func TestRepairConformance(t *testing.T) {
	s := storetest.Suite{System: System{}, Cases: conformance, Tears: true, MaxCrashes: 2} // each goes through whole images
	if os.Getenv("FETTLE_FIXTURES") == "" || testing.Short() {                             // minutes
		s.Cases = s.Cases[:2]
	}
	storetest.Run(t, s)
}
