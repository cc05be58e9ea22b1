package hostlist

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	cases := map[string]string{
		"":                   "",
		"node1":              "node1",
		"node[0-3,7],login":  "node0 node1 node2 node3 node7 login",
		"n[08-11]":           "n08 n09 n10 n11",
		"n[8-11]":            "n8 n9 n10 n11",
		"n[1,001]":           "n1 n001",
		" a,,b\tc ":          "a b c",
		"r[1-2]-ib":          "r1-ib r2-ib",
		"b,a,b":              "b a b",
		"[1-2]":              "1 2",
		"node[0-1],node[5]x": "node0 node1 node5x",
	}
	for in, want := range cases {
		got, err := Parse(in)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("Parse(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"n[", "n]", "n[1", "n[]", "n[a]", "n[3-1]", "n[1-]", "n[-1]", "n[1--2]", "n[1-2-3]", "n[1[2]]", "n[1]x[2]", "n[1,]", "n[1 2]", "a]b[1]"} {
		if got, err := Parse(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %q, %v", in, got, err)
		}
	}
	many := strings.Repeat("n[0-999999],", 3)
	for _, in := range []string{"node[0-99999999999]", many, strings.Repeat("x", 2000), strings.Repeat("x", 1000) + "[0-1048575]", "n[" + strings.Repeat("0", 2000) + "]"} {
		if _, err := Parse(in); !errors.Is(err, ErrLimit) {
			t.Errorf("Parse(%.40q...): %v", in, err)
		}
	}
}

func TestFormat(t *testing.T) {
	cases := map[string]string{
		"node0 node1 node2 node7 login": "node[0-2,7],login",
		"n08 n09 n10 n011":              "n[08-10,011]",
		"n9 n10":                        "n[9-10]",
		"n1 m1 n2":                      "n1,m1,n2",
		"a a":                           "a,a",
		"n2 n1":                         "n[2,1]",
	}
	for in, want := range cases {
		if got, err := Format(strings.Fields(in)); err != nil || got != want {
			t.Errorf("Format(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, h := range []string{"", "a,b", "a[1]", "a b", strings.Repeat("x", MaxName+1)} {
		if s, err := Format([]string{h}); err == nil {
			t.Errorf("Format(%q) = %q", h, s)
		}
	}
}

func TestHostsRoundTrip(t *testing.T) {
	host := rapid.StringMatching(`(n|node|a-b|)([0-9]{1,3}|0{0,3}[0-9]{1,2}|x|9{17,20})`)
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.SliceOfN(host, 1, 20).Draw(t, "hosts")
		s, err := Format(hosts)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(s)
		if err != nil || !slices.Equal(back, hosts) {
			t.Fatalf("%q -> %q -> %q, %v", hosts, s, back, err)
		}
	})
}

func TestIDSet(t *testing.T) {
	for in, want := range map[string]string{"": "", "[]": "", "0": "0", "[0-3,7]": "0-3,7", "1,2,3": "1-3", "1,,5": "1,5", "0-2147483647": "0-2147483647"} {
		set, err := ParseIDSet(in)
		if err != nil || set.String() != want {
			t.Errorf("ParseIDSet(%q) = %q, %v", in, set, err)
		}
	}
	for _, in := range []string{"a", "01", "1-1", "2-1", "1,1", "3,2", "1-3,2", "[1", "1]", "[[1]]", "-1", "1-", "2147483648", "99999999999999999999", " 1", "1 "} {
		if set, err := ParseIDSet(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseIDSet(%q) = %q, %v", in, set, err)
		}
	}
	set, _ := ParseIDSet("0-2147483647")
	if set.Count() != 1<<31 || !reflect.DeepEqual(set.IDs(2), []uint32{0, 1}) {
		t.Errorf("count %d, ids %v", set.Count(), set.IDs(2))
	}
	if _, err := NewIDSet(1 << 31); err == nil {
		t.Error("id 2^31 is accepted")
	}
}

func TestIDSetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.OneOf(rapid.Uint32Range(0, 20), rapid.Uint32Range(MaxID-3, MaxID))).Draw(t, "ids")
		set, err := NewIDSet(ids...)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseIDSet(set.String())
		if err != nil || !slices.Equal(back, set) {
			t.Fatalf("%v -> %q -> %v, %v", ids, set, back, err)
		}
		slices.Sort(ids)
		if got := back.IDs(1000); !slices.Equal(got, slices.Compact(ids)) || uint64(len(got)) != back.Count() {
			t.Fatalf("%v != %v", got, ids)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"node[0-3,7],login", "n[08-11]x", "a,,b", "n[0-9999999]", "n]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hosts, err := Parse(s)
		if err != nil || len(hosts) > 5000 {
			return
		}
		out, err := Format(hosts)
		if err != nil {
			t.Fatalf("%q: %v", hosts, err)
		}
		if back, err := Parse(out); err != nil || !slices.Equal(back, hosts) {
			t.Fatalf("%q -> %q -> %q, %v", hosts, out, back, err)
		}
	})
}

func FuzzParseIDSet(f *testing.F) {
	for _, s := range []string{"0-3,7", "[1,5-9]", "1,,2", "01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseIDSet(s)
		if err != nil {
			return
		}
		if back, err := ParseIDSet(set.String()); err != nil || !slices.Equal(back, set) {
			t.Fatalf("%q -> %q -> %v, %v", s, set, back, err)
		}
	})
}
