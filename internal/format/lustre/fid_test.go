package lustre

import (
	"testing"

	"pgregory.net/rapid"
)

func anyFID() *rapid.Generator[FID] {
	return rapid.Custom(func(t *rapid.T) FID {
		return FID{rapid.Uint64().Draw(t, "seq"), rapid.Uint32().Draw(t, "oid"), rapid.Uint32().Draw(t, "ver")}
	})
}

func TestFIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, g := anyFID().Draw(t, "f"), anyFID().Draw(t, "g")
		if got := LittleFID(f.AppendLittle(nil)); got != f {
			t.Fatalf("little: %v, want %v", got, f)
		}
		if got := BigFID(f.AppendBig(nil)); got != f {
			t.Fatalf("big: %v, want %v", got, f)
		}
		for _, s := range []string{f.String(), f.Bare()} {
			if got, err := ParseFID(s); err != nil || got != f {
				t.Fatalf("parse %s: %v, %v", s, got, err)
			}
		}
		a, b := string(f.AppendBig(nil)), string(g.AppendBig(nil))
		want := 0
		if a < b {
			want = -1
		} else if a > b {
			want = 1
		}
		if got := f.Compare(g); got != want {
			t.Fatalf("%v compared with %v: %d, the bytes say %d", f, g, got, want)
		}
	})
}

func TestParseFIDRefuses(t *testing.T) {
	for _, s := range []string{"", "[", "]", "[]", "1:2", "1:2:3:4", "[1:2:3", "1:2:3]", "0x1:0x2:0x100000000", "0x1ffffffffffffffff:1:1", "-1:1:1", "0x:1:1", "1_0:1:1", "+1:1:1", "0b1:1:1", " 1:1:1"} {
		if f, err := ParseFID(s); err == nil {
			t.Errorf("ParseFID(%q) = %v, want an error", s, f)
		}
	}
	if f, err := ParseFID("8589934592:10:0"); err != nil || f != (FID{0x200000000, 10, 0}) {
		t.Errorf("decimal: %v, %v", f, err)
	}
}

func TestFIDClasses(t *testing.T) {
	for _, c := range []struct {
		f                                              FID
		class                                          string
		local, sane, visible, normal, igif, idif, llog bool
	}{
		{f: FID{}, class: "zero", local: true},
		{f: FIDRoot, class: "root", sane: true, visible: true},
		{f: FIDDotLustre, class: "dot-lustre", sane: true, visible: true},
		{f: FIDDotLustreLost, class: "dot-lustre", sane: true, visible: true},
		{f: FID{0x200000402, 2, 0}, class: "normal", sane: true, visible: true, normal: true},
		{f: FID{0x200000400, 0, 0}, class: "normal", sane: true, normal: true},
		{f: FID{0x200000402, 2, 1}, class: "normal", visible: true, normal: true},
		{f: IGIF(12, 77), class: "igif", sane: true, visible: true, igif: true},
		{f: FID{0x100000000, 5, 0}, class: "idif", sane: true, idif: true},
		{f: FID{1, 5, 0}, class: "llog", sane: true, local: true, llog: true},
		{f: FID{10, 5, 0}, class: "llog", sane: true, local: true, llog: true},
		{f: FID{10, 0, 0}, class: "last-id", sane: true, local: true},
		{f: LocalFID(OIDFLD), class: "local", sane: true, local: true},
		{f: FID{SeqQuota, 1, 0}, class: "quota", sane: true, local: true},
		{f: FID{SeqUpdateLog, 0, 0}, class: "local", sane: true, local: true},
	} {
		if got := c.f.Class(); got != c.class {
			t.Errorf("%v is %s, want %s", c.f, got, c.class)
		}
		for _, p := range []struct {
			what      string
			got, want bool
		}{
			{"local", c.f.IsLocal(), c.local}, {"sane", c.f.Sane(), c.sane}, {"visible", c.f.Visible(), c.visible},
			{"normal", c.f.IsNormal(), c.normal}, {"igif", c.f.IsIGIF(), c.igif}, {"idif", c.f.IsIDIF(), c.idif}, {"llog", c.f.IsLLOG(), c.llog},
		} {
			if p.got != p.want {
				t.Errorf("%v: %s is %v, want %v", c.f, p.what, p.got, p.want)
			}
		}
	}
}

func TestFlatten(t *testing.T) {
	for _, c := range []struct {
		f    FID
		want uint64
	}{
		{IGIF(4711, 3), 4711},
		// What a client shows for the root of every file system since 2.4.
		{FIDRoot, 144115188193296385},
		{FID{0x200000402, 2, 0}, 144115205289279490},
	} {
		if got := c.f.Flatten(); got != c.want {
			t.Errorf("%v is flattened to %d, want %d", c.f, got, c.want)
		}
	}
}

func FuzzParseFID(f *testing.F) {
	f.Add("[0x200000402:0x2:0x0]")
	f.Add("0x1:2:0")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseFID(s)
		if err != nil {
			return
		}
		if again, err := ParseFID(id.String()); err != nil || again != id {
			t.Fatalf("%q gives %v, which gives %v, %v", s, id, again, err)
		}
	})
}
