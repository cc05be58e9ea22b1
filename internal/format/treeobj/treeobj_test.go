package treeobj

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const (
	ref1 = "sha1-0123456789abcdef0123456789abcdef01234567"
	ref2 = "sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func TestRefText(t *testing.T) {
	for _, s := range []string{ref1, ref2} {
		r, err := ParseRef(s)
		if err != nil || r.String() != s {
			t.Fatalf("ParseRef(%q) = %v, %v", s, r, err)
		}
		back, err := RefFromHash(r.Sum())
		if err != nil || back != r {
			t.Fatalf("RefFromHash(%x) = %v, %v", r.Sum(), back, err)
		}
	}
	bad := []string{"", "sha1", "sha1-", ref1[:44], ref1 + "0", "sha2-" + ref1[5:], strings.ToUpper(ref1),
		"sha1-" + strings.ToUpper(ref1[5:]), ref1[:44] + "g", "sha256-" + ref1[5:], " " + ref1[1:], ref2[:70]}
	for _, s := range bad {
		if _, err := ParseRef(s); !errors.Is(err, ErrBadRef) {
			t.Errorf("ParseRef(%q) error = %v", s, err)
		}
	}
	if _, err := RefFromHash(make([]byte, 21)); !errors.Is(err, ErrBadRef) {
		t.Errorf("RefFromHash of 21 bytes: %v", err)
	}
	if (Ref{}).String() != "" || !(Ref{}).IsZero() {
		t.Error("the zero Ref has a text")
	}
}

func TestHash(t *testing.T) {
	// FIPS 180 test vectors for "abc".
	if got := Hash(SHA1, []byte("abc")).String(); got != "sha1-a9993e364706816aba3e25717850c26c9cd0d89d" {
		t.Error(got)
	}
	want := "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := Hash(SHA256, []byte("abc")).String(); got != want {
		t.Error(got)
	}
}

// summary writes a tree as "path:type:rule" lines.
func summary(t *Tree) string {
	var sb strings.Builder
	fmt.Fprintf(&sb, "%s:%s", t.Root.Type, t.Root.Rule)
	if t.Broken {
		sb.WriteString(" broken")
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		fmt.Fprintf(&sb, " %s:%s:%s", FormatPath(t.Path(i)), e.Type, e.Rule)
	}
	return sb.String()
}

func dirOf(members string) string { return `{"data":{` + members + `},"type":"dir","ver":1}` }

func entry(typ, data string) string { return `{"data":` + data + `,"type":"` + typ + `","ver":1}` }

var ruleCases = []struct {
	name, in, want string
	decodable      bool
}{
	{"empty dir", dirOf(``), "dir:", true},
	{"val", dirOf(`"a":` + entry("val", `"aGVsbG8="`)), "dir: a:val:", true},
	{"empty val", dirOf(`"a":` + entry("val", `""`)), "dir: a:val:", true},
	{"white space", " {\n\"ver\" : 1 ,\t\"data\":{ \"a\" : {\"type\":\"val\",\"ver\":1,\"data\":\"\"} } , \"type\": \"dir\"}\r\n ", "dir: a:val:", true},
	{"space before data", dirOf(`"a":{"data":` + "\n" + `["` + ref1 + `"],"type":"dirref","ver":1}`), "dir: a:dirref:", true},
	{"other order", dirOf(`"a":{"data":"","ver":1,"type":"val"},"b":{"ver":1,"type":"val","data":""}`), "dir: a:val: b:val:", true},
	{"comma at the end", `{"data":{},"type":"dir","ver":1,}`, "dir:json broken", false},
	{"valref", dirOf(`"a":` + entry("valref", `["`+ref1+`" , "`+ref2+`"]`)), "dir: a:valref:", true},
	{"dirref", dirOf(`"a":` + entry("dirref", `["`+ref1+`"]`)), "dir: a:dirref:", true},
	{"dirref escaped", dirOf(`"a":` + entry("dirref", `["\u0073`+ref1[1:]+`"]`)), "dir: a:dirref:", true},
	{"symlink", dirOf(`"a":` + entry("symlink", `{"target":"b.c"}`)), "dir: a:symlink:", true},
	{"symlink ns", dirOf(`"a":` + entry("symlink", `{"namespace":"x","target":"b.c"}`)), "dir: a:symlink:", true},
	{"inline", dirOf(`"a":` + dirOf(`"b":`+dirOf(``)) + `,"c":` + entry("val", `""`)), "dir: a:dir: a.b:dir: c:val:", true},
	{"dirref two", dirOf(`"a":` + entry("dirref", `["`+ref1+`","`+ref1+`"]`)), "dir: a:dirref:dirref-count", true},
	{"symlink extra", dirOf(`"a":` + entry("symlink", `{"target":"b","x":1}`)), "dir: a:symlink:symlink-keys", true},
	{"base64", dirOf(`"a":` + entry("val", `"a"`)), "dir: a:val:base64", true},
	{"base64 newline", dirOf(`"a":` + entry("val", `"aGVs\nbG8="`)), "dir: a:val:base64", true},
	{"base64 loose bits", dirOf(`"a":` + entry("val", `"aGVsbG9="`)), "dir: a:val:base64", true},
	{"ver wraps", dirOf(`"a":{"data":"","type":"val","ver":4294967297}`), "dir: a:val:version-range", true},
	{"last equal key counts", dirOf(`"a":{"data":3,"data":"","type":"x","type":"val","ver":2,"ver":1}`), "dir: a:val:", true},
	{"last equal name counts", dirOf(`"a":{},"b":` + dirOf(`"x":5`) + `,"b":` + entry("val", `""`) + `,"a":` + entry("val", `""`)), "dir: b:val: a:val:", true},
	{"ver 2", dirOf(`"a":{"data":"","type":"val","ver":2}`), "dir: a:val:version", false},
	{"ver real", dirOf(`"a":{"data":"","type":"val","ver":1.0}`), "dir: a:val:version", false},
	{"ver string", dirOf(`"a":{"data":"","type":"val","ver":"1"}`), "dir: a:val:version", false},
	{"no ver", dirOf(`"a":{"data":"","type":"val"}`), "dir: a:val:keys", false},
	{"no data", dirOf(`"a":{"type":"val","ver":1}`), "dir: a:val:keys", false},
	{"extra key", dirOf(`"a":{"data":"","type":"val","ver":1,"x":{"y":[1,2.5e3,null,true]}}`), "dir: a:val:keys", false},
	{"hdir", dirOf(`"a":` + entry("hdir", `{"x":{}}`)), "dir: a:unknown:type", false},
	{"type number", dirOf(`"a":{"data":"","type":7,"ver":1}`), "dir: a:unknown:type", false},
	{"valref empty", dirOf(`"a":` + entry("valref", `[]`)), "dir: a:valref:count", false},
	{"valref bad ref", dirOf(`"a":` + entry("valref", `["`+ref1+`","sha1-xyz"]`)), "dir: a:valref:blobref", false},
	{"valref number", dirOf(`"a":` + entry("valref", `[1]`)), "dir: a:valref:blobref", false},
	{"valref string", dirOf(`"a":` + entry("valref", `"x"`)), "dir: a:valref:data", false},
	{"val object", dirOf(`"a":` + entry("val", `{"x":{},"y":3}`)), "dir: a:val:data", false},
	{"dir array", dirOf(`"a":` + entry("dir", `[]`)), "dir: a:dir:data", false},
	{"symlink no target", dirOf(`"a":` + entry("symlink", `{"namespace":"x"}`)), "dir: a:symlink:symlink", false},
	{"symlink ns number", dirOf(`"a":` + entry("symlink", `{"namespace":1,"target":"x"}`)), "dir: a:symlink:symlink", false},
	{"entry string", dirOf(`"a":"x","b":` + entry("val", `""`)), "dir: a:unknown:entry b:val:", false},
	{"entry null", dirOf(`"a":null`), "dir: a:unknown:entry", false},
	{"bad in inline", dirOf(`"a":` + dirOf(`"b":3,"c":`+entry("val", `""`)) + `,"d":` + entry("val", `""`)), "dir: a:dir: a.b:unknown:entry a.c:val: d:val:", false},
	{"bad inline keeps entries", dirOf(`"a":{"data":{"c":` + entry("val", `""`) + `},"type":"dir","ver":3}`), "dir: a:dir:version a.c:val:", false},
	{"control in name", dirOf("\"a\nb\":" + entry("val", `""`) + `,"c":` + entry("val", `""`)), "dir: \"a\\nb\":val:json c:val:", false},
	{"bad escape in name", dirOf(`"a\x":` + entry("val", `""`) + `,"c":` + entry("val", `""`)), "dir: a:val:json c:val:", false},
	{"bad UTF-8 in name", dirOf("\"a\xff\":" + entry("val", `""`) + `,"c":` + entry("val", `""`)), "dir: \"a\\xff\":val:utf8 c:val:", false},
	{"bad name in symlink", dirOf(`"a":` + entry("symlink", `{"target":"b","\x":"c"}`)), "dir: a:symlink:json", false},
	{"bad escape", dirOf(`"a":` + entry("val", `"\x"`) + `,"c":` + entry("val", `""`)), "dir: a:val:json c:val:", false},
	{"lone surrogate", dirOf(`"a":` + entry("symlink", `{"target":"\ud800"}`)), "dir: a:symlink:json", false},
	{"NUL escape", dirOf(`"a":` + entry("symlink", `{"target":"\u0000"}`)), "dir: a:symlink:json", false},
	{"bad UTF-8", dirOf(`"a":` + entry("symlink", `{"target":"`+"\xff"+`"}`) + `,"c":` + entry("val", `""`)), "dir: a:symlink:utf8 c:val:", false},
	{"huge integer", dirOf(`"a":{"data":"","type":"val","ver":99999999999999999999}`), "dir: a:val:json", false},
	{"huge real", dirOf(`"a":{"data":"","type":"val","ver":1e999}`), "dir: a:val:json", false},
	{"truncated", dirOf(`"a":` + entry("val", `""`) + `,"b":` + entry("val", `""`))[:70], "unknown:json broken a:val: b:unknown:json", false},
	{"truncated symlink", dirOf(`"a":` + entry("val", `""`) + `,"b":` + entry("symlink", `{"target":"x"}`))[:75], "unknown:json broken a:val: b:unknown:json", false},
	{"no comma", dirOf(`"a":` + entry("val", `""`) + ` "b":` + entry("val", `""`)), "unknown:json broken a:val:", false},
	{"trailing comma", dirOf(`"a":` + entry("val", `""`) + `,`), "unknown:json broken a:val:", false},
	{"trailing text", dirOf(``) + "x", "dir:json broken", false},
	{"trailing NUL", dirOf(``) + "\x00", "dir:json broken", false},
	{"empty text", "", "unknown:json broken", false},
	{"garbage", "garbage", "unknown:json broken", false},
	{"empty object", "{}", "unknown:keys", false},
	{"array", "[]", "unknown:json broken", false},
	{"not a dir", entry("val", `""`), "val:not-dir", false},
	{"leading zero", dirOf(`"a":{"data":"","type":"val","ver":01}`), "unknown:json broken a:val:json", false},
	{"fault in hidden entry", dirOf(`"a":` + entry("val", `"\x"`) + `,"a":` + entry("val", `""`)), "dir:json a:val:", false},
}

func TestRules(t *testing.T) {
	var s Scanner
	for _, c := range ruleCases {
		t.Run(c.name, func(t *testing.T) {
			tree := s.ParseDir([]byte(c.in))
			if got := summary(tree); got != c.want {
				t.Errorf("in   %s\ngot  %s\nwant %s", c.in, got, c.want)
			}
			if tree.Decodable() != c.decodable {
				t.Errorf("Decodable = %v", tree.Decodable())
			}
			for i := -1; i < len(tree.Entries); i++ {
				if err := tree.Err(i); err != nil && (err.Detail == "" || err.Offset > len(c.in)) {
					t.Errorf("entry %d: error without detail or with offset behind the text: %#v", i, err)
				}
			}
		})
	}
}

func nested(levels int) string {
	return strings.Repeat(`{"data":{"d":`, levels) + dirOf(``) + strings.Repeat(`},"type":"dir","ver":1}`, levels)
}

func TestDepth(t *testing.T) {
	var s Scanner
	// Level n has its object at depth 2n+1 and the strings in it at 2n+2.
	if tree := s.ParseDir([]byte(nested(1023))); !tree.Decodable() || len(tree.Entries) != 1023 {
		t.Errorf("1023 inline levels: %v, %d entries", tree.Err(-1), len(tree.Entries))
	}
	if tree := s.ParseDir([]byte(nested(1024))); tree.Decodable() || tree.Root.Rule != RuleDepth {
		t.Errorf("1024 inline levels: rule %s", tree.Root.Rule)
	}
	deep := dirOf(`"a":` + strings.Repeat("[", 1<<20))
	if tree := s.ParseDir([]byte(deep)); tree.Root.Rule != RuleDepth {
		t.Errorf("2^20 brackets: rule %s", tree.Root.Rule)
	}
}

func TestBadEntriesAreBounded(t *testing.T) {
	in := dirOf(strings.Repeat(`"":0,`, MaxBadEntries+1000) + `"good":` + entry("val", `""`))
	var s Scanner
	tree := s.ParseDir([]byte(in))
	if tree.Decodable() || tree.BadOmitted != 1000 {
		t.Errorf("decodable %v, omitted %d", tree.Decodable(), tree.BadOmitted)
	}
	if last := tree.Entries[len(tree.Entries)-1]; string(last.Name) != "good" || !last.Good() {
		t.Errorf("the good entry at the end is lost: %s", last.Name)
	}
}

func TestSymlinksAreNoBadEntries(t *testing.T) {
	link := entry("symlink", `{"target":"b"}`)
	in := dirOf(strings.Repeat(`"l":`+link+`,`, MaxBadEntries+10) + `"bad":3,"z":` + link)
	var s Scanner
	tree := s.ParseDir([]byte(in))
	if got := summary(tree); got != "dir: l:symlink: bad:unknown:entry z:symlink:" || tree.BadOmitted != 0 {
		t.Errorf("%s, %d omitted", got, tree.BadOmitted)
	}
}

func TestAccessors(t *testing.T) {
	in := dirOf(`"\u00e9\n":` + entry("valref", `["`+ref1+`", "`+ref2+`"]`) +
		`,"l":` + entry("symlink", `{"target":"a\"b","namespace":""}`) + `,"v":` + entry("val", `"aGVsbG8="`))
	var s Scanner
	tree := s.ParseDir([]byte(in))
	if tree.Rejected+tree.Tolerated != 0 || len(tree.Entries) != 3 {
		t.Fatal(summary(tree))
	}
	e := &tree.Entries[0]
	if string(e.Name) != "é\n" || e.Count != 2 || e.Ref.String() != ref1 {
		t.Errorf("entry 0: %q %d %s", e.Name, e.Count, e.Ref)
	}
	refs := e.AppendRefs(nil)
	if len(refs) != 2 || refs[0].String() != ref1 || refs[1].String() != ref2 {
		t.Errorf("refs: %v", refs)
	}
	target, ns, hasNS, ok := tree.Entries[1].Symlink()
	if target != `a"b` || ns != "" || !hasNS || !ok {
		t.Errorf("symlink: %q %q %v %v", target, ns, hasNS, ok)
	}
	v, err := tree.Entries[2].Value()
	if err != nil || string(v) != "hello" {
		t.Errorf("value: %q %v", v, err)
	}
	if _, err := tree.Entries[1].Value(); err == nil {
		t.Error("Value of a symlink succeeds")
	}
}

func TestEachRefSkipsBadElements(t *testing.T) {
	in := dirOf(`"a":` + entry("valref", `["`+ref1+`",{"x":[1]},"no","`+ref2+`"]`))
	var s Scanner
	tree := s.ParseDir([]byte(in))
	var got []string
	tree.Entries[0].EachRef(func(i int, r Ref) bool {
		got = append(got, fmt.Sprintf("%d %s", i, r))
		return true
	})
	if want := []string{"0 " + ref1, "3 " + ref2}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if err := tree.Err(0); err.Offset != strings.Index(in, `{"x":[1]}`) {
		t.Errorf("offset %d", err.Offset)
	}
}

func TestDirEdit(t *testing.T) {
	var s Scanner
	in := dirOf(`"z":` + entry("symlink", `{"target":"b","x":1}`) + `,"bad":7,"k":` + dirOf(`"b":`+entry("val", `""`)+`,"a":`+entry("val", `"\u0061GVsbG8="`)))
	d, err := NewDir(s.ParseDir([]byte(in)))
	if err != nil {
		t.Fatal(err)
	}
	r1, _ := ParseRef(ref1)
	dr, err := NewDirref(r1)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Set("m/\x7f\"\x01\t", append([]byte(" "), dr...)); err != nil {
		t.Fatal(err)
	}
	want := dirOf(`"k":` + dirOf(`"a":`+entry("val", `"aGVsbG8="`)+`,"b":`+entry("val", `""`)) +
		`,"m/` + "\x7f" + `\"\u0001\t":` + entry("dirref", `["`+ref1+`"]`) + `,"z":` + entry("symlink", `{"target":"b","x":1}`))
	if got := string(d.Marshal()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !d.Delete("z") || d.Delete("z") || d.Len() != 2 {
		t.Error("Delete")
	}
	for name, raw := range map[string]string{"a.b": entry("val", `""`), "": entry("val", `""`), "\xff": entry("val", `""`),
		"x": `7`, "y": entry("valref", `[]`), "w": dirOf(`"q":1`)} {
		if err := d.Set(name, []byte(raw)); err == nil {
			t.Errorf("Set(%q, %s) succeeds", name, raw)
		}
	}
	if _, err := NewDir(s.Parse([]byte(entry("val", `""`)))); err == nil {
		t.Error("NewDir of a val succeeds")
	}
}

func TestBuilders(t *testing.T) {
	r1, _ := ParseRef(ref1)
	r2, _ := ParseRef(ref2)
	vr, err := NewValref(r1, r2)
	if want := entry("valref", `["`+ref1+`","`+ref2+`"]`); err != nil || string(vr) != want {
		t.Errorf("%s %v", vr, err)
	}
	sl, err := NewSymlink("a.b", "ns", true)
	if want := entry("symlink", `{"namespace":"ns","target":"a.b"}`); err != nil || string(sl) != want {
		t.Errorf("%s %v", sl, err)
	}
	if got := NewVal([]byte("hello")); string(got) != entry("val", `"aGVsbG8="`) {
		t.Errorf("%s", got)
	}
	for _, f := range []func() error{
		func() error { _, err := NewValref(); return err },
		func() error { _, err := NewValref(Ref{}); return err },
		func() error { _, err := NewDirref(Ref{}); return err },
		func() error { _, err := NewSymlink("a\x00", "", false); return err },
	} {
		if f() == nil {
			t.Error("a malformed object was built")
		}
	}
}

func TestPaths(t *testing.T) {
	for in, want := range map[string][]string{"": nil, ".": {}, "a.b": {"a", "b"}, ".a..b.": {"a", "b"}} {
		if got := SplitKey(in); len(got) != len(want) || JoinKey(got) != JoinKey(want) {
			t.Errorf("SplitKey(%q) = %q", in, got)
		}
	}
	for want, path := range map[string][]string{"a.b": {"a", "b"}, `"a.b".c`: {"a.b", "c"}, `""`: {""}, `a/b:c"d.é`: {`a/b:c"d`, "é"}, `"\xff"." x"`: {"\xff", " x"}} {
		got := FormatPath(path)
		if got != want {
			t.Errorf("FormatPath(%q) = %s, want %s", path, got, want)
		}
		if back, err := ParsePath(got); err != nil || !reflect.DeepEqual(back, path) {
			t.Errorf("ParsePath(%s) = %q, %v", got, back, err)
		}
	}
	for want, path := range map[string][]string{"": nil, "a.b": {"a", "b"}, `a."b.c".` + "\x01": {"a", "b.c", "\x01"}, `"".x y`: {"", "x y"},
		`"\"q"."\xff"`: {`"q`, "\xff"}, "a\ufffd": {"a\ufffd"}} {
		if got := FormatKey(path); got != want || !reflect.DeepEqual(NamesOf(got), path) {
			t.Errorf("FormatKey(%q) = %s, want %s; read back %q", path, got, want, NamesOf(got))
		}
	}
	if got := NamesOf(".a..b."); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("NamesOf what Flux accepts: %q", got)
	}
	for _, bad := range []string{"a.", ".a", "a..b", `"a`, `"a"b`} {
		if p, err := ParsePath(bad); err == nil {
			t.Errorf("ParsePath(%q) = %q", bad, p)
		}
	}
}

func TestNoAllocPerEntry(t *testing.T) {
	var buf bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&buf, `,"n%04d":%s`, i, entry("dirref", `["`+ref1+`"]`))
	}
	in := []byte(dirOf(buf.String()[1:]))
	var s Scanner
	s.ParseDir(in)
	if n := testing.AllocsPerRun(20, func() { s.ParseDir(in) }); n != 0 {
		t.Errorf("%v allocations per scan of 1000 entries", n)
	}
}
