package kvscheckpoint

import (
	"testing"

	"fettle/internal/format/storefixture"
	"fettle/internal/format/treeobj"

	"pgregory.net/rapid"
)

const ref = "sha1-0123456789abcdef0123456789abcdef01234567"

func TestParse(t *testing.T) {
	r := `"rootref":"` + ref + `"`
	cases := []struct {
		in   string
		rule Rule
		root bool
	}{
		{`{"version":1,` + r + `,"sequence":13,"timestamp":1795225430.1269188}`, "", true},
		{`{"version":0,` + r + `}`, "", true},
		{`{` + r + `,"version":1,"other":[1]}`, "", true},
		{"", RuleNull, false},
		{"garbage", RuleJSON, false},
		{`{"version":1,` + r, RuleJSON, false},
		{`"` + ref + `"`, RuleJSON, false},
		{ref, RuleBare, true},
		{ref + "\x00", RuleBare, true},
		{"[]", RuleType, false},
		{"{}", RuleVersion, false},
		{`{"version":7,` + r + `}`, RuleVersion, false},
		{`{"version":"1",` + r + `}`, RuleVersion, false},
		{`{"version":1.0,` + r + `}`, RuleVersion, false},
		{`{"version":1}`, RuleNoRootref, false},
		{`{"version":1,"rootref":null}`, RuleNoRootref, false},
		{`{"version":1,"rootref":"sha1-zz"}`, RuleBadRootref, false},
		{`{"version":1,"Rootref":"` + ref + `"}`, RuleNoRootref, false},
		{`{"version":1,` + r + `,"sequence":"x"}`, RuleSequence, true},
		{`{"version":1,` + r + `,"timestamp":5}`, RuleTimestamp, true},
		{`{"version":1,` + r + `,"timestamp":"5.0"}`, RuleTimestamp, true},
		{`{"version":1,` + r + "}\x00x", RuleNUL, true},
		{`{"version":1,` + r + `,"x":"\u0000"}`, RuleJSON, false},
		{`{"version":1,` + r + `,"x":"` + "\xff" + `"}`, RuleJSON, false},
	}
	for _, c := range cases {
		got, err := Parse([]byte(c.in))
		rule := Rule("")
		if err != nil {
			rule = err.Rule
		}
		if rule != c.rule || c.root != (got.Rootref.String() == ref) {
			t.Errorf("Parse(%q) = %+v, %v", c.in, got, err)
		}
	}
	if !RuleJSON.BlocksAll() || RuleVersion.BlocksAll() || !RuleTimestamp.Usable() || RuleVersion.Usable() {
		t.Error("rule classes")
	}
}

func TestEncodeParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Checkpoint{Version: 1, Rootref: treeobj.Hash(treeobj.SHA256, rapid.SliceOf(rapid.Byte()).Draw(t, "x"))}
		if c.HasSequence = rapid.Bool().Draw(t, "hasSeq"); c.HasSequence {
			c.Sequence = rapid.Int64().Draw(t, "seq")
		}
		if c.HasTimestamp = rapid.Bool().Draw(t, "hasTime"); c.HasTimestamp {
			c.Timestamp = rapid.OneOf(rapid.Float64(), rapid.Just(1795225430.0)).Draw(t, "time")
		}
		text, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, bad := Parse(text); bad != nil || back != c {
			t.Fatalf("%+v -> %s -> %+v, %v", c, text, back, bad)
		}
	})
	if b, err := (Checkpoint{}).Encode(); err == nil {
		t.Errorf("no rootref: %s", b)
	}
}

func TestFixtures(t *testing.T) {
	for _, name := range []string{"base-small", "base-sha256"} {
		s := storefixture.Open(t, name)
		if len(s.Checkpoints) == 0 {
			t.Fatal("no checkpoints")
		}
		for _, text := range s.Checkpoints {
			c, bad := Parse([]byte(text))
			if bad != nil || !c.HasSequence || !c.HasTimestamp {
				t.Fatalf("%s: %v", text, bad)
			}
			if out, err := c.Encode(); err != nil || string(out) != text {
				t.Errorf("%s is written as %s (%v)", text, out, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"rootref":"` + ref + `","sequence":13,"timestamp":1795225430.1269188}`))
	f.Add([]byte(ref))
	f.Add([]byte("[1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, bad := Parse(b)
		if bad != nil {
			if !bad.Rule.Usable() && bad.Rule != RuleBare && c != (Checkpoint{}) {
				t.Fatalf("%q: %+v with %v", b, c, bad)
			}
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c.Version = 1
		if back, bad := Parse(out); bad != nil || back != c {
			t.Fatalf("%q -> %s -> %v", b, out, bad)
		}
	})
}
