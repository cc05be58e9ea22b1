package flux

import (
	"slices"
	"testing"

	"fettle/internal/format/treeobj"
)

// TestNamesThatNoKeyReaches repairs entries whose names are empty, hold dots or begin with a quote, also of directories and
// within inline ones, and keeps their content under names that a key reaches.
func TestNamesThatNoKeyReaches(t *testing.T) {
	keys := []string{`data."a.b"`, `data.""`, `data."\"q"`, `data."sub.dir".log`, `data.inline."x.y"`, `data.plain`}
	slices.Sort(keys)
	damaged := func(t *testing.T) *bench {
		b := newBench(t)
		s := newSeed(t)
		one, three := s.put("one\n"), s.put("three\n")
		tree := func(value string) treeobj.Ref {
			return s.put(s.dirText("data", s.dir("a.b", value, "", value, `"q`, value, "plain", value,
				"sub.dir", s.dir("log", value), "inline", s.dirText("x.y", value, "ok", s.val("fine")))))
		}
		s.checkpoint(tree(s.valref(one)))
		s.checkpoint(tree(s.valref(one, s.lose("two\n"), three)))
		s.build(b.path)
		return b
	}
	for action, want := range map[string]map[string]string{
		"quarantine": {"lost+found.data.a%2Eb": "one\nthree\n", "lost+found.data.~empty": "one\nthree\n", `lost+found.data."q`: "one\nthree\n",
			"lost+found.data.sub%2Edir.log": "one\nthree\n", "lost+found.data.inline.x%2Ey": "one\nthree\n", "lost+found.data.plain": "one\nthree\n",
			"data.inline.ok": "fine", "data.plain": "-"},
		"unlink":  {"lost+found": "-", "data.inline.ok": "fine", "data.plain": "-"},
		"restore": {"lost+found": "-", "data.inline.ok": "fine", "data.plain": "one\n"},
	} {
		t.Run(action, func(t *testing.T) {
			b := damaged(t)
			original := b.digest()
			fs := b.check()
			var found []string
			for i := range fs {
				found = append(found, fs[i].PathOr("none"))
			}
			slices.Sort(found)
			if !slices.Equal(found, keys) {
				t.Fatalf("found %q, want %q", found, keys)
			}
			b.makePlan(fs, "flux/*="+action)
			b.apply()
			accept(t, b.path).holds(want)
			if left := b.check(); len(left) != 0 {
				t.Errorf("left: %q", briefs(left))
			}
			b.undo()
			if b.digest().Content != original.Content {
				t.Error("undo gives other bytes")
			}
		})
	}
}
