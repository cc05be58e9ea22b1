package flux

import (
	"context"
	"fmt"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
)

// olderVersion is a place where an intact earlier version of a damaged key was found.
type olderVersion struct {
	From  string  `json:"from"` // "checkpt_v2 row 7", "unreferenced root sha1-.."
	Says  string  `json:"says"`
	Root  string  `json:"root"`
	Age   float64 `json:"age_s,omitempty"` // seconds between that version's root and the current one
	keys  int64   // below it, when it is a directory
	Entry []byte  `json:"-"` // the tree object of the key in that version
}

// versionFinder looks keys up in other trees than the current one.
type versionFinder struct {
	u       *unit
	current treeobj.Ref
	b       *blobReader
	dirs    *dirCache
	roots   []chosenRoot // other checkpoint rows, newest first
	orphans []chosenRoot // roots among unreferenced blobs, newest first; found on first use
	looked  bool
	good    map[treeobj.Ref]goodTree // subtrees already judged
}

// goodTree is the verdict about a subtree.
type goodTree struct {
	ok   bool
	keys int64
}

// maxGoodMemo bounds the memory of judged subtrees.
const maxGoodMemo = 1 << 16

func newVersionFinder(u *unit, current treeobj.Ref) *versionFinder {
	b := newBlobReader(u)
	f := &versionFinder{u: u, current: current, b: b, dirs: newDirCache(b), good: map[treeobj.Ref]goodTree{}}
	for _, r := range u.distinctRoots() {
		if r.ref != current && len(f.roots) < maxOrphanRoots {
			f.roots = append(f.roots, r)
		}
	}
	return f
}

// inCheckpoints returns the newest intact version of key in the trees of the other checkpoints, nil if there is none.
func (f *versionFinder) inCheckpoints(ctx context.Context, key string) (*olderVersion, error) {
	return f.in(ctx, f.roots, key)
}

// anywhere looks in the checkpoints first and then in the roots among unreferenced blobs.
func (f *versionFinder) anywhere(ctx context.Context, key string) (*olderVersion, error) {
	v, err := f.in(ctx, f.roots, key)
	if v != nil || err != nil {
		return v, err
	}
	if !f.looked {
		f.looked = true
		found, err := f.u.recentRoots(ctx)
		if err != nil {
			return nil, err
		}
		for i := range found {
			if found[i].ref != f.current {
				f.orphans = append(f.orphans, chosenRoot{ref: found[i].ref, orphan: &found[i]})
			}
		}
	}
	return f.in(ctx, f.orphans, key)
}

func (f *versionFinder) in(ctx context.Context, roots []chosenRoot, key string) (*olderVersion, error) {
	names := treeobj.NamesOf(key)
	var last treeobj.Ref
	for _, root := range roots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raw, ref, ok := f.resolve(root.ref, names)
		if !ok || !ref.IsZero() && ref == last {
			continue // not there, or the same bad directory as in the tree before
		}
		last = ref
		good, err := f.entryGood(ctx, raw)
		if err != nil {
			return nil, err
		}
		if !good {
			continue
		}
		v := &olderVersion{From: root.label(), Root: root.ref.String(), Entry: append([]byte(nil), raw...), Says: "has an intact version of the key"}
		if g, ok := f.good[ref]; ok && !ref.IsZero() {
			v.keys = g.keys
			v.Says = "has an intact version of the directory with " + say.Count(int(g.keys), "key")
		}
		if cur := f.u.current(); cur != nil && !root.when().IsZero() && !cur.when().IsZero() {
			age := cur.when().Sub(root.when())
			v.Age = age.Seconds()
			v.Says += fmt.Sprintf(", %s older than the newest checkpoint", roundAge(age))
		}
		return v, nil
	}
	return nil, nil
}

// resolve follows names from root through good directories. ref is set when the entry is a dirref.
func (f *versionFinder) resolve(root treeobj.Ref, names []string) (raw []byte, ref treeobj.Ref, ok bool) {
	at := root
	for i := 0; i < len(names); {
		d := f.dirs.get(at)
		if d == nil {
			return nil, ref, false
		}
		t := d.tree
		parent := int32(-1)
		next := -1
		// Inline directories are followed within the blob.
		for ; i < len(names); i++ {
			next = d.find(parent, names[i])
			if next < 0 || t.Entries[next].Rule != treeobj.RuleNone {
				return nil, ref, false
			}
			if t.Entries[next].Type != treeobj.TypeDir {
				i++
				break
			}
			parent = int32(next)
		}
		e := &t.Entries[next]
		if i == len(names) {
			if e.Type == treeobj.TypeDirref {
				ref = e.Ref
			}
			return e.Raw, ref, true
		}
		if e.Type != treeobj.TypeDirref {
			return nil, ref, false
		}
		at = e.Ref
	}
	return nil, ref, false
}

func findEntry(t *treeobj.Tree, parent int32, name string) int {
	for i := range t.Entries {
		if t.Entries[i].Parent == parent && string(t.Entries[i].Name) == name {
			return i
		}
	}
	return -1
}

// entryGood tells whether everything that a tree object refers to is there and good.
func (f *versionFinder) entryGood(ctx context.Context, raw []byte) (bool, error) {
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	if t.Broken || t.Root.Rule != treeobj.RuleNone {
		return false, nil
	}
	for i := -1; i < len(t.Entries); i++ {
		e := &t.Root
		if i >= 0 {
			e = &t.Entries[i]
		}
		if e.Rule != treeobj.RuleNone {
			return false, nil
		}
		ok := true
		var err error
		e.EachRef(func(_ int, r treeobj.Ref) bool {
			n := f.u.idx.find(r.Sum())
			ok = n >= 0 && f.u.idx.at(n).usable()
			if ok && e.Type == treeobj.TypeDirref {
				ok, err = f.subtreeGood(ctx, r)
			}
			return ok && err == nil
		})
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (f *versionFinder) subtreeGood(ctx context.Context, ref treeobj.Ref) (bool, error) {
	if g, ok := f.good[ref]; ok {
		return g.ok, nil
	}
	counts, ok, err := f.u.survey(ctx, nil, ref, anyDamage)
	if err == nil && len(f.good) < maxGoodMemo {
		f.good[ref] = goodTree{ok, counts.Keys}
	}
	return ok, err
}

// cleanShutdown looks at the last event of admin.eventlog in the current tree: finish after a clean shutdown.
func (u *unit) cleanShutdown() (clean, known bool) {
	if len(u.roots) == 0 {
		return false, false
	}
	content, ok := newKVS(u, u.roots[0].ref).value("admin.eventlog")
	if !ok {
		return false, false
	}
	s, _ := eventlog.ShutdownOf(eventlog.Parse(content).Entries)
	return s == eventlog.ShutdownClean, s != eventlog.ShutdownUnknown
}
