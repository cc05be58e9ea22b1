package ext4edit

import (
	"errors"
	"fmt"

	"fettle/internal/format/lustre"
)

// oi changes one leaf of a file of the object index.
func (e *Edit) oi(file uint32, x lustre.OIEntry, what string, fn func(leaf []byte) ([]byte, error)) error {
	return e.do(func() error {
		f, err := e.iamOpen(file, lustre.ShapeOI, x.Key())
		if err != nil {
			return err
		}
		now, err := fn(f.leaf().buf)
		if errors.Is(err, lustre.ErrIAMFull) {
			if err := f.grow(x.Key()); err != nil {
				return err
			}
			now, err = fn(f.leaf().buf)
		}
		switch {
		case errors.Is(err, lustre.ErrIAMExists):
			return fmt.Errorf("%w: %w", ErrExists, err)
		case errors.Is(err, lustre.ErrIAMAbsent):
			return fmt.Errorf("%w: %w", ErrAbsent, err)
		case err != nil:
			return err
		}
		return f.put(f.leaf(), now)
	}, "%s %v in the object index, inode %d", what, x.FID, file)
}

// OIInsert puts an entry into the file of the object index with inode number file; which file it is follows from lustre.OIFile.
// ErrExists when the FID has one already. A full leaf is split, with the index blocks above it where they are full as well; the new blocks
// are idle ones of the file or are put at its end. ErrNeedsSplit when the index has as many levels as a server can follow, ErrUnsupported
// when it is of another form.
func (e *Edit) OIInsert(file uint32, x lustre.OIEntry) error {
	return e.oi(file, x, "insert", func(leaf []byte) ([]byte, error) { return lustre.ShapeOI.Insert(leaf, x.Key(), x.Record()) })
}

// OIReplace gives a FID another inode. ErrAbsent when it has no entry.
func (e *Edit) OIReplace(file uint32, x lustre.OIEntry) error {
	return e.oi(file, x, "replace", func(leaf []byte) ([]byte, error) { return lustre.ShapeOI.Replace(leaf, x.Key(), x.Record()) })
}

// OIRemove takes the entry of a FID away. ErrAbsent when it has none.
func (e *Edit) OIRemove(file uint32, fid lustre.FID) error {
	x := lustre.OIEntry{FID: fid}
	return e.oi(file, x, "remove", func(leaf []byte) ([]byte, error) { return lustre.ShapeOI.Remove(leaf, x.Key()) })
}

// OIFind gives the entry of a FID, by the way that a server takes. ErrAbsent when it has none.
func (e *Edit) OIFind(file uint32, fid lustre.FID) (x lustre.OIEntry, err error) {
	err = e.do(func() error {
		f, err := e.iamOpen(file, lustre.ShapeOI, lustre.OIEntry{FID: fid}.Key())
		if err != nil {
			return err
		}
		err = ErrAbsent
		_, bad := lustre.OIEntries(f.leaf().buf, func(y lustre.OIEntry) bool {
			if y.FID == fid {
				x, err = y, nil
			}
			return err != nil
		})
		return firstOf(bad, err)
	}, "find %v in the object index, inode %d", fid, file)
	return x, err
}
