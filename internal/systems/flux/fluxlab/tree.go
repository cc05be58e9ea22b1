package fluxlab

import (
	"encoding/base64"
	"slices"
	"strings"

	"fettle/internal/format/treeobj"
)

// tree is the part of a namespace that is held in memory while it is being written. A commit stores what changed since
// the last one and leaves the old versions of directories behind in the store, as every commit of Flux does.
type tree struct {
	b    *blobs
	root *node
	seq  int64 // number of commits
}

func newTree(b *blobs) *tree { return &tree{b: b, root: &node{dirty: true}} }

// node is a directory.
type node struct {
	ents  []ent // in byte order of names
	dirty bool
}

// ent is a directory entry. With sub it is a directory in memory; otherwise raw is its tree object, or refs its blobs.
type ent struct {
	name string
	sub  *node
	raw  []byte
	refs []treeobj.Ref
	todo [][]byte // blobs that the next commit stores
}

// at finds the entry for name, making it if need be.
func (n *node) at(name string) *ent {
	i, ok := slices.BinarySearchFunc(n.ents, name, func(e ent, s string) int { return strings.Compare(e.name, s) })
	if !ok {
		n.ents = slices.Insert(n.ents, i, ent{name: name})
	}
	return &n.ents[i]
}

// open finds the entry at path and marks every directory on the way as changed.
func (t *tree) open(path []string) *ent {
	n := t.root
	for _, name := range path[:len(path)-1] {
		n.dirty = true
		e := n.at(name)
		if e.sub == nil {
			if e.raw != nil || e.refs != nil {
				panic("fluxlab: " + name + " is no directory in memory any more")
			}
			e.sub = &node{}
		}
		n = e.sub
	}
	n.dirty = true
	return n.at(path[len(path)-1])
}

// put sets a key to content: inline when it is short, a blob otherwise.
func (t *tree) put(path []string, content []byte) {
	e := t.open(path)
	if len(content) <= treeobj.InlineLimit {
		*e = ent{name: e.name, raw: val(content)}
		return
	}
	*e = ent{name: e.name, refs: []treeobj.Ref{t.b.ref(content)}, todo: [][]byte{content}}
}

// append adds one blob to a key, as flux kvs put --append does.
func (t *tree) append(path []string, content []byte) {
	e := t.open(path)
	e.raw = nil
	e.refs = append(e.refs, t.b.ref(content))
	e.todo = append(e.todo, content)
}

// set gives a key a tree object as it is.
func (t *tree) set(path []string, raw []byte) {
	e := t.open(path)
	*e = ent{name: e.name, raw: raw}
}

// mkdir makes an empty directory.
func (t *tree) mkdir(path []string) {
	e := t.open(path)
	*e = ent{name: e.name, sub: &node{dirty: true}}
}

// freeze forgets the content of a directory that will not change any more. It must have been committed.
func (t *tree) freeze(path []string) {
	n := t.root
	for _, name := range path[:len(path)-1] {
		n = n.at(name).sub
	}
	e := n.at(path[len(path)-1])
	if e.sub != nil && !e.sub.dirty {
		e.sub = nil
	}
}

// commit stores every changed directory and new value, a directory before what is in it, and returns the new root.
func (t *tree) commit() treeobj.Ref {
	var out [][]byte
	ref := t.b.collect(t.root, &out)
	for _, content := range out {
		t.b.put(content)
	}
	t.seq++
	return ref
}

// collect serializes n and everything changed below it into out.
func (b *blobs) collect(n *node, out *[][]byte) treeobj.Ref {
	slot := len(*out)
	*out = append(*out, nil)
	text := []byte(`{"data":{`)
	for i := range n.ents {
		e := &n.ents[i]
		switch {
		case e.sub != nil && (e.sub.dirty || e.raw == nil):
			e.raw = reference("dirref", b.collect(e.sub, out))
		case len(e.todo) > 0:
			*out = append(*out, e.todo...)
			e.todo = nil
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(treeobj.AppendString(text, e.name), ':')
		if e.sub == nil && e.refs != nil {
			text = append(text, reference("valref", e.refs...)...)
		} else {
			text = append(text, e.raw...)
		}
	}
	n.dirty = false
	text = append(text, `},"type":"dir","ver":1}`...)
	(*out)[slot] = text
	return b.ref(text)
}

// val is the tree object of an inline value.
func val(content []byte) []byte {
	return []byte(`{"data":"` + base64.StdEncoding.EncodeToString(content) + `","type":"val","ver":1}`)
}

// reference is the tree object of a valref or dirref.
func reference(kind string, refs ...treeobj.Ref) []byte {
	out := append(make([]byte, 0, 40+48*len(refs)), `{"data":[`...)
	for i, r := range refs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), r.String()...), '"')
	}
	return append(append(append(out, `],"type":"`...), kind...), `","ver":1}`...)
}

// symlink is the tree object of a symbolic link; ns may be empty.
func symlink(ns, target string) []byte {
	out := []byte(`{"data":{`)
	if ns != "" {
		out = append(treeobj.AppendString(append(out, `"namespace":`...), ns), ',')
	}
	out = treeobj.AppendString(append(out, `"target":`...), target)
	return append(out, `},"type":"symlink","ver":1}`...)
}
