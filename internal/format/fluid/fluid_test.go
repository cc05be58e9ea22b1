package fluid

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestForms(t *testing.T) {
	cases := []struct {
		id                 ID
		dothex, f58, plain string
	}{
		{0, "0000.0000.0000.0000", "ƒ1", "f1"},
		{57, "0000.0000.0000.0039", "ƒz", "fz"},
		{58, "0000.0000.0000.003a", "ƒ21", "f21"},
		{6731191091817518, "0017.ea0f.e8b5.f82e", "", ""},
		{Max, "ffff.ffff.ffff.ffff", "ƒjpXCZedGfVQ", "fjpXCZedGfVQ"},
		{94523883520, "0000.0016.0210.0000", "", ""},
	}
	for _, c := range cases {
		if c.f58 != "" && (c.id.F58() != c.f58 || c.id.F58Plain() != c.plain) {
			t.Errorf("%d: %s %s", c.id, c.id.F58(), c.id.F58Plain())
		}
		if back, err := ParseDotHex(c.id.DotHex()); err != nil || back != c.id {
			t.Errorf("%d -> %s -> %d %v", c.id, c.id.DotHex(), back, err)
		}
	}
	if got := ID(0x0000001604000000).DotHex(); got != "0000.0016.0400.0000" {
		t.Error(got)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ID(rapid.Uint64().Draw(t, "id"))
		for _, s := range []string{id.DotHex(), id.F58(), id.F58Plain(), id.Decimal(), id.Hex(), " " + id.String() + "\n"} {
			if back, err := Parse(s); err != nil || back != id {
				t.Fatalf("Parse(%q) = %d, %v; want %d", s, back, err, id)
			}
		}
		if back, err := FromParts(id.Parts()); err != nil || back != id {
			t.Fatalf("parts of %d: %d %v", id, back, err)
		}
		k, ok := FromPath(append(id.Path(), "guest", "output"))
		if !ok || !k.Complete || k.ID != id || !reflect.DeepEqual(k.Rest, []string{"guest", "output"}) {
			t.Fatalf("path of %d: %+v", id, k)
		}
		n := rapid.IntRange(0, 3).Draw(t, "groups")
		groups := k.Groups[:n]
		if up := UpperBound(groups...); up < id || uint64(up)>>(64-16*n) != uint64(id)>>(64-16*n) || uint64(up)<<(16*n) != uint64(Max)<<(16*n) {
			t.Fatalf("UpperBound(%x) = %x of %x", groups, up, id)
		}
	})
}

func TestBad(t *testing.T) {
	for _, s := range []string{"", " ", "f", "ƒ", "f0", "fO", "fl", "f" + strings.Repeat("1", 13), "fzzzzzzzzzzz", "fjpXCZedGfVR",
		"0000.0016.0400", "0000.0016.0400.0000.1", "0000.0016.0400.00G0", "0000.0016.0400.00A0", "0.0.0.0", "-1", "18446744073709551616", "0x", "1 2", "academy-robot"} {
		if id, err := Parse(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %d, %v", s, id, err)
		}
	}
	for _, p := range []Parts{{Timestamp: 1 << 40}, {Generator: 1 << 14}, {Sequence: 1 << 10}} {
		if _, err := FromParts(p); err == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func TestFromPath(t *testing.T) {
	cases := []struct {
		key      string
		ok       bool
		id       ID
		complete bool
		prefix   int
	}{
		{"job.0000.0016.0400.0000.eventlog", true, 0x1604000000, true, 1},
		{"job.0000.0016.0400.0000", true, 0x1604000000, true, 1},
		{"job.0000.0016", true, 0x16ffffffff, false, 1},
		{"lost+found.job.0000.0016.0400.0000.R", true, 0x1604000000, true, 2},
		{"lost+found.job.0000", true, 0xffffffffffff, false, 2},
		{"job-lost+found.job.f21.eventlog", true, 58, true, 2},
		{"job-lost+found.job.ƒ21", true, 58, true, 2},
		{"job-lost+found.job.zzz", false, 0, false, 0},
		{"job", false, 0, false, 0},
		{"job.x", false, 0, false, 0},
		{"resource.eventlog", false, 0, false, 0},
		{"jobs.0000", false, 0, false, 0},
	}
	for _, c := range cases {
		k, ok := FromPath(strings.Split(c.key, "."))
		if ok != c.ok || k.ID != c.id || k.Complete != c.complete || k.Prefix != c.prefix {
			t.Errorf("%s: %+v %v", c.key, k, ok)
		}
	}
}

func TestUsable(t *testing.T) {
	if got := ID(5).Usable(0); got != 5 {
		t.Error(got)
	}
	if got := Max.Usable(0).Parts(); got.Timestamp != 1<<39 || got.Sequence != 1<<10-1 || got.Generator != 1<<14-1 {
		t.Errorf("%+v", got)
	}
	if got := Max.Usable(1000).Parts().Timestamp; got != 1000 {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"f21", "ƒ1", "0000.0016.0400.0000", "0x10", "42", "job.0000.1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		FromPath(strings.Split(s, "."))
		id, err := Parse(s)
		if err != nil {
			return
		}
		if back, err := Parse(id.F58()); err != nil || back != id {
			t.Fatalf("%q -> %d -> %s -> %d, %v", s, id, id.F58(), back, err)
		}
	})
}
