package flux

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// editKey names an entry by the directory object that holds it, not by its path: a directory that is used under several
// paths has the same damage under each, and is mended once for all of them. That keeps a repair linear in the number of
// objects even where there are 2^24 paths.
type editKey struct {
	dir  treeobj.Ref
	name string // relative to the directory object (treeobj.FormatKey): has dots where inline directories are nested
}

// edit is what becomes of an entry: nil raw removes it.
type edit struct{ raw []byte }

// rewriter builds new directory objects from old ones with edits applied. Nothing is written: new blobs are collected.
type rewriter struct {
	u     *unit
	b     *blobReader
	scan  treeobj.Scanner
	dirs  *dirCache // that locate looked at lately
	edits map[treeobj.Ref]map[string]edit
	taint *taint // directories with edits at or below them; computed by rewrite
	memo  map[treeobj.Ref]treeobj.Ref
	blobs map[treeobj.Ref][]byte      // new blobs that the store does not have
	from  map[treeobj.Ref]treeobj.Ref // new blobs that hold what a row under a wrong name holds, by the name of that row
	order []treeobj.Ref               // of blobs and of from, children before parents
	alg   treeobj.Alg
}

func newRewriter(u *unit, alg treeobj.Alg) *rewriter {
	b := newBlobReader(u)
	return &rewriter{u: u, b: b, dirs: newDirCache(b), edits: map[treeobj.Ref]map[string]edit{},
		memo: map[treeobj.Ref]treeobj.Ref{}, from: map[treeobj.Ref]treeobj.Ref{}, blobs: map[treeobj.Ref][]byte{}, alg: alg}
}

// set records an edit. All edits must be made before the first rewrite.
func (w *rewriter) set(k editKey, e edit) {
	if w.edits[k.dir] == nil {
		w.edits[k.dir] = map[string]edit{}
	}
	w.edits[k.dir][k.name] = e
}

// locate finds the directory object that holds the entry of key. raw is the entry, nil if the directory is there and the
// entry is not. ok is false when the way is blocked.
func (w *rewriter) locate(root treeobj.Ref, key string) (k editKey, raw []byte, ok bool) {
	names := treeobj.NamesOf(key)
	at := root
	for i := 0; i < len(names); {
		d := w.dirs.get(at)
		if d == nil {
			return editKey{}, nil, false
		}
		t := d.tree
		parent, start, next := int32(-1), i, -1
		for ; i < len(names); i++ {
			if next = d.find(parent, names[i]); next < 0 {
				break
			}
			if t.Entries[next].Type != treeobj.TypeDir || t.Entries[next].Rule != treeobj.RuleNone {
				i++
				break
			}
			parent = int32(next)
		}
		if next < 0 || i == len(names) {
			k = editKey{dir: at, name: treeobj.FormatKey(names[start:])}
			if next < 0 {
				return k, nil, i == len(names)-1 // the key is not there, but its directory is
			}
			return k, append([]byte(nil), t.Entries[next].Raw...), true
		}
		if t.Entries[next].Type != treeobj.TypeDirref {
			return editKey{}, nil, false
		}
		at = t.Entries[next].Ref
	}
	return editKey{}, nil, false
}

// store remembers a blob that has to be inserted and returns its reference.
func (w *rewriter) store(content []byte) treeobj.Ref {
	ref := treeobj.Hash(w.alg, content)
	if !w.have(ref) {
		w.blobs[ref] = append([]byte(nil), content...)
		w.order = append(w.order, ref)
	}
	return ref
}

// storeCopy is store for the content of a row that is in the store under the name source, which is not its hash. The
// content is not kept in memory.
func (w *rewriter) storeCopy(content []byte, source treeobj.Ref) treeobj.Ref {
	ref := treeobj.Hash(w.alg, content)
	if !w.have(ref) {
		w.from[ref] = source
		w.order = append(w.order, ref)
	}
	return ref
}

// have tells whether a blob is in the store or will be.
func (w *rewriter) have(ref treeobj.Ref) bool {
	_, made := w.blobs[ref]
	_, copied := w.from[ref]
	if made || copied {
		return true
	}
	n := w.u.idx.find(ref.Sum())
	return n >= 0 && w.u.idx.at(n).usable()
}

// rewriteFrame is a directory whose children are being rewritten.
type rewriteFrame struct {
	ref      treeobj.Ref
	dir      *treeobj.Dir
	children []rewriteChild
}

type rewriteChild struct {
	path []string // of the entry in the directory object
	ref  treeobj.Ref
}

// rewrite returns the reference of the directory that stands for ref once all edits at and below it are made.
func (w *rewriter) rewrite(ctx context.Context, root treeobj.Ref) (treeobj.Ref, error) {
	var stack []*rewriteFrame
	enter := func(ref treeobj.Ref) error {
		f, err := w.open(ref)
		if err == nil {
			stack = append(stack, f)
		}
		return err
	}
	if done, ok := w.memo[root]; ok {
		return done, nil
	}
	part := store.Begin(ctx, "rewrite", "writing directories anew", w.edited(), 0)
	defer part.End()
	part.Did(int64(len(w.memo)), 0)
	if err := enter(root); err != nil {
		return root, err
	}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return root, err
		}
		f := stack[len(stack)-1]
		if len(f.children) == 0 {
			w.memo[f.ref] = w.store(f.dir.Marshal())
			part.Did(1, 0)
			stack = stack[:len(stack)-1]
			continue
		}
		c := f.children[0]
		done, ok := w.memo[c.ref]
		if !ok {
			if err := enter(c.ref); err != nil {
				return root, err
			}
			continue
		}
		f.children = f.children[1:]
		if done != c.ref {
			raw, err := treeobj.NewDirref(done)
			if err != nil {
				return root, err
			}
			if err := setNested(f.dir, c.path, edit{raw: raw}); err != nil {
				return root, err
			}
		}
	}
	return w.memo[root], nil
}

// open reads a directory, applies its own edits, and lists the subdirectories that need rewriting.
func (w *rewriter) open(ref treeobj.Ref) (*rewriteFrame, error) {
	content, ok := w.b.get(ref)
	if !ok {
		return nil, fmt.Errorf("rewrite directory %s: it is lost or damaged", ref)
	}
	t := w.scan.ParseDir(content)
	dir, err := treeobj.NewDir(t)
	if err != nil {
		return nil, fmt.Errorf("rewrite directory %s: %w", ref, err)
	}
	f := &rewriteFrame{ref: ref, dir: dir}
	edits := w.edits[ref]
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Type != treeobj.TypeDirref || e.Rule != treeobj.RuleNone {
			continue
		}
		if !w.needs(e.Ref) {
			continue
		}
		if path := t.Path(i); !covered(edits, path) {
			f.children = append(f.children, rewriteChild{path: path, ref: e.Ref})
		}
	}
	names := make([]string, 0, len(edits))
	for name := range edits {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := setNested(dir, treeobj.NamesOf(name), edits[name]); err != nil {
			return nil, fmt.Errorf("rewrite directory %s: %w", ref, err)
		}
	}
	return f, nil
}

// covered tells whether an entry, or an inline directory that it lies in, is edited itself: what was below is gone then,
// and a rewritten subdirectory must not bring it back.
func covered(edits map[string]edit, path []string) bool {
	for n := len(path); n > 0 && len(edits) > 0; n-- {
		if _, ok := edits[treeobj.FormatKey(path[:n])]; ok {
			return true
		}
	}
	return false
}

// seal computes which directories below root have edits at or below them.
func (w *rewriter) seal(ctx context.Context, root treeobj.Ref) error {
	w.taint = newTaint(w.u)
	w.taint.seed = newBitmap(w.u.idx.n)
	for dir := range w.edits {
		if n := w.u.idx.find(dir.Sum()); n >= 0 {
			w.taint.seed.set(n)
		}
	}
	n := w.u.idx.find(root.Sum())
	if n < 0 {
		return nil
	}
	_, err := w.taint.compute(ctx, n)
	return err
}

// edited counts the directories with edits at or below them, which are those to be written anew.
func (w *rewriter) edited() int64 {
	if w.taint == nil {
		return 0
	}
	return int64(w.taint.bad.count())
}

// needs tells whether a subdirectory has edits at or below it.
func (w *rewriter) needs(ref treeobj.Ref) bool {
	n := w.u.idx.find(ref.Sum())
	return n >= 0 && w.taint != nil && w.taint.bad.has(n)
}

// setNested applies an edit to an entry that may lie in inline directories: path has the names of these and its own.
func setNested(dir *treeobj.Dir, path []string, e edit) error {
	if len(path) == 0 {
		return errors.New("an edit of no entry")
	}
	first, rest := path[0], path[1:]
	if len(rest) == 0 {
		if e.raw == nil {
			dir.Delete(first)
			return nil
		}
		return dir.Set(first, e.raw)
	}
	raw, ok := dir.Get(first)
	if !ok {
		if e.raw == nil {
			return nil
		}
		raw = (&treeobj.Dir{}).Marshal()
	}
	var scan treeobj.Scanner
	inner, err := treeobj.NewDir(scan.ParseDir(raw))
	if err != nil {
		return err
	}
	if err := setNested(inner, rest, e); err != nil {
		return err
	}
	return dir.Set(first, inner.Marshal())
}
