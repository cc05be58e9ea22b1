package lustre

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Kinds of damage to what a target keeps in files of its own, beside those of ext4.
const (
	kindIndex    ext4.Kind = "index"          // the object index or the FLD: a search in it fails, or finds nothing
	kindOwnName  ext4.Kind = "own-name"       // a name in the root of the target leads to something else
	kindIdentity ext4.Kind = "identity"       // the target's own files say that it is another one
	kindSequence ext4.Kind = "sequence"       // FIDs that are to be given out belong to somebody
	kindFLD      ext4.Kind = "fld"            // ranges of sequences that cannot be
	kindFlags    ext4.Kind = "lma-flags"      // flags of an LMA that no server knows
	kindSameName ext4.Kind = "same-name"      // a directory has a name twice
	kindNoDot    ext4.Kind = "directory-dots" // '.' is not there, or not the directory
)

// tree reads the inner blocks of an index file and gives the leaves that a search comes to. Of one that is damaged it says so, and
// gives nil: then leaves are not compared with it.
func (r *runner) tree(in *ext4.Inode, what string, shape lustre.IAMShape) map[uint64]lustre.IAMSpan {
	leaves, err := searchable(r.t.fs, in, shape, r.note)
	if err == nil {
		return leaves
	}
	r.note(ext4.Problem{Kind: kindIndex, Inode: in.Number, Offset: -1, Text: fmt.Sprintf("inode %d, %s: %v", in.Number, what, err)})
	return nil
}

// searchable walks the inner blocks of an index file.
func searchable(fs *ext4.FS, in *ext4.Inode, shape lustre.IAMShape, note ext4.Report) (map[uint64]lustre.IAMSpan, error) {
	f, err := fs.File(in, note)
	if err != nil {
		return nil, err
	}
	size := int64(fs.Super().BlockSize)
	blocks := (f.Mapped() + size - 1) / size
	if f.Size() < f.Mapped() {
		return nil, fmt.Errorf("it has %d bytes, and blocks up to byte %d", f.Size(), f.Mapped())
	}
	return lustre.IAMTree(shape, int(size), uint64(blocks), func(block uint64, buf []byte) error {
		n, err := f.ReadAt(buf, int64(block)*size)
		if err == nil && n < len(buf) || n == len(buf) {
			return nil
		}
		return err
	})
}

// leafPlace compares a leaf of the object index with the tree above it.
func (r *runner) leafPlace(in *ext4.Inode, logical uint64, buf []byte, leaves map[uint64]lustre.IAMSpan) {
	if leaves == nil {
		return
	}
	span, ok := leaves[logical]
	why := ""
	if !ok {
		why = "no search comes to it"
	}
	ps, err := lustre.ShapeOI.Records(buf, func(key, _ []byte) bool {
		if ok && why == "" && !span.Holds(key) {
			why = fmt.Sprintf("the key %x does not belong into it", key)
		}
		return ok && why == ""
	})
	switch {
	case err != nil:
		why = err.Error()
	case len(ps) > 0 && why == "":
		why = ps[0].String()
	}
	if !ok && emptyLeaf(buf) {
		return // left over from a merge
	}
	if why != "" {
		r.note(ext4.Problem{Kind: kindIndex, Inode: in.Number, Offset: -1,
			Text: fmt.Sprintf("inode %d, %s, leaf in block %d: %s", in.Number, lustre.OIName(r.lane.File), logical, why)})
	}
}

func emptyLeaf(buf []byte) bool {
	empty := true
	_, err := lustre.OIEntries(buf, func(lustre.OIEntry) bool { empty = false; return false })
	return err == nil && empty
}

// unreadable tells whether an error means that something is not there, and not that reading fails.
func unreadable(err error) bool {
	return errors.Is(err, ext4.ErrNoInode) || errors.Is(err, ext4.ErrPastEnd) || errors.Is(err, ext4.ErrExtents)
}
