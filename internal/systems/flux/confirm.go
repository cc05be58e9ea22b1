package flux

import (
	"context"
	"encoding/json"
	"os"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
)

// Confirm implements store.Unit: it opens the file anew and looks again at what the finding says. A unit that was opened
// after the check has to be read once for that, as a whole; the answers to all further questions come from memory. While the
// store is being written to there is no time for it, and what cannot be said cheaply is taken to hold.
func (u *unit) Confirm(ctx context.Context, f *finding.Finding) (bool, error) {
	now, err := u.Fingerprint(ctx)
	if err != nil {
		return false, err
	}
	if now == u.file.Fingerprint().String() {
		if err := u.lookAgain(ctx); err != nil {
			return false, err
		}
		return u.stillThere(ctx, f)
	}
	fresh, err := openUnit(u.path, u.opts)
	if err != nil {
		return false, err
	}
	defer fresh.file.Close()
	return fresh.stillThere(ctx, f)
}

// lookAgain runs the passes up to the walk in a directory that is gone afterwards, unless a check has run on this unit.
func (u *unit) lookAgain(ctx context.Context) error {
	if u.idx != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "fettle-confirm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := u.analyse(ctx, dir, 2); err != nil {
		u.idx = nil // what is half known is not to be relied on
		return err
	}
	return nil
}

// stillThere looks at the records themselves, as far as that is possible without a sweep.
func (u *unit) stillThere(ctx context.Context, f *finding.Finding) (bool, error) {
	switch f.Class {
	case BadCheckpoint, LegacyCheckpoint:
		for i := range u.checkpoints {
			if g, ok := judgeCheckpointRow(&u.checkpoints[i], i == 0); ok && g.Subject == f.Subject && g.Class == f.Class {
				return true, nil
			}
		}
		return false, nil
	case LostCheckpoint:
		for i := range u.checkpoints {
			if u.checkpoints[i].name() == f.Subject {
				return true, nil
			}
		}
		return false, nil
	case NoCheckpoint:
		return u.current() == nil, nil
	case WALMissing, LiveCopy, BadHeader, BadSchema, BadPage, BadIndex, TruncatedFile, WALTruncated, WALCorrupt:
		return u.fileStill(f), nil
	}
	if u.idx == nil {
		return true, nil // the changes' own guards decide
	}
	if f.Class == DamagedOrphan || f.Class == DuplicateBlob {
		return u.rowStill(f), nil
	}
	return u.keyStill(f), ctx.Err()
}

// fileStill tells whether the file as a whole still has the fault.
func (u *unit) fileStill(f *finding.Finding) bool {
	if u.idx == nil {
		return true
	}
	if f.Class == LiveCopy {
		return u.liveCopy() != nil
	}
	for _, g := range u.fileFindings() {
		if g.Class == f.Class && g.Subject == f.Subject {
			return true
		}
	}
	return false
}

// rowStill tells whether a row that nothing uses is still there and still bad, or still stands twice.
func (u *unit) rowStill(f *finding.Finding) bool {
	var d struct {
		RowID int64 `json:"rowid"`
	}
	ref, err := treeobj.ParseRef(f.Subject)
	if json.Unmarshal(f.Detail, &d) != nil || err != nil {
		return true
	}
	b := newBlobReader(u)
	for n := u.idx.find(ref.Sum()); n >= 0 && n < u.idx.n; n++ {
		row, err := b.at(u.idx.at(n))
		if err != nil {
			return true
		}
		if got, err := treeobj.RefFromHash(row.Hash); err != nil || got != ref {
			return false
		}
		if b.row.RowID == d.RowID {
			return f.Class == DuplicateBlob || rowFault(row).class != ""
		}
	}
	return false
}

// keyStill tells whether a key of the tree is still damaged. A finding about a tree that no check would look at any more
// does not hold: a repair never edits a tree, it makes another one the current one.
func (u *unit) keyStill(f *finding.Finding) bool {
	var d keyDetail
	if json.Unmarshal(f.Detail, &d) != nil {
		return true
	}
	if d.Root == "" { // all keys of the table, or a row that nothing uses
		if ref, err := treeobj.ParseRef(f.Subject); err == nil {
			row, ok := newBlobReader(u).lookup(ref)
			return ok && rowFault(row).class != ""
		}
		return f.Class != HashStorageClass || u.counts.BlobKeys > 0
	}
	if !u.looksAt(d.Root, d.Kind == "root") {
		return false
	}
	if d.Kind == "root" && f.Class == NotADirectory {
		return true
	}
	b := newBlobReader(u)
	for _, bad := range d.Bad {
		if bad.Class == NotADirectory || bad.Class == InvalidTreeobj {
			return true // a matter of the tree alone
		}
		ref, err := treeobj.ParseRef(bad.Text)
		if err != nil {
			continue
		}
		if row, ok := b.lookup(ref); !ok || rowFault(row).class != "" {
			return true
		}
	}
	return len(d.Bad) == 0
}

// looksAt tells whether a check starts from the root, or, for a root that cannot be read, whether a row still names it.
func (u *unit) looksAt(root string, named bool) bool {
	for _, r := range u.roots {
		if r.ref.String() == root {
			return true
		}
	}
	for i := range u.checkpoints {
		if named && u.checkpoints[i].ref.String() == root {
			return true
		}
	}
	return false
}
