package flux

import (
	"context"
	"encoding/json"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
)

// Confirm implements store.Unit: it opens the file anew and looks again at what the finding says. Findings about the
// file as a whole are confirmed by looking at the whole file again.
func (u *unit) Confirm(ctx context.Context, f *finding.Finding) (bool, error) {
	now, err := u.Fingerprint(ctx)
	if err != nil {
		return false, err
	}
	if now == u.file.Fingerprint().String() {
		return u.stillThere(ctx, f)
	}
	fresh, err := openUnit(u.path, u.opts)
	if err != nil {
		return false, err
	}
	defer fresh.file.Close()
	return fresh.stillThere(ctx, f)
}

// stillThere looks at the records themselves where that is possible without a sweep.
func (u *unit) stillThere(ctx context.Context, f *finding.Finding) (bool, error) {
	switch f.Class {
	case BadCheckpoint, LegacyCheckpoint:
		for i := range u.checkpoints {
			if g, ok := judgeCheckpointRow(&u.checkpoints[i], i == 0); ok && g.Subject == f.Subject && g.Class == f.Class {
				return true, nil
			}
		}
		return false, nil
	case NoCheckpoint:
		return u.current() == nil, nil
	case DanglingValref, DanglingDirref, DanglingRoot, HashMismatch, UndecodableBlob:
		var d keyDetail
		if err := json.Unmarshal(f.Detail, &d); err != nil || u.idx == nil {
			return true, nil // without an index nothing can be said cheaply; the changes' own guards decide
		}
		b := newBlobReader(u)
		for _, bad := range d.Bad {
			ref, err := treeobj.ParseRef(bad.Text)
			if err != nil {
				continue
			}
			if row, ok := b.lookup(ref); !ok || rowFault(row).class != "" {
				return true, nil
			}
		}
		return false, ctx.Err()
	}
	return true, nil
}
