package devmapper

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/systems/devmapper/dmlab"
)

// ofTheWhole are the classes that are about no single thing: they are told by a check, not by a row.
var ofTheWhole = []string{WrongPool, PoolEmpty, SeveralPoolDBs, LayerMissing, SequenceBehind, BoltEmpty, BoltTruncated, BoltNoMeta, BoltOneMeta, BoltPage, BoltFreelist,
	ThinSuperChecksum, ThinSuperInvalid, ThinNodeChecksum, ThinNodeInvalid, ThinBitmapChecksum, ThinDataLow, ThinDataHigh, ThinDataLeaked, ThinMetadataLow, ThinMetadataHigh,
	ThinMetadataLeaked, ThinSpaceMapTotal, ThinNeedsCheck, ThinTransaction, ThinOutOfData, ThinOutOfMetadata, ThinHeldRoot, ThinXMLUnreadable}

// TestInventoryReal looks at every real and damaged set: everything can be walked, and what is wrong with one thing stands at its row.
func TestInventoryReal(t *testing.T) {
	root := real(t)
	variants, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := filepath.Glob(filepath.Join(root, "real", "*", "after-restart"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(variants, after...) {
		name, err := filepath.Rel(root, dir)
		if fi, serr := os.Stat(dir); err != nil || serr != nil || !fi.IsDir() || strings.Contains(name, "n50000") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			toldAtRows(t, layOut(t, root, name))
		})
	}
}

// TestInventoryLab does the same with every damage that the lab knows.
func TestInventoryLab(t *testing.T) {
	base := labSet(t)
	for _, r := range dmlab.Recipes() {
		t.Run(strings.TrimPrefix(r.Class, "devmapper/"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "set")
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			if _, err := dmlab.Damage(t.Context(), dir, 1, []lab.Injury{{Class: r.Class}}); err != nil {
				t.Fatal(err)
			}
			toldAtRows(t, dir)
		})
	}
}

// toldAtRows looks at everything in a set, and at every finding for the row that it is about.
func toldAtRows(t *testing.T, dir string) {
	t.Helper()
	v := browseSet(t, dir)
	visitAll(t, v)
	told := map[int]bool{}
	for i := range v.inv.Rows {
		for _, k := range v.inv.Rows[i].found {
			told[k] = true
		}
	}
	for k := range v.inv.found {
		if f := &v.inv.found[k]; !told[k] && v.inv.counts(k) && !slices.Contains(ofTheWhole, f.Class) {
			t.Errorf("no row has %s %s", f.Class, f.Subject)
		}
	}
}
