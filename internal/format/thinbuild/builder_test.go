package thinbuild

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fettle/internal/format/thinmeta"

	"pgregory.net/rapid"
)

// newFile makes a file of that many blocks.
func newFile(t testing.TB, blocks uint64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "thin.meta"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(blocks) * thinmeta.BlockSize); err != nil {
		t.Fatal(err)
	}
	return f
}

// model is what a pool should hold: mappings and details by device.
type model map[uint32]*modelDevice

type modelDevice struct {
	details  thinmeta.Details
	mappings map[uint64]Entry
}

// thinCheck runs thin_check when it is installed; it must be content.
func thinCheck(t testing.TB, path string) {
	t.Helper()
	tool, err := exec.LookPath("thin_check")
	if err != nil {
		return
	}
	if out, err := exec.Command(tool, path).CombinedOutput(); err != nil {
		t.Fatalf("thin_check: %v\n%s", err, out)
	}
}

// thinDump reads a file with thin_dump. ok is false when it is not installed.
func thinDump(t testing.TB, path string) (m model, ok bool) {
	t.Helper()
	tool, err := exec.LookPath("thin_dump")
	if err != nil {
		return nil, false
	}
	out, err := exec.Command(tool, path).Output()
	if err != nil {
		t.Fatalf("thin_dump: %v", err)
	}
	var doc struct {
		Devices []struct {
			ID       uint32 `xml:"dev_id,attr"`
			Mapped   uint64 `xml:"mapped_blocks,attr"`
			Trans    uint64 `xml:"transaction,attr"`
			Creation uint32 `xml:"creation_time,attr"`
			Snap     uint32 `xml:"snap_time,attr"`
			Singles  []struct {
				Origin uint64 `xml:"origin_block,attr"`
				Data   uint64 `xml:"data_block,attr"`
				Time   uint32 `xml:"time,attr"`
			} `xml:"single_mapping"`
			Ranges []struct {
				Origin uint64 `xml:"origin_begin,attr"`
				Data   uint64 `xml:"data_begin,attr"`
				Length uint64 `xml:"length,attr"`
				Time   uint32 `xml:"time,attr"`
			} `xml:"range_mapping"`
		} `xml:"device"`
	}
	if err := xml.NewDecoder(bytes.NewReader(out)).Decode(&doc); err != nil {
		t.Fatalf("XML of thin_dump: %v", err)
	}
	m = model{}
	for _, d := range doc.Devices {
		md := &modelDevice{thinmeta.Details{MappedBlocks: d.Mapped, TransactionID: d.Trans, CreationTime: d.Creation, SnapshotTime: d.Snap}, map[uint64]Entry{}}
		m[d.ID] = md
		for _, s := range d.Singles {
			md.mappings[s.Origin] = Entry{s.Origin, s.Data, s.Time}
		}
		for _, r := range d.Ranges {
			for i := range r.Length {
				md.mappings[r.Origin+i] = Entry{r.Origin + i, r.Data + i, r.Time}
			}
		}
	}
	return m, true
}

// wantModel compares what is in a file with what should be.
func wantModel(t testing.TB, got, want model) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Fatalf("devices %v, want %v", a, b)
	}
	for id, w := range want {
		if got[id].details != w.details {
			t.Fatalf("device %d: details %+v, want %+v", id, got[id].details, w.details)
		}
		if !maps.Equal(got[id].mappings, w.mappings) {
			t.Fatalf("device %d: mappings differ: %d, want %d", id, len(got[id].mappings), len(w.mappings))
		}
	}
}

const testDataBlocks = 1 << 20

func testOptions(blocks uint64) Options {
	return Options{MetadataBlocks: blocks, DataBlocks: testDataBlocks, DataBlockSize: 128, Time: 1000, TransactionID: 7}
}

// drawMappings draws runs, so that trees of several levels come up.
func drawMappings(t *rapid.T) map[uint64]Entry {
	m := map[uint64]Entry{}
	for range rapid.IntRange(0, 5).Draw(t, "runs") {
		virtual := rapid.Uint64Range(0, 1<<16).Draw(t, "virtual")
		if rapid.Bool().Draw(t, "far") {
			virtual += 1 << 40
		}
		data := rapid.Uint64Range(0, testDataBlocks-30000).Draw(t, "data")
		time := rapid.Uint32Range(0, 500).Draw(t, "time")
		step := rapid.Uint64Range(1, 3).Draw(t, "step")
		for i := range rapid.SampledFrom([]uint64{1, 5, 83, 84, 252, 253, 1000, 3000}).Draw(t, "length") {
			v := virtual + i*step
			m[v] = Entry{v, data + i, time}
		}
	}
	return m
}

func sorted(m map[uint64]Entry) []Entry {
	out := make([]Entry, 0, len(m))
	for _, v := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[v])
	}
	return out
}

func runsOf(m map[uint64]Entry) func(func(thinmeta.Run) bool) {
	return func(yield func(thinmeta.Run) bool) {
		var r thinmeta.Run
		for _, e := range sorted(m) {
			if r.Length > 0 && e.Virtual == r.Virtual+r.Length && e.Data == r.Data+r.Length && e.Time == r.Time {
				r.Length++
				continue
			}
			if r.Length > 0 && !yield(r) {
				return
			}
			r = thinmeta.Run{Virtual: e.Virtual, Data: e.Data, Length: 1, Time: e.Time}
		}
		if r.Length > 0 {
			yield(r)
		}
	}
}

// drawEdits draws changes of a device and applies them to its mappings.
func drawEdits(t *rapid.T, m map[uint64]Entry) []Edit {
	var edits []Edit
	keys := slices.Sorted(maps.Keys(m))
	for range rapid.IntRange(0, 4).Draw(t, "edits") {
		at := rapid.Uint64Range(0, 1<<17).Draw(t, "at")
		if len(keys) > 0 && rapid.Bool().Draw(t, "existing") {
			at = keys[rapid.IntRange(0, len(keys)-1).Draw(t, "which")]
		}
		unmap := rapid.Bool().Draw(t, "unmap")
		data := rapid.Uint64Range(0, testDataBlocks-30000).Draw(t, "data")
		for i := range rapid.SampledFrom([]uint64{1, 2, 100, 400, 3000}).Draw(t, "span") {
			e := Edit{Entry{at + i, data + i, 600}, unmap}
			edits = append(edits, e)
			if unmap {
				delete(m, e.Virtual)
			} else {
				m[e.Virtual] = e.Entry
			}
		}
	}
	return edits
}

// Whatever devices and snapshots are built, the tools of the kernel's developers accept the result and read the same from it.
func TestBuildIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := testOptions(4096)
		o.ShareEqual = rapid.Bool().Draw(rt, "share")
		f := newFile(t, o.MetadataBlocks)
		b, err := New(f, o)
		if err != nil {
			rt.Fatal(err)
		}
		want := model{}
		var ids []uint32
		roots := map[uint32]Node{}
		for range rapid.IntRange(0, 5).Draw(rt, "devices") {
			id := rapid.Uint32Range(0, thinmeta.MaxDevice).Draw(rt, "id")
			if want[id] != nil {
				continue
			}
			var root Node
			d := &modelDevice{}
			if len(ids) > 0 && rapid.Bool().Draw(rt, "snapshot") {
				from := rapid.SampledFrom(ids).Draw(rt, "origin")
				d.mappings = maps.Clone(want[from].mappings)
				root, err = b.Change(roots[from], drawEdits(rt, d.mappings)...)
			} else {
				d.mappings = drawMappings(rt)
				root, err = b.Tree(runsOf(d.mappings))
			}
			if err != nil {
				rt.Fatal(err)
			}
			if root.Mapped() != uint64(len(d.mappings)) {
				rt.Fatalf("tree maps %d blocks, want %d", root.Mapped(), len(d.mappings))
			}
			d.details = thinmeta.Details{MappedBlocks: root.Mapped(), TransactionID: 3, CreationTime: root.Newest(), SnapshotTime: 999}
			if err := b.Device(id, d.details, root); err != nil {
				rt.Fatal(err)
			}
			ids, roots[id], want[id] = append(ids, id), root, d
		}
		if _, err := b.Finish(); err != nil {
			rt.Fatal(err)
		}
		thinCheck(t, f.Name())
		if got, ok := thinDump(t, f.Name()); ok {
			wantModel(t, got, want)
		}
		wantReader(t, f.Name(), want)
	})
}

// Many devices make trees of devices and details with several levels.
func TestManyDevices(t *testing.T) {
	f := newFile(t, 4096)
	b, err := New(f, testOptions(4096))
	if err != nil {
		t.Fatal(err)
	}
	want := model{}
	leaf, err := b.Leaf([]Entry{{5, 6, 7}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(70000) {
		d := &modelDevice{thinmeta.Details{MappedBlocks: 1}, map[uint64]Entry{5: {5, 6, 7}}}
		want[i*3] = d
		if err := b.Device(i*3, d.details, leaf); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if s.Devices != 70000 || s.DataUsed != 1 {
		t.Errorf("summary %+v", s)
	}
	thinCheck(t, f.Name())
	if got, ok := thinDump(t, f.Name()); ok {
		wantModel(t, got, want)
	}
	wantReader(t, f.Name(), want)
}

// Trees of three levels, and snapshots that empty a part of them.
func TestDeepTrees(t *testing.T) {
	f := newFile(t, 4096)
	o := testOptions(4096)
	b, err := New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	m := map[uint64]Entry{}
	for i := range uint64(70000) {
		m[2*i] = Entry{2 * i, i, 1}
	}
	root, err := b.Tree(runsOf(m))
	if err != nil {
		t.Fatal(err)
	}
	want := model{1: {thinmeta.Details{MappedBlocks: 70000}, m}}
	roots := map[uint32]Node{1: root}
	for id, span := range map[uint32][2]uint64{2: {100, 101}, 3: {1, 139000}, 4: {0, 140000}, 5: {50000, 135000}, 6: {3000, 3001}} {
		d := &modelDevice{mappings: map[uint64]Entry{}}
		var edits []Edit
		for v, e := range m {
			if v >= span[0] && v < span[1] {
				edits = append(edits, Edit{e, true})
			} else {
				d.mappings[v] = e
			}
		}
		if roots[id], err = b.Change(root, edits...); err != nil {
			t.Fatal(err)
		}
		d.details.MappedBlocks = uint64(len(d.mappings))
		want[id] = d
	}
	for id, d := range want {
		if err := b.Device(id, d.details, roots[id]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	thinCheck(t, f.Name())
	wantReader(t, f.Name(), want)
	to, c := rewrite(t, f.Name(), Edits{})
	wantReader(t, to, want)
	if c.Written.MetadataUsed > c.MetadataUsed {
		t.Errorf("the rewrite takes %d blocks, before %d", c.Written.MetadataUsed, c.MetadataUsed)
	}
}

// A snapshot that changes one block shares all but the path to it: one leaf, one branch.
func TestChangeCopiesOnlyThePath(t *testing.T) {
	f := newFile(t, 4096)
	b, err := New(f, testOptions(4096))
	if err != nil {
		t.Fatal(err)
	}
	m := map[uint64]Entry{}
	for i := range uint64(50000) {
		m[i] = Entry{i, i, 1}
	}
	origin, err := b.Tree(runsOf(m))
	if err != nil {
		t.Fatal(err)
	}
	before := b.s.next
	same, err := b.Change(origin, Edit{Entry: m[77]}, Edit{Entry: Entry{Virtual: 1 << 40}, Unmap: true})
	if err != nil || same != origin || b.s.next != before {
		t.Errorf("edits that change nothing: %v, new root %v, %d blocks", err, same != origin, b.s.next-before)
	}
	if _, err := b.Change(origin, Edit{Entry: Entry{777, 60000, 2}}); err != nil || b.s.next != before+2 {
		t.Errorf("one edit: %v, %d blocks written, want 2", err, b.s.next-before)
	}
}

// What cannot be written is refused with the reason.
func TestRefusals(t *testing.T) {
	b, err := New(newFile(t, 100), testOptions(100))
	if err != nil {
		t.Fatal(err)
	}
	short, err := b.Leaf([]Entry{{1, 1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	run := func(list ...thinmeta.Run) error {
		_, err := b.Tree(slices.Values(list))
		return err
	}
	leaf := func(list ...Entry) error {
		_, err := b.Leaf(list)
		return err
	}
	branch := func(list ...Node) error {
		_, err := b.Branch(list)
		return err
	}
	for name, err := range map[string]error{
		"too many entries":  leaf(make([]Entry, 253)...),
		"order":             leaf(Entry{Virtual: 2}, Entry{Virtual: 2}),
		"data beyond end":   leaf(Entry{Data: testDataBlocks}),
		"time":              leaf(Entry{Time: 1 << 24}),
		"no children":       branch(),
		"short child":       branch(short),
		"foreign child":     branch(Node{}),
		"runs overlap":      run(thinmeta.Run{Length: 5}, thinmeta.Run{Virtual: 4, Length: 1}),
		"run wraps":         run(thinmeta.Run{Virtual: 1<<64 - 2, Length: 5}),
		"run beyond end":    run(thinmeta.Run{Data: 1, Length: testDataBlocks}),
		"device id":         b.Device(1<<24, thinmeta.Details{}, short),
		"device of nothing": b.Device(1, thinmeta.Details{}, Node{}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := run(thinmeta.Run{Length: 100000}); !errors.Is(err, ErrFull) {
		t.Errorf("100000 mappings in 100 blocks: %v", err)
	}
	for _, change := range []func(*Options){
		func(o *Options) { o.MetadataBlocks = 0 },
		func(o *Options) { o.MetadataBlocks = maxMetadataBlocks + 1 },
		func(o *Options) { o.DataBlockSize = 0 },
		func(o *Options) { o.DataBlockSize = 129 },
		func(o *Options) { o.DataBlocks = 1 << 63 },
		func(o *Options) { o.DataBlocks = 100 * 16320 },
	} {
		o := testOptions(100)
		change(&o)
		if _, err := New(nil, o); err == nil {
			t.Errorf("options %+v accepted", o)
		}
	}
}

// The count of a block grows beyond a byte and comes back.
func TestCounts(t *testing.T) {
	c := newCounts(3000)
	for range 300 {
		if err := c.inc(2999); err != nil {
			t.Fatal(err)
		}
	}
	c.inc(2998)
	if got := fmt.Sprint(c.get(2999), c.get(2998), c.get(0), c.get(1<<60)); got != "300 1 0 0" {
		t.Errorf("counts %s", got)
	}
	for range 299 {
		c.dec(2999)
	}
	if c.get(2999) != 1 {
		t.Errorf("count %d after taking 299 of 300 back", c.get(2999))
	}
}
