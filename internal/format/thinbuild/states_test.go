package thinbuild

import (
	"os"
	"testing"

	"fettle/internal/format/thinmeta"
)

// Of two transactions whose trees agree in themselves and have the same time, the later one is found: the one further on, or the
// one that began again at the lowest free block while blocks behind it were in use.
func TestLatestTransaction(t *testing.T) {
	for name, second := range map[string]struct {
		begin uint64 // where the second transaction begins; the first has blocks from 200 on
		inUse bool   // the second one still uses a block of the first
	}{
		"further on":    {600, false},
		"began again":   {1, true},
		"earlier start": {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, 1024)
			transaction(t, f, 200, 5, false)
			transaction(t, f, second.begin, 6, second.inUse)
			super := superOf(t, f.Name())
			patch(t, f.Name(), 0, func(b []byte) { clear(b) })
			_, c := rewrite(t, f.Name(), Edits{DataBlockSize: 128, DataBlocks: testDataBlocks})
			if c.Roots.Sure != Likely || c.Roots.Pairs != 2 {
				t.Errorf("%+v", c.Roots)
			}
			want := name != "earlier start" // then the first one is the later one
			if (c.Roots.Mapping == super.MappingRoot) != want || (c.Roots.Details == super.DetailsRoot) != want {
				t.Errorf("found %+v", c.Roots)
			}
		})
	}
}

// transaction writes a pool with one device and that many mappings to blocks from begin on.
func transaction(t *testing.T, f *os.File, begin, mapped uint64, inUse bool) {
	t.Helper()
	b, err := New(f, testOptions(1024))
	if err != nil {
		t.Fatal(err)
	}
	b.s.next = begin
	root, err := b.Tree(func(yield func(thinmeta.Run) bool) { yield(thinmeta.Run{Length: mapped, Data: 3, Time: 8}) })
	if err != nil {
		t.Fatal(err)
	}
	if inUse {
		if err := b.meta.inc(200); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Device(1, thinmeta.Details{MappedBlocks: mapped, SnapshotTime: 8}, root); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
}
