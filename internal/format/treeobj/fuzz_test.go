package treeobj

import (
	"bytes"
	"reflect"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

func FuzzParse(f *testing.F) {
	for _, c := range ruleCases {
		f.Add([]byte(c.in))
	}
	f.Add([]byte(nested(4)))
	f.Fuzz(func(t *testing.T, in []byte) {
		var s Scanner
		tree := s.ParseDir(in)
		for i := -1; i < len(tree.Entries); i++ {
			e := &tree.Root
			if i >= 0 {
				e = &tree.Entries[i]
				if int(e.Parent) >= i || (e.Parent < 0) != (e.Depth == 0) || len(tree.Path(i)) != int(e.Depth)+1 {
					t.Fatalf("entry %d: parent %d, depth %d", i, e.Parent, e.Depth)
				}
			}
			n := 0
			e.EachRef(func(int, Ref) bool { n++; return true })
			if e.Good() && (e.Type == TypeValref || e.Type == TypeDirref) && n != int(e.Count) {
				t.Fatalf("entry %d: %d refs, Count %d", i, n, e.Count)
			}
			if _, err := e.Value(); (err == nil) != (e.Type == TypeVal && e.Good()) && !e.Rule.FluxRejects() && e.Rule != RuleVersionRange {
				t.Fatalf("entry %d (%s, rule %s): Value error %v", i, e.Type, e.Rule, err)
			}
			if _, _, _, ok := e.Symlink(); ok != (e.Type == TypeSymlink && !e.Rule.FluxRejects()) {
				t.Fatalf("entry %d (%s, rule %s): Symlink %v", i, e.Type, e.Rule, ok)
			}
		}
		if !tree.IsDir() {
			return
		}
		d, err := NewDir(tree)
		if err != nil {
			t.Fatal(err)
		}
		decodable := tree.Decodable()
		out := d.Marshal()
		tree = s.ParseDir(out)
		if !tree.Decodable() {
			t.Fatalf("written %q is not decodable: %v", out, firstRejected(tree))
		}
		if again, err := NewDir(tree); err != nil || decodable && !bytes.Equal(again.Marshal(), out) {
			t.Fatalf("not stable: %q (%v)", out, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	f.Add(`a."b.c".d`)
	f.Add(`"\x00".""`)
	f.Fuzz(func(t *testing.T, in string) {
		p, err := ParsePath(in)
		if err != nil {
			return
		}
		if back, err := ParsePath(FormatPath(p)); err != nil || !reflect.DeepEqual(back, p) {
			t.Fatalf("%q -> %q -> %q, %v", in, p, back, err)
		}
		if back := NamesOf(FormatKey(p)); !reflect.DeepEqual(back, p) {
			t.Fatalf("%q -> %q -> %s -> %q", in, p, FormatKey(p), back)
		}
	})
}

func genRef() *rapid.Generator[Ref] {
	return rapid.Custom(func(t *rapid.T) Ref {
		return Hash(rapid.SampledFrom([]Alg{SHA1, SHA256}).Draw(t, "alg"), rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
	})
}

// genObject draws a tree object; depth bounds inline directories.
func genObject(depth int) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		text := rapid.StringMatching(`[\x01-\x{20}"\\/a-c\x7f\x{e9}\x{1f600}]*`)
		kinds := 4
		if depth > 0 {
			kinds = 5
		}
		var raw []byte
		var err error
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return NewVal(rapid.SliceOf(rapid.Byte()).Draw(t, "val"))
		case 1:
			raw, err = NewValref(rapid.SliceOfN(genRef(), 1, 5).Draw(t, "refs")...)
		case 2:
			raw, err = NewDirref(genRef().Draw(t, "ref"))
		case 3:
			raw, err = NewSymlink(text.Draw(t, "target"), text.Draw(t, "ns"), rapid.Bool().Draw(t, "hasNS"))
		default:
			return genDir(depth-1).Draw(t, "dir").Marshal()
		}
		if err != nil {
			t.Fatal(err)
		}
		return raw
	})
}

func genDir(depth int) *rapid.Generator[*Dir] {
	return rapid.Custom(func(t *rapid.T) *Dir {
		d := &Dir{}
		name := rapid.StringMatching(`[\x01-\x{20}"\\/a-d\x7f\x{e9}]{1,4}`)
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			if err := d.Set(name.Draw(t, "name"), genObject(depth).Draw(t, "entry")); err != nil {
				t.Fatal(err)
			}
		}
		return d
	})
}

func TestMarshalParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDir(3).Draw(t, "dir")
		out := d.Marshal()
		var s Scanner
		tree := s.ParseDir(out)
		if !tree.Decodable() || tree.Tolerated > 0 {
			t.Fatalf("%q: %v", out, firstRejected(tree))
		}
		back, err := NewDir(tree)
		if err != nil || !reflect.DeepEqual(back.Names(), d.Names()) || !bytes.Equal(back.Marshal(), out) {
			t.Fatalf("read back differently: %q %v", out, err)
		}
	})
}

func TestRefOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		refs := rapid.SliceOf(genRef()).Draw(t, "refs")
		sort.Slice(refs, func(i, j int) bool { return refs[i].Compare(refs[j]) < 0 })
		for i := 1; i < len(refs); i++ {
			if refs[i-1].String() > refs[i].String() {
				t.Fatalf("%s before %s", refs[i-1], refs[i])
			}
			if (refs[i-1].Compare(refs[i]) == 0) != (refs[i-1] == refs[i]) {
				t.Fatal("Compare and == disagree")
			}
		}
	})
}
