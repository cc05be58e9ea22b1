package flux

import (
	"errors"
	"fmt"

	"fettle/internal/format/treeobj"
)

// kvs reads keys of one tree, as the flux command would, from a store that may be damaged.
type kvs struct {
	u    *unit
	root treeobj.Ref
	f    *versionFinder // its resolver
}

func newKVS(u *unit, root treeobj.Ref) *kvs {
	b := newBlobReader(u)
	return &kvs{u: u, root: root, f: &versionFinder{u: u, b: b, dirs: newDirCache(b)}}
}

// errNoKey is returned for keys that the tree does not have, or that lie below something unreadable.
var errNoKey = errors.New("no such key, or it lies below a directory that cannot be read")

// entry returns the tree object of a key ("" is the root itself).
func (k *kvs) entry(key string) ([]byte, error) {
	if key == "" {
		return treeobj.NewDirref(k.root)
	}
	raw, _, ok := k.f.resolve(k.root, treeobj.SplitKey(key))
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, errNoKey)
	}
	return append([]byte(nil), raw...), nil
}

// value returns the whole content of a val or valref; false if the key is missing, no value, or not whole.
func (k *kvs) value(key string) ([]byte, bool) {
	raw, err := k.entry(key)
	if err != nil {
		return nil, false
	}
	content, bad := k.content(raw)
	return content, len(bad) == 0 && content != nil
}

// content reads what is readable of a val or valref and says which indexes are not. A tree object of another type has
// none (nil).
func (k *kvs) content(raw []byte) (content []byte, bad []int) {
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	switch t.Root.Type {
	case treeobj.TypeVal:
		v, err := t.Root.Value()
		if err != nil {
			return nil, []int{0}
		}
		return append([]byte{}, v...), nil
	case treeobj.TypeValref:
		content = []byte{}
		t.Root.EachRef(func(i int, r treeobj.Ref) bool {
			if part, ok := k.f.b.get(r); ok {
				content = append(content, part...)
			} else {
				bad = append(bad, i)
			}
			return true
		})
		return content, bad
	}
	return nil, nil
}

// child is one name in a directory.
type child struct {
	name string
	typ  treeobj.Type
	raw  []byte
	rule treeobj.Rule
}

// list returns the entries of the directory that a tree object stands for (a dirref, or an inline dir).
func (k *kvs) list(raw []byte) ([]child, error) {
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	switch t.Root.Type {
	case treeobj.TypeDir:
	case treeobj.TypeDirref:
		ref := t.Root.Ref
		content, ok := k.f.b.get(ref)
		if !ok {
			return nil, fmt.Errorf("directory object %s is lost or damaged", ref)
		}
		if t = scan.ParseDir(content); !t.IsDir() {
			return nil, fmt.Errorf("%s is no directory object: %w", ref, t.Err(-1))
		}
	default:
		return nil, fmt.Errorf("a %s is no directory", t.Root.Type)
	}
	var out []child
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Parent == -1 {
			out = append(out, child{name: string(e.Name), typ: e.Type, raw: append([]byte(nil), e.Raw...), rule: e.Rule})
		}
	}
	return out, nil
}
