package treeobj

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Dir is a directory object for editing: names and the JSON text of the tree
// object behind each name. The zero value is an empty directory.
type Dir struct {
	m map[string][]byte
}

// NewDir models a scanned directory: the direct entries of the blob's own
// object that Flux can decode. Malformed entries are left out; the caller
// finds them in the Tree. Texts are copied.
func NewDir(t *Tree) (*Dir, error) {
	if !t.IsDir() {
		return nil, fmt.Errorf("edit a directory object: %w", notDir(t))
	}
	d := &Dir{m: make(map[string][]byte, len(t.Entries))}
	bad := badInside(t)
	c := newCanon(t)
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Depth != 0 || e.Rule.FluxRejects() || bad[int32(i)] {
			continue
		}
		raw, err := c.append(nil, i)
		if err != nil {
			return nil, err
		}
		d.m[string(e.Name)] = raw
	}
	return d, nil
}

func notDir(t *Tree) error {
	if err := t.Err(-1); err != nil {
		return err
	}
	return &InvalidError{Rule: RuleNotDir, Detail: "the object is a " + t.Root.Type.String() + ", not a dir"}
}

// badInside tells the inline dirs that hold an entry Flux rejects.
func badInside(t *Tree) map[int32]bool {
	bad := map[int32]bool{}
	for i := range t.Entries {
		if !t.Entries[i].Rule.FluxRejects() {
			continue
		}
		for p := t.Entries[i].Parent; p >= 0 && !bad[p]; p = t.Entries[p].Parent {
			bad[p] = true
		}
	}
	return bad
}

// Len is the number of entries.
func (d *Dir) Len() int { return len(d.m) }

// Names lists the entries in byte order.
func (d *Dir) Names() []string { return slices.Sorted(maps.Keys(d.m)) }

// Get is the JSON text of an entry; ok is false if there is none. The text
// must not be changed.
func (d *Dir) Get(name string) (raw []byte, ok bool) {
	raw, ok = d.m[name]
	return raw, ok
}

// Delete removes an entry and reports whether it was there.
func (d *Dir) Delete(name string) bool {
	_, ok := d.m[name]
	delete(d.m, name)
	return ok
}

// Set adds or replaces an entry. raw must be a tree object that Flux decodes;
// it is stored in canonical form. The name must be UTF-8 without NUL. A name
// that is empty or holds a dot is refused unless it is there already: no KVS
// key could reach the entry.
func (d *Dir) Set(name string, raw []byte) error {
	if err := checkText("entry name", name); err != nil {
		return err
	}
	if _, there := d.m[name]; !there && (name == "" || strings.IndexByte(name, '.') >= 0) {
		return fmt.Errorf("entry name %q is empty or holds a dot", name)
	}
	var s Scanner
	t := s.Parse(raw)
	if !t.Decodable() {
		return fmt.Errorf("set entry %q: %w", name, firstRejected(t))
	}
	text, err := newCanon(t).append(nil, -1)
	if err != nil {
		return fmt.Errorf("set entry %q: %w", name, err)
	}
	if d.m == nil {
		d.m = map[string][]byte{}
	}
	d.m[name] = text
	return nil
}

func firstRejected(t *Tree) error {
	for i := -1; i < len(t.Entries); i++ {
		if err := t.Err(i); err != nil && err.Rule.FluxRejects() {
			return err
		}
	}
	return &InvalidError{Rule: RuleEntry, Detail: "too many malformed entries"}
}

// Marshal is the directory as Flux would store it: compact JSON with the names
// in byte order and no newline at the end.
func (d *Dir) Marshal() []byte {
	dst := []byte(`{"data":{`)
	for i, name := range d.Names() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, name), ':')
		dst = append(dst, d.m[name]...)
	}
	return finishObject(append(dst, '}'), TypeDir)
}

// canon writes entries of a Tree as Flux would write them.
type canon struct {
	t   *Tree
	end []int32 // for each entry the index behind its last descendant
}

func newCanon(t *Tree) *canon {
	c := &canon{t: t, end: make([]int32, len(t.Entries))}
	for i := len(t.Entries) - 1; i >= 0; i-- {
		c.end[i] = max(c.end[i], int32(i)+1)
		if p := t.Entries[i].Parent; p >= 0 {
			c.end[p] = max(c.end[p], c.end[i])
		}
	}
	return c
}

// children lists the direct entries of entry i (-1: root) by name.
func (c *canon) children(i int) []int {
	stop := len(c.t.Entries)
	if i >= 0 {
		stop = int(c.end[i])
	}
	var kids []int
	for j := i + 1; j < stop; j = int(c.end[j]) {
		kids = append(kids, j)
	}
	slices.SortFunc(kids, func(a, b int) int {
		return bytes.Compare(c.t.Entries[a].Name, c.t.Entries[b].Name)
	})
	return kids
}

// append writes entry i (-1: root). Entries that break a rule Flux does not
// enforce are copied as they are, so that an edit of the directory does not
// change its other entries.
func (c *canon) append(dst []byte, i int) ([]byte, error) {
	e := &c.t.Root
	if i >= 0 {
		e = &c.t.Entries[i]
	}
	if e.Rule != RuleNone {
		return append(dst, e.Raw...), nil
	}
	switch e.Type {
	case TypeVal:
		v, err := e.Value()
		if err != nil {
			return nil, err
		}
		return append(dst, NewVal(v)...), nil
	case TypeValref, TypeDirref:
		return append(dst, newRefs(e.Type, e.AppendRefs(nil))...), nil
	case TypeSymlink:
		target, ns, hasNS, _ := e.Symlink()
		raw, err := NewSymlink(target, ns, hasNS)
		return append(dst, raw...), err
	}
	dst = append(dst, `{"data":{`...)
	for n, j := range c.children(i) {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, string(c.t.Entries[j].Name)), ':')
		var err error
		if dst, err = c.append(dst, j); err != nil {
			return nil, err
		}
	}
	return finishObject(append(dst, '}'), TypeDir), nil
}
