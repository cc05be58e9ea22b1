package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func anyName() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`[a-zA-Z0-9_~é]{1,60}(\.[a-z0-9]{1,10})?`).Draw(t, "name")
	})
}

func TestLMA(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LMA{rapid.Uint32().Draw(t, "compat"), rapid.Uint32().Draw(t, "incompat"), anyFID().Draw(t, "fid")}
		b := l.Encode()
		for _, form := range [][]byte{b, append(slices.Clone(b), make([]byte, LMASizeOld-LMASize)...)} {
			if got, err := DecodeLMA(form); err != nil || got != l {
				t.Fatalf("%+v, %v; want %+v", got, err, l)
			}
		}
		if l.UnknownIncompat() != l.Incompat&^0x3f {
			t.Fatal("unknown bits")
		}
	})
	if _, err := DecodeLMA(make([]byte, 23)); err == nil {
		t.Error("23 bytes are accepted")
	}
	s := LMA{Compat: LMACNotInOI, Incompat: LMAIAgent | 0x100, FID: FIDRoot}.String()
	for _, want := range []string{"not-in-oi", "agent", "0x100", FIDRoot.String()} {
		if !strings.Contains(s, want) {
			t.Errorf("%s does not say %s", s, want)
		}
	}
}

func sampleLinks() LinkEA {
	return LinkEA{Links: []Link{{FIDRoot, "a"}, {FID{0x200000402, 2, 0}, "bb"}}}
}

func TestLinkEARoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ea := LinkEA{Overflow: rapid.Uint32().Draw(t, "overflow"), Swapped: rapid.Bool().Draw(t, "swapped"), Padding: rapid.Uint32().Draw(t, "padding")}
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			parent := FID{rapid.Uint64Range(SeqNormal, 1<<40).Draw(t, "seq"), rapid.Uint32().Draw(t, "oid"), 0}
			ea = ea.Add(parent, anyName().Draw(t, "name"))
		}
		b, dropped := ea.Encode(99)
		got, ps, err := DecodeLinkEA(b)
		if err != nil || len(ps) != 0 || dropped != 0 || !reflect.DeepEqual(got, ea) {
			t.Fatalf("got %+v\nwant %+v\nproblems %v, dropped %d, %v", got, ea, ps, dropped, err)
		}
		last := ea.Links[len(ea.Links)-1]
		less := ea.Remove(last.Parent, last.Name)
		if less.Has(last.Parent, last.Name) || !ea.Has(last.Parent, last.Name) || len(less.Links) != len(ea.Links)-1 {
			t.Fatal("Remove")
		}
		if !IsLinkEA(b) {
			t.Fatal("IsLinkEA")
		}
	})
}

func TestLinkEAOverflow(t *testing.T) {
	var ea LinkEA
	for i := range 100 {
		ea = ea.Add(FID{0x200000402, uint32(i), 0}, strings.Repeat("n", 82))
	}
	for now, want := range map[uint32]uint32{0: 1, 1234: 1234} {
		b, dropped := ea.Encode(now)
		got, ps, err := DecodeLinkEA(b)
		if err != nil || len(ps) != 0 || len(b) > LinkEAMax || len(b) != 24+40*100 || dropped != 60 || got.Overflow != want || len(got.Links) != 40 {
			t.Errorf("%d bytes, dropped %d, overflow %d, %d links, %v, %v", len(b), dropped, got.Overflow, len(got.Links), ps, err)
		}
	}
}

func TestLinkEADamage(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		code   string
		links  int
	}{
		{"healthy", func(b []byte) []byte { return b }, "", 2},
		{"length", func(b []byte) []byte { le.PutUint64(b[8:], 1<<40); return b }, LinkBadLength, 2},
		{"truncated in a record", func(b []byte) []byte { return b[:len(b)-3] }, LinkBadRecord, 1},
		{"truncated between records", func(b []byte) []byte { return b[:24+19] }, LinkBadCount, 1},
		{"record length too big", func(b []byte) []byte { b[24] = 0xff; return b }, LinkBadRecord, 0},
		{"record length too small", func(b []byte) []byte { b[25] = 3; return b }, LinkBadRecord, 0},
		{"record length 0", func(b []byte) []byte { b[25] = 0; return b }, LinkBadRecord, 0},
		{"record without name", func(b []byte) []byte { b[25] = 18; return b }, LinkBadName, 1},
		{"count too big", func(b []byte) []byte { le.PutUint32(b[4:], 1<<31); return b }, LinkBadCount, 2},
		{"count too small", func(b []byte) []byte { le.PutUint32(b[4:], 1); return b }, LinkBytesBehind, 1},
		{"count 0", func(b []byte) []byte { le.PutUint32(b[4:], 0); return b[:24] }, LinkNoRecord, 0},
		{"slash in name", func(b []byte) []byte { b[24+18] = '/'; return b }, LinkBadName, 2},
		{"NUL in name", func(b []byte) []byte { b[24+18] = 0; return b }, LinkBadName, 2},
		{"dot", func(b []byte) []byte { b[24+18] = '.'; return b }, LinkBadName, 2},
		{"parent version", func(b []byte) []byte { b[24+2+12] = 0xff; return b }, LinkBadParent, 2},
		{"repeated", func([]byte) []byte {
			b, _ := LinkEA{Links: []Link{{FIDRoot, "a"}, {FIDRoot, "a"}}}.Encode(0)
			return b
		}, LinkRepeated, 2},
		{"too big", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, LinkTooBig, 2},
	} {
		b, _ := sampleLinks().Encode(0)
		ea, ps, err := DecodeLinkEA(c.damage(b))
		found := slices.ContainsFunc(ps, func(p Problem) bool { return p.Code == c.code })
		if err != nil || len(ea.Links) != c.links || c.code != "" && !found || c.code == "" && len(ps) > 0 {
			t.Errorf("%s: %d links, problems %v, %v; want %d links and %q", c.name, len(ea.Links), ps, err, c.links, c.code)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 23), make([]byte, 100)} {
		if _, _, err := DecodeLinkEA(b); !errors.Is(err, ErrLinkEACrashed) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// Add must not write into the memory of another link EA.
func TestLinkEAAddCopies(t *testing.T) {
	base := LinkEA{Links: make([]Link, 0, 10)}
	a, b := base.Add(FIDRoot, "a"), base.Add(FIDRoot, "b")
	if a.Links[0].Name != "a" || b.Links[0].Name != "b" {
		t.Errorf("%v and %v", a.Links, b.Links)
	}
}

func FuzzLinkEA(f *testing.F) {
	b, _ := sampleLinks().Encode(0)
	f.Add(b)
	swapped := sampleLinks()
	swapped.Swapped = true
	b, _ = swapped.Encode(0)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		ea, ps, err := DecodeLinkEA(b)
		if err != nil {
			return
		}
		again, dropped := ea.Encode(1)
		if len(ps) == 0 && dropped == 0 && !bytes.Equal(again, b) {
			t.Fatalf("without a problem, but not the same:\n%x\n%x", b, again)
		}
	})
}

func TestLMVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint32()
		v := LMV{
			Magic: rapid.SampledFrom([]uint32{LMVMaster, LMVShard, LMVUser}).Draw(t, "magic"),
			Count: u.Draw(t, "count"), Index: u.Draw(t, "index"), HashType: u.Draw(t, "hash"), LayoutVersion: u.Draw(t, "version"),
			MigrateOffset: u.Draw(t, "offset"), MigrateHash: u.Draw(t, "mhash"),
		}
		copy(v.Pool[:], rapid.StringN(0, 15, 15).Draw(t, "pool"))
		b := v.Encode()
		got, err := DecodeLMV(b)
		if err != nil || got != v || len(b) != LMVSize {
			t.Fatalf("%+v, %v; want %+v", got, err, v)
		}
	})
	if _, err := DecodeLMV(LMV{Magic: LMVMaster}.Encode()[:55]); err == nil {
		t.Error("55 bytes are accepted")
	}
	if _, err := DecodeLMV(LMV{Magic: 7}.Encode()); err == nil {
		t.Error("an unknown magic is accepted")
	}
}

func TestLMVInsane(t *testing.T) {
	for _, c := range []struct {
		v    LMV
		sane bool
	}{
		{LMV{Magic: LMVMaster, Count: 2, HashType: HashFNV}, true},
		{LMV{Magic: LMVMaster, Count: 2, Index: 77, HashType: HashFNV}, true},
		{LMV{Magic: LMVShard, Count: 2, Index: 1, HashType: HashCrush2 | HashFlagLostLMV}, true},
		{LMV{Magic: LMVShard, Count: 2, Index: 2, HashType: HashCrush2}, false},
		{LMV{Magic: LMVMaster, Count: 2000, HashType: HashAllChar}, true},
		{LMV{Magic: LMVMaster, Count: 2001, HashType: HashAllChar}, false},
		{LMV{Magic: LMVMaster, Count: 0, HashType: HashAllChar}, false},
		{LMV{Magic: LMVMaster, Count: 1, HashType: 5}, false},
		{LMV{Magic: LMVMaster, Count: 1, HashType: HashUnknown}, false},
		{LMV{Magic: LMVMaster, Count: 1, HashType: HashUnknown | HashFlagBadType}, true},
		{LMV{Magic: LMVUser, Count: 1, HashType: HashFNV}, false},
	} {
		if why := c.v.Insane(); (why == "") != c.sane {
			t.Errorf("%v: %q", c.v, why)
		}
	}
	if got := HashName(HashFNV | HashFlagLostLMV | HashFlagMigration); got != "fnv_1a_64,lost_lmv,migration" {
		t.Error(got)
	}
	for _, n := range []string{"all_char", "fnv_1a_64", "crush", "crush2"} {
		if h, err := ParseHash(n); err != nil || HashName(h) != n {
			t.Errorf("%s: %d, %v", n, h, err)
		}
	}
	if _, err := ParseHash("none"); err == nil {
		t.Error("none is taken for a hash")
	}
}

func TestForeign(t *testing.T) {
	le := binary.LittleEndian
	b := append(Foreign{Type: 0xda05, Flags: 1, Value: []byte("abc")}.Encode(LMVForeign), 'd')
	f, err := DecodeForeign(b)
	if err != nil || f.Type != 0xda05 || f.Flags != 1 || string(f.Value) != "abc" {
		t.Errorf("%+v, %v", f, err)
	}
	le.PutUint32(b[4:], 0xffffffff)
	if _, err := DecodeForeign(b); err == nil {
		t.Error("a length beyond the end is accepted")
	}
}

func TestLOV(t *testing.T) {
	le := binary.LittleEndian
	plain := func(magic, pattern uint32, count, objects, header int) []byte {
		b := make([]byte, header+objects*24)
		le.PutUint32(b, magic)
		le.PutUint32(b[4:], pattern)
		le.PutUint64(b[8:], 2)
		le.PutUint64(b[16:], 0x200000402)
		le.PutUint16(b[28:], uint16(count))
		return b
	}
	v1 := plain(LOVv1, 1, 2, 2, 32)
	comp := make([]byte, 32+48)
	le.PutUint32(comp, LOVComposite)
	le.PutUint16(comp[14:], 1)
	le.PutUint32(comp[32+4:], 0x10)
	le.PutUint32(comp[32+24:], 80)
	le.PutUint32(comp[32+28:], uint32(len(v1)))
	comp = append(comp, v1...)
	owner := FID{0x200000402, 2, 0}
	for _, c := range []struct {
		name string
		b    []byte
		want LOV
	}{
		{"v1", v1, LOV{Magic: LOVv1, Owner: owner, Components: 1, Objects: 2}},
		{"v3", plain(LOVv3, 1, 1, 1, 48), LOV{Magic: LOVv3, Owner: owner, Components: 1, Objects: 1}},
		{"all OSTs", plain(LOVv1, 1, 0xffff, 0, 32), LOV{Magic: LOVv1, Owner: owner, Components: 1}},
		{"released", plain(LOVv1, 0x80000001, 9, 0, 32), LOV{Magic: LOVv1, Owner: owner, Components: 1, Released: true}},
		{"data on MDT", plain(LOVv1, 0x100, 0, 0, 32), LOV{Magic: LOVv1, Owner: owner, Components: 1, OnMDT: true}},
		{"composite", comp, LOV{Magic: LOVComposite, Owner: owner, Components: 1, Objects: 2}},
	} {
		if got, err := DecodeLOV(c.b); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		for cut := 4; cut < len(c.b); cut++ {
			if _, err := DecodeLOV(c.b[:cut]); err == nil && c.want.Objects > 0 {
				t.Errorf("%s: %d of %d bytes are accepted", c.name, cut, len(c.b))
			}
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(LMA{FID: FIDRoot}.Encode())
	f.Add(LMV{Magic: LMVMaster, Count: 2, HashType: HashFNV}.Encode())
	f.Add(LFSCKNamespace{Magic: LFSCKNamespaceMagic}.Encode())
	f.Add(LFSCKBookmark{Version: 2}.Encode())
	f.Add(MountData{FSName: "lab"}.Encode()[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		for name := range knownXattrs {
			Describe(name, b)
		}
		if v, err := DecodeLMV(b); err == nil && v.Insane() == "" {
			for _, n := range v.Allowed(string(b)) {
				if n < 0 {
					t.Fatalf("shard %d", n)
				}
			}
		}
		if n, err := DecodeLFSCKNamespace(b); err == nil {
			n.Text(LFSCKBookmark{}, LFSCKLive{}, 0)
		}
		DecodeLFSCKBookmark(b)
		DecodeMountData(b)
		DecodeLastRcvd(b)
		LittleRange(b)
	})
}
