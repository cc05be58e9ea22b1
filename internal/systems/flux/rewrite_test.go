package flux

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/format/treeobj"
)

// model is a directory as a map: names to values (string) or directories (model).
type model map[string]any

func drawModel(t *rapid.T, depth int) model {
	m := model{}
	for i := range rapid.IntRange(0, 3).Draw(t, "entries") {
		name := fmt.Sprintf("n%d", i)
		if depth > 0 && rapid.Bool().Draw(t, "directory") {
			m[name] = drawModel(t, depth-1)
		} else {
			m[name] = rapid.StringMatching(`[a-z]{0,4}`).Draw(t, "value")
		}
	}
	return m
}

// object stores the model and returns its tree object; inline tells which directories are kept in their parent.
func (m model) object(s *seedTree, inline func() bool) string {
	var entries []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch v := m[name].(type) {
		case string:
			entries = append(entries, name, s.val(v))
		case model:
			text := v.object(s, inline)
			if !inline() {
				text = s.dirref(s.put(text))
			}
			entries = append(entries, name, text)
		}
	}
	return s.dirText(entries...)
}

// keys lists every key below a model, directories included.
func (m model) keys(prefix string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, prefix+name)
		if sub, ok := m[name].(model); ok {
			out = append(out, sub.keys(prefix+name+".")...)
		}
	}
	return out
}

func (m model) delete(names []string) {
	if len(names) == 1 {
		delete(m, names[0])
	} else if sub, ok := m[names[0]].(model); ok {
		sub.delete(names[1:])
	}
}

// read is the model of a stored directory, from the new blobs and the old ones.
func (w *rewriter) read(t *rapid.T, raw []byte) model {
	var scan treeobj.Scanner
	tree := scan.Parse(raw)
	if tree.Root.Type == treeobj.TypeDirref {
		content, ok := w.blobs[tree.Root.Ref]
		if !ok {
			if content, ok = w.b.get(tree.Root.Ref); !ok {
				t.Fatalf("directory %s is nowhere", tree.Root.Ref)
			}
		}
		return w.read(t, content)
	}
	dir, err := treeobj.NewDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	m := model{}
	for _, name := range dir.Names() {
		sub, _ := dir.Get(name)
		if isDirObject(sub) {
			m[name] = w.read(t, slices.Clone(sub))
			continue
		}
		var inner treeobj.Scanner
		v, err := inner.Parse(sub).Root.Value()
		if err != nil {
			t.Fatal(err)
		}
		m[name] = string(v)
	}
	return m
}

// TestRewriteIsEditing removes random keys of random trees, inline directories among them, and compares with a map.
// Directories with equal content are one object, so only keys of trees whose directories all differ are removed.
func TestRewriteIsEditing(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := drawModel(rt, 4)
		for i, k := range m.keys("") { // a mark makes every directory another object
			at := any(m)
			for _, name := range strings.Split(k, ".") {
				at = at.(model)[name]
			}
			if sub, ok := at.(model); ok {
				sub["mark"] = fmt.Sprint(i)
			}
		}
		s := newSeed(t)
		root := s.put(m.object(s, func() bool { return rapid.IntRange(0, 2).Draw(rt, "inline") == 0 }))
		s.checkpoint(root)
		n++
		path := fmt.Sprintf("%s/store%d", dir, n)
		s.build(path)
		u, err := openUnit(path, options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer u.file.Close()
		if err := u.analyse(context.Background(), fmt.Sprintf("%s/work%d", dir, n), 1); err != nil {
			rt.Fatal(err)
		}
		w := newRewriter(u, treeobj.SHA1)
		for _, key := range m.keys("") {
			if rapid.IntRange(0, 4).Draw(rt, "remove") != 0 {
				continue
			}
			k, raw, ok := w.locate(root, key)
			if !ok || raw == nil {
				rt.Fatalf("%s is not found", key)
			}
			w.set(k, edit{})
			m.delete(strings.Split(key, "."))
		}
		if err := w.seal(context.Background(), root); err != nil {
			rt.Fatal(err)
		}
		got, err := w.rewrite(context.Background(), root)
		if err != nil {
			rt.Fatal(err)
		}
		raw, err := treeobj.NewDirref(got)
		if err != nil {
			rt.Fatal(err)
		}
		if have := w.read(rt, raw); fmt.Sprint(have) != fmt.Sprint(m) {
			rt.Fatalf("have %v\nwant %v", have, m)
		}
	})
}
