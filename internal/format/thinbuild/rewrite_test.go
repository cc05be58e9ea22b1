package thinbuild

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/thinmeta"

	"pgregory.net/rapid"
)

// samplePool writes a pool: a device, two snapshots that share most of it, a small device, an empty one.
func samplePool(t testing.TB, blocks, mapped uint64) (path string, m model) {
	t.Helper()
	f := newFile(t, blocks)
	o := testOptions(blocks)
	o.Time, o.TransactionID, o.UUID = 9, 0, [16]byte{1, 2, 3}
	b, err := New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	base := map[uint64]Entry{}
	for i := range mapped {
		base[3*i] = Entry{3 * i, i, 1}
	}
	m = model{
		1: {mappings: base}, 2: {mappings: maps.Clone(base)}, 3: {mappings: maps.Clone(base)},
		40: {mappings: map[uint64]Entry{7: {7, mapped + 7, 5}}}, 50: {mappings: map[uint64]Entry{}},
	}
	root, err := b.Tree(runsOf(base))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range slices.Sorted(maps.Keys(m)) {
		d := m[id]
		n := root
		switch id {
		case 2, 3:
			e := Entry{3 * mapped / 2, mapped + uint64(id), 2}
			d.mappings[e.Virtual] = e
			n, err = b.Change(root, Edit{Entry: e})
		case 40, 50:
			n, err = b.Leaf(sorted(d.mappings))
		}
		if err != nil {
			t.Fatal(err)
		}
		d.details = thinmeta.Details{MappedBlocks: uint64(len(d.mappings)), CreationTime: id % 5, SnapshotTime: 4}
		if err := b.Device(id, d.details, n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	return f.Name(), m
}

// readable is what our reader can still read of a damaged file.
func readable(t testing.TB, path string) model {
	t.Helper()
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	devices, err := f.Devices()
	if err != nil && !errors.Is(err, thinmeta.ErrDamaged) {
		t.Fatal(err)
	}
	m := model{}
	for _, d := range devices {
		m[d.ID] = &modelDevice{d.Details, map[uint64]Entry{}}
		for r, err := range f.Runs(d.ID) {
			for i := range r.Length {
				m[d.ID].mappings[r.Virtual+i] = Entry{r.Virtual + i, r.Data + i, r.Time}
			}
			if err != nil && !errors.Is(err, thinmeta.ErrDamaged) && !errors.Is(err, thinmeta.ErrNoDevice) {
				t.Fatal(err)
			}
		}
	}
	return m
}

// Whatever nodes are damaged, the copy is legal, holds exactly what can still be read, and says of which device something is missing.
func TestRewriteKeepsWhatCanBeRead(t *testing.T) {
	path, before := samplePool(t, 256, 9000)
	super := superOf(t, path)
	keep := []uint64{0, super.DetailsRoot, super.MappingRoot}
	rapid.Check(t, func(rt *rapid.T) {
		bad := copyFile(t, path)
		for range rapid.IntRange(0, 50).Draw(rt, "damaged") {
			block := rapid.Uint64Range(1, 60).Draw(rt, "block")
			if !slices.Contains(keep, block) {
				patch(t, bad, block, func(b []byte) { b[100] ^= 1 })
			}
		}
		want := readable(t, bad)
		to, c := rewrite(t, bad, Edits{})
		for i, id := range slices.Sorted(maps.Keys(before)) {
			d := want[id]
			d.details.MappedBlocks = uint64(len(d.mappings))
			change := c.Devices[i]
			if change.ID != id || change.MappedBefore != before[id].details.MappedBlocks || change.MappedAfter != d.details.MappedBlocks {
				rt.Fatalf("device %d: %+v", id, change)
			}
			// Nobody knows what was in the tree of device 50 when that cannot be read.
			if lost := change.MappedAfter < change.MappedBefore; lost != (change.Lost != "") && id != 50 {
				rt.Fatalf("device %d: %+v", id, change)
			}
		}
		wantReader(t, to, want)
		if len(c.Losses()) == 0 && c.Written.MetadataUsed > c.MetadataUsed {
			rt.Fatalf("%d blocks, before %d", c.Written.MetadataUsed, c.MetadataUsed)
		}
	})
}

// A branch that loses most of its leaves is merged with its neighbour, for each device that has it.
func TestLossInDeepTrees(t *testing.T) {
	path, _ := samplePool(t, 1024, 70000)
	for block := uint64(1); block < 240; block++ { // leaves come before their branches
		if block%9 != 0 {
			patch(t, path, block, func(b []byte) { b[100] ^= 1 })
		}
	}
	want := readable(t, path)
	for _, d := range want {
		d.details.MappedBlocks = uint64(len(d.mappings))
	}
	to, c := rewrite(t, path, Edits{})
	wantReader(t, to, want)
	if lost := c.Losses(); len(lost) != 3 || lost[0].MappedBefore != 70000 || lost[0].MappedAfter > 20000 {
		t.Errorf("losses %+v", lost)
	}
}

// Edits are done and nothing else changes.
func TestEdits(t *testing.T) {
	path, want := samplePool(t, 1024, 5000)
	patch(t, path, 0, func(b []byte) {
		binary.LittleEndian.PutUint32(b[4:], thinmeta.FlagNeedsCheck)
		seal(thinmeta.KindSuperblock, b)
	})
	to, c := rewrite(t, path, Edits{})
	wantReader(t, to, want)
	before, after := superOf(t, path), superOf(t, to)
	if after.Flags != thinmeta.FlagNeedsCheck || after.UUID != before.UUID || after.Time != before.Time || after.DataBlockSize != before.DataBlockSize ||
		after.Data.Blocks != before.Data.Blocks || after.Metadata.Blocks != before.Metadata.Blocks {
		t.Errorf("superblock %+v, before %+v", after, before)
	}
	if len(c.Notes) > 0 {
		t.Errorf("notes %v", c.Notes)
	}
	id := uint64(5)
	to, c = rewrite(t, path, Edits{
		Drop: map[uint32]string{1: "test", 40: "also"}, Details: map[uint32]thinmeta.Details{2: {MappedBlocks: 1, CreationTime: 3, SnapshotTime: 77}},
		ClearNeedsCheck: true, MetadataBlocks: 2048, TransactionID: &id,
	})
	delete(want, 1)
	delete(want, 40)
	want[2].details = thinmeta.Details{MappedBlocks: uint64(len(want[2].mappings)), CreationTime: 3, SnapshotTime: 77}
	wantReader(t, to, want)
	after = superOf(t, to)
	if after.Flags != 0 || after.Metadata.Blocks != 2048 || after.TransactionID != 5 || after.Time != 77 {
		t.Errorf("superblock %+v", after)
	}
	if d := c.Devices[0]; !d.Dropped || d.Why != "test" || d.MappedBefore != 5000 || d.MappedAfter != 0 || d.Lost != "" {
		t.Errorf("device 1: %+v", d)
	}
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "time") {
		t.Errorf("notes %v", c.Notes)
	}
}

// A device without details gets some that keep its blocks from being overwritten.
func TestDetailsAreRebuilt(t *testing.T) {
	path, want := samplePool(t, 1024, 5000)
	super := superOf(t, path)
	patch(t, path, super.DetailsRoot, func(b []byte) { // the last two, devices 40 and 50
		binary.LittleEndian.PutUint32(b[16:], 3)
		seal(thinmeta.KindNode, b)
	})
	to, c := rewrite(t, path, Edits{})
	want[40].details = thinmeta.Details{MappedBlocks: 1, CreationTime: 5, SnapshotTime: super.Time}
	want[50].details = thinmeta.Details{SnapshotTime: super.Time}
	wantReader(t, to, want)
	if d := c.Devices[3]; d.ID != 40 || !d.Rebuilt || d.Lost != "" || d.MappedBefore != 1 {
		t.Errorf("device 40: %+v", d)
	}
}

// A device that the mapping tree has lost stays, empty.
func TestDeviceWithoutMapping(t *testing.T) {
	path, want := samplePool(t, 1024, 5000)
	patch(t, path, superOf(t, path).MappingRoot, func(b []byte) {
		binary.LittleEndian.PutUint32(b[16:], 4)
		seal(thinmeta.KindNode, b)
	})
	to, c := rewrite(t, path, Edits{})
	wantReader(t, to, want) // device 50 was empty
	if d := c.Devices[4]; d.ID != 50 || d.Lost == "" {
		t.Errorf("device 50: %+v", d)
	}
	patch(t, path, superOf(t, path).MappingRoot, func(b []byte) { b[200] ^= 1 })
	to, c = rewrite(t, path, Edits{})
	for i, id := range slices.Sorted(maps.Keys(want)) {
		if d := c.Devices[i]; d.MappedBefore != want[id].details.MappedBlocks || d.MappedAfter != 0 || d.Lost == "" {
			t.Errorf("device %d: %+v", id, d)
		}
	}
	if len(c.Lost) != 1 {
		t.Errorf("lost: %v", c.Lost)
	}
	if got := readModel(t, to); len(got) != 5 {
		t.Errorf("%d devices left", len(got))
	}
}

// Without a superblock the facts that only it has must be given; then the trees are found, also when one of them is damaged.
func TestWithoutSuperblock(t *testing.T) {
	path, want := samplePool(t, 1024, 5000)
	super := superOf(t, path)
	patch(t, path, 0, func(b []byte) { b[20] ^= 1 })
	_, err := tryRewrite(t, path, Edits{})
	var known *SuperblockError
	if !errors.As(err, &known) || known.DataBlockSize != 128 || known.DataBlocks != testDataBlocks || !known.Looks {
		t.Errorf("without facts: %v", err)
	}
	facts := Edits{DataBlockSize: 128, DataBlocks: testDataBlocks}
	to, c := rewrite(t, path, facts)
	wantReader(t, to, want)
	if c.Roots.Sure != Certain || !strings.Contains(c.Roots.Why, "names") {
		t.Errorf("roots %+v", c.Roots)
	}
	patch(t, path, 0, func(b []byte) { clear(b) })
	to, c = rewrite(t, path, facts)
	wantReader(t, to, want)
	if c.Roots.Sure != Certain || c.Roots.Mapping != super.MappingRoot || c.Roots.Details != super.DetailsRoot || c.Roots.Devices != 5 {
		t.Errorf("roots %+v", c.Roots)
	}
	leaf := rootOf(t, path, super.MappingRoot, 3)
	patch(t, path, leaf, func(b []byte) { b[100] ^= 1 })
	to, c = rewrite(t, path, facts)
	want[40].mappings, want[40].details.MappedBlocks = map[uint64]Entry{}, 0
	wantReader(t, to, want)
	if c.Roots.Sure != Guess || len(c.Losses()) != 1 || c.Losses()[0].ID != 40 {
		t.Errorf("roots %+v, losses %+v", c.Roots, c.Losses())
	}
	facts.DataBlocks++
	path, _ = samplePool(t, 1024, 10)
	if _, err := tryRewrite(t, path, facts); err == nil {
		t.Error("another number of data blocks than the superblock's was accepted")
	}
}

// rootOf is value i of a node of the tree over devices.
func rootOf(t testing.TB, path string, block uint64, i int) (root uint64) {
	patch(t, path, block, func(b []byte) {
		r, err := parseNode(b, block)
		if err != nil {
			t.Fatal(err)
		}
		root = r.u64(i)
	})
	return root
}

// tryRewrite rewrites a file that may be impossible to rewrite. After an error there must be no file.
func tryRewrite(t testing.TB, path string, e Edits) (string, error) {
	t.Helper()
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to := filepath.Join(t.TempDir(), "new")
	c, err := Rewrite(context.Background(), f, to, e)
	if _, missing := os.Stat(to); (err == nil) != (missing == nil) || (err == nil) != (c != nil) {
		t.Errorf("error %v, comparison %v, file %v", err, c, missing)
	}
	return to, err
}

// An existing file is not touched, and a cancelled rewrite leaves none.
func TestRefusedAndCancelled(t *testing.T) {
	path, _ := samplePool(t, 1024, 30000)
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Rewrite(context.Background(), f, path, Edits{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("onto the source: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	to := filepath.Join(t.TempDir(), "new")
	if _, err := Rewrite(ctx, f, to, Edits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is left: %v", err)
	}
	if _, err := tryRewrite(t, path, Edits{MetadataBlocks: 100}); !errors.Is(err, ErrFull) {
		t.Errorf("too small: %v", err)
	}
	if _, c := rewrite(t, path, Edits{Drop: map[uint32]string{77: "test"}}); len(c.Notes) != 1 || len(c.Devices) != 5 {
		t.Errorf("dropping a device that is not there: %+v", c)
	}
	if _, err := tryRewrite(t, path, Edits{Details: map[uint32]thinmeta.Details{77: {}}}); err == nil {
		t.Error("details of a device that is not there were accepted")
	}
}

// A superblock that claims the moon is not believed.
func TestHugeClaims(t *testing.T) {
	for name, change := range map[string]func([]byte){
		"data blocks":         func(b []byte) { binary.LittleEndian.PutUint64(b[64:], 1<<40) },
		"more data blocks":    func(b []byte) { binary.LittleEndian.PutUint64(b[64:], 1<<63) },
		"data blocks, barely": func(b []byte) { binary.LittleEndian.PutUint64(b[64:], 1026*16320) },
		"data block size":     func(b []byte) { binary.LittleEndian.PutUint32(b[336:], 1<<31) },
	} {
		path, _ := samplePool(t, 1024, 300)
		patch(t, path, 0, func(b []byte) { change(b); seal(thinmeta.KindSuperblock, b) })
		if _, err := tryRewrite(t, path, Edits{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	path, want := samplePool(t, 1024, 300)
	patch(t, path, 0, func(b []byte) {
		binary.LittleEndian.PutUint64(b[192:], 1<<62)
		seal(thinmeta.KindSuperblock, b)
	})
	to, c := rewrite(t, path, Edits{})
	wantReader(t, to, want)
	if len(c.Notes) != 1 || superOf(t, to).Metadata.Blocks != 1024 {
		t.Errorf("metadata blocks: notes %v", c.Notes)
	}
}

// Nodes that refer to themselves, to each other or to nonsense are losses.
func TestCycles(t *testing.T) {
	path, want := samplePool(t, 1024, 30000)
	super := superOf(t, path)
	root := rootOf(t, path, super.MappingRoot, 0)
	patch(t, path, root, func(b []byte) {
		r, err := parseNode(b, root)
		if err != nil {
			t.Fatal(err)
		}
		r.setU64(3, root)
		r.setU64(5, super.MappingRoot)
		r.setU64(7, 1<<60)
		r.setU64(9, super.DetailsRoot)
		r.setU64(11, r.u64(0))
		seal(thinmeta.KindNode, b)
	})
	to, c := rewrite(t, path, Edits{})
	lost := c.Losses()
	if len(lost) != 1 || lost[0].ID != 1 || lost[0].MappedBefore != 30000 || lost[0].MappedAfter >= 29000 || lost[0].MappedAfter < 27000 {
		t.Errorf("losses %+v", lost)
	}
	got := readModel(t, to)
	delete(got, 1)
	delete(want, 1)
	wantModel(t, got, want)
	patch(t, path, super.MappingRoot, func(b []byte) { // the list of devices below itself
		r := beginNode(b, false, super.MappingRoot, 2, mappingSize)
		r.setKey(1, 9)
		r.setU64(0, super.MappingRoot)
		r.setU64(1, super.DetailsRoot)
		seal(thinmeta.KindNode, b)
	})
	if _, c = rewrite(t, path, Edits{}); len(c.Lost) != 2 || len(c.Losses()) != 5 {
		t.Errorf("lost %v, %+v", c.Lost, c.Losses())
	}
}

// Garbage is an error, and nothing is left behind.
func TestGarbage(t *testing.T) {
	garbage := make([]byte, 64*thinmeta.BlockSize)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(garbage)
	for _, b := range [][]byte{nil, garbage[:100], make([]byte, 5000), garbage} {
		path := filepath.Join(t.TempDir(), "garbage")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, e := range []Edits{{}, {DataBlockSize: 128, DataBlocks: 1000}} {
			if _, err := tryRewrite(t, path, e); err == nil {
				t.Errorf("%d bytes of garbage were rewritten", len(b))
			}
		}
	}
}

// FuzzRewrite changes words of a small pool and makes the checksums right again. Whatever comes of it is refused or becomes legal.
func FuzzRewrite(f *testing.F) {
	path, _ := samplePool(f, 100, 600)
	image, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{0, 64, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{1, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 24, 1, 9, 9, 9, 0, 0, 0, 0, 0})
	f.Add([]byte{4, 32, 8, 4, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, patches []byte) {
		b := slices.Clone(image)
		for n := 0; len(patches) >= 11 && n < 20; n++ {
			block := int(patches[0]) % 24
			at := int(binary.LittleEndian.Uint16(patches[1:])) % (thinmeta.BlockSize - 8)
			page := b[block*thinmeta.BlockSize:][:thinmeta.BlockSize]
			kind, good := thinmeta.KindNode, false
			for _, k := range []thinmeta.Kind{thinmeta.KindSuperblock, thinmeta.KindNode, thinmeta.KindBitmap, thinmeta.KindIndex} {
				if thinmeta.Checksum(k, page) == binary.LittleEndian.Uint32(page) {
					kind, good = k, true
				}
			}
			copy(page[max(at, 4):], patches[3:11])
			if good {
				seal(kind, page)
			}
			patches = patches[11:]
		}
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, e := range []Edits{{}, {DataBlockSize: 128, DataBlocks: testDataBlocks}} {
			to, err := tryRewrite(t, bad, e)
			if err != nil {
				continue
			}
			new, err := thinmeta.Open(to)
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := new.Super(); len(problems) > 0 {
				t.Errorf("superblock: %v", problems)
			}
			wantHealthy(t, new)
			if err := new.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
