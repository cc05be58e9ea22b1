package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// sweepIndex reads the leaves of the object index.
func (r *runner) sweepIndex() error {
	for ; r.lane.File < len(r.t.marks.oi); r.lane.File, r.lane.Block = r.lane.File+1, 0 {
		if ino := r.t.marks.oi[r.lane.File]; ino != 0 {
			if err := r.indexFile(ino); err != nil {
				return fmt.Errorf("%s: %s: %w", r.t.name(), lustre.OIName(r.lane.File), err)
			}
			if r.resting() {
				return nil
			}
		}
	}
	r.lane.Done = true
	return r.tell()
}

// indexFile reads one file from the lane's block on.
func (r *runner) indexFile(ino uint32) error {
	in, err := r.t.fs.Inode(ino)
	switch {
	case err != nil && !unreadable(err):
		return err
	case err != nil || !in.IsRegular():
		r.note(ext4.Problem{Kind: kindOwnName, Inode: ino, Offset: -1, Text: fmt.Sprintf("%s leads to inode %d, which is no file", lustre.OIName(r.lane.File), ino)})
		return nil
	}
	var leaves map[uint64]lustre.IAMSpan
	if !r.lane.Again {
		leaves = r.tree(in, lustre.OIName(r.lane.File), lustre.ShapeOI)
	}
	buf := make([]byte, r.t.fs.Super().BlockSize)
	var failed error
	err = in.Blocks(r.t.fs, func(x ext4.Extent) bool {
		for i := range uint64(x.Length) {
			logical := uint64(x.Logical) + i
			if logical < r.lane.Block || x.Unwritten {
				continue
			}
			if failed = r.indexBlock(in, logical, x.Physical+i, buf, leaves); failed != nil {
				return false
			}
			if r.lane.Block = logical + 1; r.resting() {
				return false
			}
		}
		return true
	}, r.note)
	if failed != nil {
		return failed
	}
	return err
}

// indexBlock takes in the entries of one block, if it is a leaf.
func (r *runner) indexBlock(in *ext4.Inode, logical, physical uint64, buf []byte, leaves map[uint64]lustre.IAMSpan) error {
	if err := r.t.fs.ReadBlock(physical, buf); err != nil {
		r.note(ext4.Problem{Kind: ext4.KindRead, Block: physical, Offset: -1, Text: err.Error()})
		return nil
	}
	if lustre.IAMBlockKind(buf) != lustre.IAMLeafBlock {
		if _, due := leaves[logical]; due {
			r.note(ext4.Problem{Kind: kindIndex, Inode: in.Number, Block: physical, Offset: -1,
				Text: fmt.Sprintf("inode %d, %s: block %d should be a leaf and is none", in.Number, lustre.OIName(r.lane.File), logical)})
		}
		return nil
	}
	r.leafPlace(in, logical, buf, leaves)
	var failed error
	files := len(r.t.marks.oi)
	_, err := lustre.OIEntries(buf, func(e lustre.OIEntry) bool {
		if r.lane.Again {
			failed = r.indexClaim(e)
			return failed == nil
		}
		r.counts.Index++
		if n, err := lustre.OIFile(e.FID, files); err == nil && n != r.lane.File {
			r.note(ext4.Problem{Kind: kindIndex, Inode: in.Number, Block: physical, Offset: -1,
				Text: fmt.Sprintf("inode %d, %s: has %v, which belongs into %s", in.Number, lustre.OIName(r.lane.File), e.FID, lustre.OIName(n))})
		}
		r.balance.has(e.FID, e.Ino, e.Generation)
		return true
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return r.did(0, int64(len(buf)))
}

// indexClaim makes the claim of an entry, if anything about it is disputed.
func (r *runner) indexClaim(e lustre.OIEntry) error {
	if !r.state.Disputed[r.lane.Target].of(e.FID) {
		return nil
	}
	r.says = r.says[:0]
	return r.add(e.FID, r.t.index, kIndex, uint64(e.Ino), uint64(e.Generation))
}
