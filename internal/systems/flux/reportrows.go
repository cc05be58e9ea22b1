package flux

import (
	"context"
	"slices"

	"fettle/internal/format/treeobj"
)

// orphans names damaged rows that the checked tree does not use, and rows that stand twice.
func (r *reporter) orphans(ctx context.Context) error {
	u := r.u
	if u.counts.Bad == 0 && u.counts.BlobKeys == 0 && u.idx.twins == 0 {
		return nil
	}
	var list []uint32
	for n := 0; n < u.idx.n; n++ {
		e := u.idx.at(n)
		if !e.usable() && !u.reach.used.has(n) || e.has(flagDuplicate) {
			list = append(list, uint32(n))
		}
	}
	slices.SortFunc(list, func(a, b uint32) int { return int(a) - int(b) })
	var firstOf treeobj.Ref
	for _, n := range list {
		if err := r.env.Did(ctx, 1, 0); err != nil {
			return err
		}
		e := u.idx.at(int(n))
		row, err := r.v.b.at(e)
		if err != nil {
			return err
		}
		ref, err := treeobj.RefFromHash(row.Hash)
		if err != nil {
			return err
		}
		if cur := u.current(); cur != nil && ref == cur.ref && u.opts.checkpoint == "" && !e.has(flagDuplicate) {
			continue // the finding about the root is about this row
		}
		if e.has(flagDuplicate) {
			if ref != firstOf {
				firstOf = ref
				if e.usable() || u.reach.used.has(int(n)) {
					continue
				}
			} else {
				if _, err := r.emit(judgeDuplicate(ref, row, e, r.v.b.row.RowID)); err != nil {
					return err
				}
				continue
			}
		}
		if fault := rowFault(row); fault.class != "" && !(fault.class == HashStorageClass && r.blobKeys) {
			if _, err := r.emit(judgeOrphan(ref, fault, e, r.v.b.row.RowID)); err != nil {
				return err
			}
		}
	}
	return nil
}
