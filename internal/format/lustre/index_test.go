package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The FLD of MDT1 of a real file system: root, and a leaf with the zero record and one range.
func TestFLDLeaf(t *testing.T) {
	blocks, err := BuildFLD(4096, []Range{{0x240000400, 0x280000400, 1, RangeMDT}})
	if err != nil {
		t.Fatal(err)
	}
	wantRoot := []byte{0xed, 0xb1, 0xab, 0xed, 0x0b, 0, 0, 0, 8, 0, 0x18, 0, 4, 0, 0, 0, 0x54, 1, 2, 0}
	wantLeaf := append([]byte{0x76, 0x19, 2, 0}, make([]byte, 32)...)
	wantLeaf = append(wantLeaf, 0, 0, 0, 2, 0x40, 0, 4, 0, 0, 0, 0, 2, 0x40, 0, 4, 0, 0, 0, 0, 2, 0x80, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0)
	if len(blocks) != 2 || !bytes.HasPrefix(blocks[0], wantRoot) || blocks[0][0x24] != 1 || !bytes.HasPrefix(blocks[1], wantLeaf) {
		t.Errorf("root %x\nleaf %x", blocks[0][:48], blocks[1][:72])
	}
	var got []Range
	ps, err := FLDRanges(blocks[1], func(r Range) bool { got = append(got, r); return true })
	if err != nil || len(ps) > 0 || len(got) != 1 || got[0].String() != "[0x240000400-0x280000400):1:mdt" {
		t.Errorf("%v, %v, %v", got, ps, err)
	}
}

func TestFLDLookup(t *testing.T) {
	fld, ps := NewFLD([]Range{
		{0x280000400, 0x2c0000400, 0, RangeOST}, {12, 0x100000000, 0, RangeMDT}, {0x200000400, 0x240000400, 0, RangeMDT},
		{0x240000400, 0x280000400, 1, RangeMDT}, {0x240000400, 0x280000400, 1, RangeMDT},
	})
	if len(ps) > 0 || len(fld.Ranges()) != 4 {
		t.Errorf("%v, %v", fld.Ranges(), ps)
	}
	for _, c := range []struct {
		f     FID
		index uint32
		place Place
	}{
		{FIDRoot, 0, PlaceMDT}, {FIDDotLustreLost, 0, PlaceMDT}, {IGIF(99, 1), 0, PlaceMDT}, {LocalFID(OIDFLD), 0, PlaceLocal},
		{FID{SeqLLOG, 3, 0}, 0, PlaceLocal}, {FID{SeqUpdateLog, 1, 0}, 0, PlaceLocal}, {FID{0x200000400, 1, 0}, 0, PlaceMDT},
		{FID{0x23fffffff, 1, 0}, 0, PlaceMDT}, {FID{0x240000400, 1, 0}, 1, PlaceMDT}, {FID{0x28000_0400, 1, 0}, 0, PlaceOST},
		{FID{0x2c0000400, 1, 0}, 0, PlaceUnknown}, {FID{1 << 63, 1, 0}, 0, PlaceUnknown}, {FID{0x100000001, 1, 0}, 0, PlaceUnknown},
	} {
		if index, place := fld.Lookup(c.f); index != c.index || place != c.place {
			t.Errorf("%v is on %d, %d; want %d, %d", c.f, index, place, c.index, c.place)
		}
	}
}

func TestFLDDamage(t *testing.T) {
	fld, ps := NewFLD([]Range{{0x200000400, 0x240000400, 0, 0}, {0x230000000, 0x280000400, 1, 0}, {9, 9, 0, 0}, {0x210000000, 0x220000000, 3, 0}})
	if len(ps) != 3 {
		t.Errorf("%v", ps)
	}
	if index, place := fld.Lookup(FID{0x23fffffff, 1, 0}); index != 0 || place != PlaceMDT {
		t.Errorf("%d, %d", index, place)
	}
	if index, place := fld.Lookup(FID{0x240000400, 1, 0}); index != 1 || place != PlaceMDT {
		t.Errorf("%d, %d", index, place)
	}
}

func TestRangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Range{rapid.Uint64().Draw(t, "start"), rapid.Uint64().Draw(t, "end"), rapid.Uint32().Draw(t, "index"), rapid.Uint32().Draw(t, "flags")}
		if got, err := LittleRange(r.AppendLittle(nil)); err != nil || got != r {
			t.Fatalf("%v, %v; want %v", got, err, r)
		}
		if got := BigRange(r.AppendBig(nil)); got != r {
			t.Fatalf("%v, want %v", got, r)
		}
	})
}

// walk reads an index through its tree, as a server does.
func walk(t *testing.T, blocks [][]byte, key []byte) []byte {
	t.Helper()
	root, err := DecodeIAMRoot(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	at, err := root.Shape.Child(blocks[0], true, key)
	for range root.Levels {
		if err != nil {
			t.Fatal(err)
		}
		at, err = root.Shape.Child(blocks[at], false, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	var found []byte
	ps, err := root.Shape.Records(blocks[at], func(k, r []byte) bool {
		if bytes.Equal(k, key) {
			found = slices.Clone(r)
		}
		return true
	})
	if err != nil || len(ps) > 0 {
		t.Fatal(ps, err)
	}
	return found
}

func TestOIOfAnySize(t *testing.T) {
	for _, n := range []int{0, 1, 100, 127, 128, 30000, 200000} {
		entries := make([]OIEntry, n)
		for i := range entries {
			entries[i] = OIEntry{FID{0x200000400 + uint64(i*64), uint32(n - i), 0}, uint32(i + 12), uint32(i * 7)}
		}
		blocks, err := BuildOI(4096, entries)
		if err != nil {
			t.Fatal(n, err)
		}
		root, err := DecodeIAMRoot(blocks[0])
		if err != nil || root.Shape != ShapeOI {
			t.Fatal(root, err)
		}
		seen := 0
		for _, b := range blocks {
			if IAMBlockKind(b) == IAMLeafBlock {
				if ps, err := OIEntries(b, func(OIEntry) bool { seen++; return true }); err != nil || len(ps) > 0 {
					t.Fatal(ps, err)
				}
			}
		}
		if seen != n {
			t.Errorf("%d entries in the leaves, want %d", seen, n)
		}
		for i := 0; i < n; i += 1 + n/50 {
			if got := walk(t, blocks, entries[i].Key()); !bytes.Equal(got, entries[i].Record()) {
				t.Errorf("%d of %d at level %d: %x, want %x", i, n, root.Levels, got, entries[i].Record())
			}
		}
	}
	if _, err := BuildOI(4096, []OIEntry{{FIDRoot, 1, 1}, {FIDRoot, 2, 2}}); err == nil {
		t.Error("two entries of one FID are accepted")
	}
}

// A leaf behaves as a sorted map of limited size.
func TestIAMEdit(t *testing.T) {
	shape := IAMShape{Key: 4, Record: 8, Pointer: 4}
	rapid.Check(t, func(t *rapid.T) {
		blocks, err := shape.Build(100, 256, nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, want := blocks[1], map[uint32]uint64{0: 0}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			k, v := rapid.Uint32Range(0, 15).Draw(t, "key"), rapid.Uint64().Draw(t, "value")
			key, value := binary.BigEndian.AppendUint32(nil, k), binary.BigEndian.AppendUint64(nil, v)
			before := slices.Clone(leaf)
			_, there := want[k]
			var got []byte
			var wantErr error
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				got, err = shape.Insert(leaf, key, value)
				if there {
					wantErr = ErrIAMExists
				} else if len(want) == shape.LeafCapacity(100) {
					wantErr = ErrIAMFull
				} else {
					want[k] = v
				}
			case 1:
				got, err = shape.Remove(leaf, key)
				if !there {
					wantErr = ErrIAMAbsent
				}
				delete(want, k)
			case 2:
				got, err = shape.Replace(leaf, key, value)
				if !there {
					wantErr = ErrIAMAbsent
				} else {
					want[k] = v
				}
			}
			if !errors.Is(err, wantErr) || !bytes.Equal(leaf, before) {
				t.Fatalf("error %v, want %v", err, wantErr)
			}
			if err == nil {
				leaf = got
			}
			n := 0
			ps, err := shape.Records(leaf, func(key, record []byte) bool {
				n++
				if v, ok := want[binary.BigEndian.Uint32(key)]; !ok || v != binary.BigEndian.Uint64(record) {
					t.Fatalf("%x has %x, want %x", key, record, v)
				}
				return true
			})
			if err != nil || len(ps) > 0 || n != len(want) {
				t.Fatal(n, len(want), ps, err)
			}
		}
	})
}

func TestIAMDamage(t *testing.T) {
	blocks, err := BuildOI(4096, []OIEntry{{FIDRoot, 1, 1}, {FID{0x200000402, 2, 0}, 2, 2}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := slices.Clone(blocks[1])
	binary.LittleEndian.PutUint16(leaf[2:], 0xffff)
	n := 0
	ps, err := OIEntries(leaf, func(OIEntry) bool { n++; return true })
	if err != nil || len(ps) == 0 || n != 2 {
		t.Errorf("%d entries, %v, %v", n, ps, err)
	}
	if _, err := ShapeOI.Insert(leaf, FIDRoot.AppendBig(nil), make([]byte, 8)); err == nil {
		t.Error("an insert into a leaf with an impossible count")
	}
	leaf = slices.Clone(blocks[1])
	copy(leaf[4+24:], leaf[4+48:4+72])
	if ps, _ := OIEntries(leaf, func(OIEntry) bool { return true }); len(ps) != 1 || ps[0].Code != "order" {
		t.Errorf("%v", ps)
	}
	root := slices.Clone(blocks[0])
	binary.LittleEndian.PutUint16(root[18:], 999)
	if _, err := ShapeOI.Pointers(root, true); err == nil {
		t.Error("a count over the limit is accepted")
	}
	root[8] = 0
	if _, err := DecodeIAMRoot(root); err == nil {
		t.Error("keys without bytes are accepted")
	}
}

func TestOINames(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		ok   bool
	}{{"oi.16.0", 0, true}, {"oi.16.63", 63, true}, {"oi.16", 0, true}, {"oi.16.", 0, false}, {"oi.16.01", 0, false}, {"oi.16.-1", 0, false}, {"oi.17.1", 0, false}} {
		if n, ok := ParseOIName(c.name); ok != c.ok || ok && n != c.n {
			t.Errorf("%s: %d, %v", c.name, n, ok)
		}
	}
	if n, err := OIFile(FID{0x2000013a1, 1, 0}, 64); err != nil || n != 0x21 {
		t.Error(n, err)
	}
	for _, count := range []int{0, -1, 3, 63} {
		if _, err := OIFile(FIDRoot, count); err == nil {
			t.Errorf("%d files are accepted", count)
		}
	}
	for _, c := range []struct {
		f      FID
		compat uint32
		want   bool
	}{{FIDRoot, 0, true}, {FIDRoot, LMACNotInOI, false}, {FID{1, 4, 0}, 0, false}, {FID{10, 2, 0}, 0, true}, {FID{10, 0, 0}, 0, false}, {FID{SeqLocalName, 0, 0}, 0, false}, {IGIF(20, 0), 0, true}} {
		if got := InOI(c.f, c.compat); got != c.want {
			t.Errorf("%v %x: %v", c.f, c.compat, got)
		}
	}
}

func FuzzIAM(f *testing.F) {
	blocks, err := BuildOI(512, []OIEntry{{FIDRoot, 1, 1}, {FID{0x200000402, 2, 0}, 2, 2}})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range blocks {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		IAMBlockKind(b)
		OIEntries(b, func(OIEntry) bool { return true })
		FLDRanges(b, func(Range) bool { return true })
		shapes := []IAMShape{ShapeOI, ShapeFLD, ShapeTrace}
		root, err := DecodeIAMRoot(b)
		if err == nil {
			shapes = append(shapes, root.Shape)
		}
		for _, s := range shapes {
			s.Pointers(b, true)
			s.Pointers(b, false)
			key := make([]byte, s.Key)
			key[0] = 1
			out, err := s.Insert(b, key, make([]byte, s.Record))
			if err != nil {
				continue
			}
			if back, err := s.Remove(out, key); err != nil || !bytes.Equal(back[:4], b[:4]) {
				t.Fatalf("insert and remove: %v", err)
			}
		}
	})
}

// FuzzIAMTree walks an index in which bytes were changed: it ends, and each leaf lies in the file.
func FuzzIAMTree(f *testing.F) {
	var entries []OIEntry
	for i := range uint32(1000) {
		entries = append(entries, OIEntry{FID{0x200000400, i + 1, 0}, i, i})
	}
	blocks, err := BuildOI(1024, entries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(14), []byte{3})
	f.Add(uint32(52), []byte{0, 0, 0, 0})
	f.Add(uint32(1024), []byte{})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		raw := bytes.Join(blocks, nil)
		copy(raw[int(at)%len(raw):], change)
		reads := 0
		leaves, err := IAMTree(ShapeOI, 1024, uint64(len(blocks)), func(block uint64, buf []byte) error {
			if reads++; reads > len(blocks) {
				t.Fatal("a block is read twice")
			}
			copy(buf, raw[block*1024:])
			return nil
		})
		for b := range leaves {
			if b == 0 || b >= uint64(len(blocks)) {
				t.Errorf("leaf %d of %d", b, len(blocks))
			}
		}
		if len(change) == 0 && err != nil {
			t.Error(err)
		}
	})
}
