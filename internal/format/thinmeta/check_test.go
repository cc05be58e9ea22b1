package thinmeta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func mustCheck(tb testing.TB, image []byte, o CheckOptions) *Report {
	tb.Helper()
	r, err := openImage(tb, image).Check(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// said gives the problems as "kind block" or "kind device", with "~" before consequences.
func said(r *Report) []string {
	var out []string
	for _, p := range r.Problems {
		s := p.Kind.String()
		if p.Consequence {
			s = "~" + s
		}
		switch {
		case p.Device != NoDevice:
			s += fmt.Sprintf(" dev %d", p.Device)
		case p.Count > 1:
			s += fmt.Sprintf(" %d+%d", p.Block, p.Count)
		default:
			s += fmt.Sprintf(" %d", p.Block)
		}
		out = append(out, s)
	}
	return out
}

// drawPool draws a pool of devices that are made by creating, snapshotting and writing.
func drawPool(t *rapid.T) *modelPool {
	p := &modelPool{dataBlocks: rapid.Uint64Range(1, 3*BitsPerBitmap).Draw(t, "data"), spare: rapid.IntRange(20, 60).Draw(t, "spare"),
		devices: map[uint32]map[uint64]Run{}}
	hold := rapid.IntRange(0, 20).Draw(t, "hold") // before which step, if there is such a step
	for i := range rapid.IntRange(0, 12).Draw(t, "devices") {
		if i == hold {
			p.held = map[uint32]map[uint64]Run{}
			for id, dev := range p.devices {
				p.held[id] = maps.Clone(dev)
			}
			for _, id := range slices.Sorted(maps.Keys(p.held)) { // some are gone, some changed, when the pool is looked at
				switch rapid.IntRange(0, 4).Draw(t, "since") {
				case 0:
					delete(p.devices, id)
				case 1:
					p.devices[id][rapid.Uint64Range(0, 300).Draw(t, "virtual")] = Run{Data: p.dataBlocks - 1, Time: uint32(i)}
				}
			}
		}
		dev := map[uint64]Run{}
		if len(p.devices) > 0 && rapid.Bool().Draw(t, "snapshot") {
			ids := slices.Sorted(maps.Keys(p.devices))
			dev = maps.Clone(p.devices[rapid.SampledFrom(ids).Draw(t, "origin")])
		}
		p.devices[uint32(i*i+1)] = dev
		for range rapid.IntRange(0, 4).Draw(t, "writes") {
			v := rapid.Uint64Range(0, 300).Draw(t, "virtual")
			data := rapid.Uint64Range(0, p.dataBlocks-1).Draw(t, "to")
			for j := range rapid.Uint64Range(1, 30).Draw(t, "length") {
				dev[v+j] = Run{Data: (data + j) % p.dataBlocks, Time: uint32(i)}
			}
		}
	}
	return p
}

// wantDevice works out what a check must say of a device. Sharing of whole leaves is not seen from outside: a data block belongs to
// one device when no other maps it and the device maps it once.
func (p *modelPool) wantDevice(id uint32) (mapped, exclusive, highest uint64, newest uint32) {
	uses := map[uint64]int{}
	for _, dev := range p.devices {
		for _, r := range dev {
			uses[r.Data]++
		}
	}
	for v, r := range p.devices[id] {
		mapped++
		highest, newest = max(highest, v+1), max(newest, r.Time)
		if uses[r.Data] == 1 {
			exclusive++
		}
	}
	return
}

func TestCleanPools(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPool(t)
		m, _ := p.make()
		image := m.image()
		f, err := New(bytes.NewReader(image), int64(len(image)), "image")
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Check(context.Background(), CheckOptions{Memory: rapid.SampledFrom([]int64{0, 1}).Draw(t, "memory")})
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range r.Problems {
			full := problem.Kind == OutOfDataSpace && r.DataUsed == r.DataBlocks
			if problem.Kind != HeldRoot && problem.Kind != OutOfMetadataSpace && !full {
				t.Fatalf("%+v", problem)
			}
		}
		if !r.Complete || r.DataUsed != uint64(len(m.data)) || r.DataAllocated != r.DataUsed || r.MetadataUsed != uint64(len(m.refs)) {
			t.Fatalf("complete %v, data %d %d, metadata %d, want %d and %d", r.Complete, r.DataUsed, r.DataAllocated, r.MetadataUsed, len(m.data), len(m.refs))
		}
		sameDevices(t, p, r.Devices, p.held == nil)
		sameRuns(t, p, f)
		sameShares(t, p, f)
		if p.held != nil {
			sameHeld(t, p, image)
		}
		sameXML(t, p, f)
	})
}

func sameDevices(t *rapid.T, p *modelPool, devices []Device, exclusive bool) {
	t.Helper()
	if len(devices) != len(p.devices) {
		t.Fatalf("%d devices, want %d", len(devices), len(p.devices))
	}
	for _, d := range devices {
		mapped, sole, highest, newest := p.wantDevice(d.ID)
		if !exclusive { // the metadata snapshot has it too, or there is none that says so
			sole = d.Exclusive
		}
		want := Device{ID: d.ID, HasDetails: true, HasMapping: true, Mapped: mapped, Exclusive: sole, Highest: highest, Newest: newest,
			Details: Details{MappedBlocks: mapped, CreationTime: d.ID % poolTime, SnapshotTime: poolTime}}
		if d != want {
			t.Fatalf("device %+v, want %+v", d, want)
		}
	}
}

func sameRuns(t *rapid.T, p *modelPool, pool Pool) {
	t.Helper()
	for id, dev := range p.devices {
		n, next := 0, uint64(0)
		var last Run
		for r, err := range pool.Runs(id) {
			if err != nil || r.Length == 0 || r.Virtual < next || last.joins(r) {
				t.Fatalf("device %d: run %+v after %+v, %v", id, r, last, err)
			}
			for i := range r.Length {
				if want := dev[r.Virtual+i]; want.Data != r.Data+i || want.Time != r.Time {
					t.Fatalf("device %d: run %+v, want %+v at %d", id, r, want, i)
				}
			}
			n, next, last = n+int(r.Length), r.Virtual+r.Length, r
		}
		if n != len(dev) {
			t.Fatalf("device %d: %d mappings, want %d", id, n, len(dev))
		}
	}
	for _, err := range pool.Runs(MaxDevice) {
		if !errors.Is(err, ErrNoDevice) {
			t.Fatal(err)
		}
	}
}

func sameShares(t *rapid.T, p *modelPool, pool Pool) {
	t.Helper()
	for a := range p.devices {
		for b := range p.devices {
			want := false
			has := map[uint64]bool{}
			for _, r := range p.devices[a] {
				has[r.Data] = true
			}
			for _, r := range p.devices[b] {
				want = want || has[r.Data]
			}
			if a == b && len(has) == 0 {
				continue
			}
			if got, complete, err := pool.Shares(context.Background(), a, b); got != want || !complete || err != nil {
				t.Fatalf("%d and %d share: %v, %v, %v, want %v", a, b, got, complete, err, want)
			}
		}
	}
}

func sameHeld(t *rapid.T, p *modelPool, image []byte) {
	t.Helper()
	f, err := New(bytes.NewReader(image), int64(len(image)), "image")
	if err == nil {
		err = f.UseHeldRoot()
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Check(context.Background(), CheckOptions{Memory: 1})
	if err != nil || !r.Complete || len(r.Problems) != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	then := &modelPool{devices: p.held}
	sameDevices(t, then, r.Devices, true)
	sameRuns(t, then, f)
}

func sameXML(t *rapid.T, p *modelPool, f *File) {
	t.Helper()
	var text bytes.Buffer
	if err := WriteXML(&text, f); err != nil {
		t.Fatal(err)
	}
	d, err := ReadXML(bytes.NewReader(text.Bytes()), int64(text.Len())+1)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.Bytes())
	}
	r := d.Report()
	sameDevices(t, p, r.Devices, true)
	sameRuns(t, p, d)
	sameShares(t, p, d)
	var again bytes.Buffer
	if err := WriteXML(&again, d); err != nil || !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Fatalf("XML is written differently after it was read: %v", err)
	}
}

// TestDamage breaks one thing of a good pool, with right checksums unless the checksum is what is broken.
func TestDamage(t *testing.T) {
	le := binary.LittleEndian
	type made struct {
		*maker
		layout
	}
	flip := func(n int) func(image []byte) { return func(image []byte) { image[n*BlockSize+2000] ^= 1 } }
	cases := []struct {
		name   string
		change func(m made)
		late   func(m made) func(image []byte) // after the checksums were made
		want   []string
		broken bool // not complete
	}{
		{name: "nothing"},
		{name: "superblock checksum", late: func(m made) func([]byte) { return flip(0) }, want: []string{"superblock-checksum 0"}},
		{name: "zero superblock", late: func(m made) func([]byte) { return func(b []byte) { clear(b[:BlockSize]) } },
			want: []string{"superblock-checksum 0", "~superblock-invalid 0"}, broken: true},
		{name: "version", change: func(m made) { le.PutUint32(m.blocks[0][40:], 3) }, want: []string{"superblock-invalid 0"}, broken: true},
		{name: "needs check", change: func(m made) { le.PutUint32(m.blocks[0][4:], 1) }, want: []string{"needs-check 0"}},
		{name: "transaction", change: func(m made) { le.PutUint64(m.blocks[0][48:], 7) }, want: []string{"transaction-id 0"}},
		{name: "incompatible", change: func(m made) { le.PutUint32(m.blocks[0][offSuperIncompat:], 2) }, want: []string{"superblock-invalid 0"}},
		{name: "details missing", change: func(m made) {
			b := m.blocks[m.details]
			le.PutUint32(b[16:], 2)
		}, want: []string{"details-missing dev 5"}},
		{name: "mapped blocks", change: func(m made) { le.PutUint64(m.blocks[m.details][32+8*126:], 61) }, want: []string{"mapped-blocks-wrong dev 1"}},
		{name: "data leak of three", change: func(m made) {
			for i := 700; i < 703; i++ {
				putCount(m.blocks[m.dataBitmaps[0]], i, 1)
			}
		}, want: []string{"data-block-leaked 700+3", "~space-map-total 0"}},
		{name: "data too low and too high", change: func(m made) {
			putCount(m.blocks[m.dataBitmaps[2]], 3, 2)
			putCount(m.blocks[m.dataBitmaps[2]], 4, 0)
		}, want: []string{"data-refcount-high 32643", "data-refcount-low 32644", "~space-map-total 0"}},
		{name: "count that is not in the tree", change: func(m made) { putCount(m.blocks[m.dataBitmaps[2]], 3, 3) }, want: []string{"data-refcount-low 32643"}},
		{name: "space map total", change: func(m made) { le.PutUint64(m.blocks[0][offSuperDataMap+8:], 3) }, want: []string{"space-map-total 0"}},
		{name: "metadata total one too high", change: func(m made) { le.PutUint64(m.blocks[0][offSuperMetaMap+8:], uint64(len(m.refs))+1) }},
		{name: "metadata total", change: func(m made) { le.PutUint64(m.blocks[0][offSuperMetaMap+8:], uint64(len(m.refs))-1) }, want: []string{"space-map-total 1"}},
		{name: "metadata too low", change: func(m made) { putCount(m.blocks[m.metaBitmaps[0]], m.details, 0) },
			want: []string{fmt.Sprint("metadata-refcount-low ", detailsBlock())}},
		{name: "metadata leak", change: func(m made) { putCount(m.blocks[m.metaBitmaps[0]], len(m.refs)+3, 1) },
			want: []string{fmt.Sprint("metadata-block-leaked ", usedBlocks()+3), "~space-map-total 1"}},
		{name: "data bitmap", late: func(m made) func([]byte) { return flip(m.dataBitmaps[1]) }, want: []string{"bitmap-checksum DB1"}, broken: true},
		{name: "metadata bitmap", late: func(m made) func([]byte) { return flip(m.metaBitmaps[0]) }, want: []string{"bitmap-checksum MB0"}, broken: true},
		{name: "mapping root", late: func(m made) func([]byte) { return flip(m.mapping) }, broken: true, want: []string{"node-checksum TOP",
			"~data-block-leaked *", "~metadata-block-leaked *",
			"~mapping-missing dev 1", "~mapping-missing dev 2", "~mapping-missing dev 5"}},
		{name: "index block", late: func(m made) func([]byte) { return flip(m.metaIndex) }, broken: true, want: []string{"index-checksum IB"}},
		{name: "data index", late: func(m made) func([]byte) { return flip(m.dataIndex) }, broken: true, want: []string{"node-checksum DI", "~metadata-block-leaked *"}},
		{name: "data counts", late: func(m made) func([]byte) { return flip(m.dataCounts) }, broken: true, want: []string{"node-checksum DC"}},
		{name: "metadata counts", late: func(m made) func([]byte) { return flip(m.metaCounts) }, broken: true, want: []string{"node-checksum MC"}},
		{name: "details root", late: func(m made) func([]byte) { return flip(m.details) }, broken: true, want: []string{"node-checksum DET", "~details-missing dev 1", "~details-missing dev 2", "~details-missing dev 5"}},
		{name: "shared leaf", late: func(m made) func([]byte) { return flip(m.leaves[1][6]) }, broken: true, want: []string{"node-checksum LEAF", "~data-block-leaked *", "~mapped-blocks-wrong dev 1", "~mapped-blocks-wrong dev 2"}},
		{name: "metadata larger", change: func(m made) { le.PutUint64(m.blocks[0][offSuperMetaMap:], 5000); le.PutUint64(m.blocks[0][344:], 5000) }, want: []string{"superblock-invalid 0"}},
		{name: "metadata smaller", change: func(m made) { le.PutUint64(m.blocks[0][offSuperMetaMap:], 20) }, want: []string{"superblock-invalid 0", "~out-of-metadata-space 0", "~space-map-total 1"}},
		{name: "data zero", change: func(m made) { le.PutUint64(m.blocks[0][offSuperDataMap:], 0) }, want: []string{"superblock-invalid 0", "~node-invalid *", "~space-map-total 0"}},
		{name: "more data blocks than bitmaps", change: func(m made) { le.PutUint64(m.blocks[0][offSuperDataMap:], 70000) },
			want: []string{"superblock-invalid 0"}},
		{name: "too few data blocks", change: func(m made) { le.PutUint64(m.blocks[0][offSuperDataMap:], BitsPerBitmap*2+1) },
			want: []string{"node-invalid *", "space-map-total 0"}},
		{name: "mapping tree is its own child", change: func(m made) { le.PutUint64(m.blocks[m.mapping][32+8*252:], uint64(m.mapping)) }, broken: true,
			want: []string{"node-invalid TOP", "~data-block-leaked 5+10", "~data-refcount-high *", "~mapped-blocks-wrong dev 1",
				"~metadata-block-leaked *", "~metadata-refcount-high *"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, at := smallPool().make()
			if c.change != nil {
				c.change(made{m, at})
			}
			image := m.image()
			if c.late != nil {
				c.late(made{m, at})(image)
			}
			r := mustCheck(t, image, CheckOptions{})
			names := map[string]string{"DB1": fmt.Sprint(at.dataBitmaps[1]), "MB0": fmt.Sprint(at.metaBitmaps[0]), "TOP": fmt.Sprint(at.mapping),
				"IB": fmt.Sprint(at.metaIndex), "DI": fmt.Sprint(at.dataIndex), "DC": fmt.Sprint(at.dataCounts), "MC": fmt.Sprint(at.metaCounts),
				"DET": fmt.Sprint(at.details), "LEAF": fmt.Sprint(at.leaves[1][6])}
			matchSaid(t, said(r), c.want, names)
			if r.Complete == c.broken {
				t.Errorf("complete is %v", r.Complete)
			}
		})
	}
}

// TestSkipMappings leaves the devices' trees out: what is wrong in them is not seen, the rest is.
func TestSkipMappings(t *testing.T) {
	m, at := smallPool().make()
	putCount(m.blocks[at.dataBitmaps[0]], 0, 1)
	image := m.image()
	image[at.leaves[1][0]*BlockSize+100] ^= 1
	image[at.dataBitmaps[1]*BlockSize+100] ^= 1
	r := mustCheck(t, image, CheckOptions{SkipMappings: true})
	matchSaid(t, said(r), []string{fmt.Sprint("bitmap-checksum ", at.dataBitmaps[1])}, nil)
	if len(r.Devices) != 3 || r.Mappings != 0 || r.Devices[0].Mapped != 0 || r.Devices[0].Unreadable {
		t.Errorf("%+v", r.Devices)
	}
}

// TestProblemsAreBounded leaks every other block.
func TestProblemsAreBounded(t *testing.T) {
	m, at := smallPool().make()
	for i := 1000; i < 9000; i += 2 {
		putCount(m.blocks[at.dataBitmaps[0]], i, 1)
	}
	if r := mustCheck(t, m.image(), CheckOptions{}); r.More != 3000 || len(r.Problems) != 1001 {
		t.Errorf("%d problems and %d more", len(r.Problems), r.More)
	}
}

func detailsBlock() int { _, at := smallPool().make(); return at.details }
func usedBlocks() int   { m, _ := smallPool().make(); return len(m.refs) }

// matchSaid compares; the last word of what is wanted may be a name of a block, or * for one or more of any.
func matchSaid(t *testing.T, have, want []string, names map[string]string) {
	t.Helper()
	var got []string
	for _, h := range have {
		for _, w := range want {
			if head, tail, _ := cutLast(w); tail == "*" || names[tail] != "" {
				hh, ht, _ := cutLast(h)
				if hh == head && (tail == "*" || ht == names[tail]) {
					h = w
				}
			}
		}
		if len(got) == 0 || got[len(got)-1] != h {
			got = append(got, h)
		}
	}
	slices.Sort(got)
	want = slices.Clone(want)
	slices.Sort(want)
	if !slices.Equal(slices.Compact(got), want) {
		t.Errorf("found %q\nwant %q", got, want)
	}
}

func cutLast(s string) (head, tail string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ' ' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
