package flux

import (
	"fmt"
	"sort"
	"strings"

	"fettle/internal/format/treeobj"
)

// additions is a tree of keys that are to be added to an existing tree, under names that are free.
type additions struct {
	leaf []byte // a tree object
	sub  map[string]*additions
}

// at returns the node for a path, making it.
func (d *additions) at(names []string) *additions {
	for _, name := range names {
		name = writable(name)
		if d.sub == nil {
			d.sub = map[string]*additions{}
		}
		if d.sub[name] == nil {
			d.sub[name] = &additions{}
		}
		d = d.sub[name]
	}
	return d
}

// lostNames is where a key is kept in lost+found, as names that Flux can reach.
func lostNames(key string) []string {
	names := append([]string{lostFound}, treeobj.NamesOf(key)...)
	for i, name := range names {
		names[i] = writable(name)
	}
	return names
}

// writable is name, with what Flux cannot read in a name replaced: what is kept of a malformed entry must not make a
// directory that is malformed as well, and must not have a name that no key reaches. Flux cuts keys at dots.
func writable(name string) string {
	if name == "" {
		return "~empty"
	}
	return strings.NewReplacer("\x00", "\ufffd", ".", "%2E").Replace(strings.ToValidUTF8(name, "\ufffd"))
}

// graft adds the tree to the directory that raw stands for (nil: none yet) and returns the tree object of the result.
// What is there is never overwritten: a name that is taken gets a suffix.
func (w *rewriter) graft(raw []byte, add *additions) ([]byte, error) {
	if add.leaf != nil && len(add.sub) == 0 {
		return add.leaf, nil
	}
	leaf := add.leaf
	if leaf != nil && isDirObject(leaf) {
		raw, leaf = leaf, nil // a directory that is kept, and keys that belong into it
	}
	dir, err := w.openForAdding(raw)
	if err != nil {
		return nil, err
	}
	if leaf != nil { // a key and keys below it are both to be kept: the key moves beside them
		if err := dir.Set(freeName(dir, add, "~value"), leaf); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(add.sub))
	for name := range add.sub {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		sub := add.sub[name]
		have, taken := dir.Get(name)
		if taken && (sub.leaf != nil || !isDirObject(have)) {
			name, have = freeName(dir, add, name), nil
		}
		out, err := w.graft(have, sub)
		if err != nil {
			return nil, err
		}
		if err := dir.Set(name, out); err != nil {
			return nil, err
		}
	}
	return treeobj.NewDirref(w.store(dir.Marshal()))
}

// openForAdding loads the directory that raw stands for; one that cannot be read counts as empty, and the caller has
// already seen to it that it is not referred to any more.
func (w *rewriter) openForAdding(raw []byte) (*treeobj.Dir, error) {
	if raw == nil {
		return &treeobj.Dir{}, nil
	}
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	if t.Root.Type == treeobj.TypeDirref {
		content, ok := w.blobs[t.Root.Ref]
		if !ok {
			content, ok = w.b.get(t.Root.Ref)
		}
		if !ok {
			return &treeobj.Dir{}, nil
		}
		t = scan.ParseDir(content)
	}
	return treeobj.NewDir(t)
}

func isDirObject(raw []byte) bool {
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	return t.Root.Type == treeobj.TypeDirref || t.Root.Type == treeobj.TypeDir
}

func freeName(dir *treeobj.Dir, add *additions, name string) string {
	for n := 2; ; n++ {
		try := fmt.Sprintf("%s~%d", name, n)
		if _, taken := dir.Get(try); !taken && add.sub[try] == nil {
			return try
		}
	}
}
