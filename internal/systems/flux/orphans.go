package flux

import (
	"cmp"
	"context"
	"slices"

	"fettle/internal/format/treeobj"
)

// orphanRoot is a directory that looks like the root of a primary namespace and that no usable checkpoint names. Every
// commit leaves one behind, so a store holds many; the row id tells their order.
type orphanRoot struct {
	ref   treeobj.Ref
	rowID int64
	good  bool // the whole tree below is good
}

// rootNames are the top-level keys that rc1 makes in every instance. A root is told by two of them.
var rootNames = map[string]bool{"admin": true, "resource": true, "job": true, "checkpoint": true, "job-manager": true}

// maxOrphanRoots bounds how many candidates are looked at more closely.
const maxOrphanRoots = 64

// recentRoots finds the newest candidates in the order of their rows, newest first.
func (u *unit) recentRoots(ctx context.Context) ([]orphanRoot, error) {
	var found []orphanRoot
	err := u.eachDir(ctx, func(ref treeobj.Ref, rowID int64, t *treeobj.Tree) {
		if !looksLikeRoot(t) {
			return
		}
		found = append(found, orphanRoot{ref: ref, rowID: rowID})
		if len(found) >= 4*maxOrphanRoots {
			found = newestRoots(found, maxOrphanRoots)
		}
	})
	if err != nil {
		return nil, err
	}
	return newestRoots(found, maxOrphanRoots), nil
}

// orphanRoots is recentRoots with the newest one whose whole tree is good put first.
func (u *unit) orphanRoots(ctx context.Context) ([]orphanRoot, error) {
	found, err := u.recentRoots(ctx)
	if err != nil {
		return nil, err
	}
	for i := range found {
		good, err := u.treeGood(ctx, nil, found[i].ref)
		if err != nil {
			return nil, err
		}
		found[i].good = good
		if good {
			break // nothing older can be preferred to it
		}
	}
	slices.SortStableFunc(found, func(a, b orphanRoot) int {
		switch {
		case a.good && !b.good:
			return -1
		case b.good && !a.good:
			return 1
		}
		return 0
	})
	return found, nil
}

// newestRoots keeps the n newest, newest first.
func newestRoots(rs []orphanRoot, n int) []orphanRoot {
	slices.SortFunc(rs, func(a, b orphanRoot) int { return cmp.Compare(b.rowID, a.rowID) })
	return rs[:min(len(rs), n)]
}

func looksLikeRoot(t *treeobj.Tree) bool {
	n := 0
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Depth == 0 && (e.Type == treeobj.TypeDirref || e.Type == treeobj.TypeDir) && rootNames[string(e.Name)] {
			n++
		}
	}
	return n >= 2
}

// eachDir calls fn for every good directory blob of the store, in the order of the file. The tree is valid until fn returns.
func (u *unit) eachDir(ctx context.Context, fn func(ref treeobj.Ref, rowID int64, t *treeobj.Tree)) error {
	b := newBlobReader(u)
	var scan treeobj.Scanner
	for i, n := range u.inFileOrder() {
		if i&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e := u.idx.at(int(n))
		if !e.has(flagDirLike) || !e.goodContent() {
			continue
		}
		row, err := b.at(e)
		if err != nil {
			return err
		}
		ref, err := treeobj.RefFromHash(row.Hash)
		if err != nil || row.Status != statusGood {
			continue
		}
		if t := scan.ParseDir(row.Content); t.IsDir() && !t.Broken {
			fn(ref, b.row.RowID, t)
		}
	}
	return nil
}

// inFileOrder lists all entries of the index in the order of their pages, so that reading them reads the file once.
func (u *unit) inFileOrder() []uint32 {
	list := make([]uint32, u.idx.n)
	for n := range list {
		list[n] = uint32(n)
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return cmp.Compare(u.idx.at(int(a)).where, u.idx.at(int(b)).where)
	})
	return list
}
