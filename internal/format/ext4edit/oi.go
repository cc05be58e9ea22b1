package ext4edit

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// iamLeaf finds the leaf of an index file in which a key belongs: its physical block and content.
func (e *Edit) iamLeaf(ino uint32, shape lustre.IAMShape, key []byte) (uint64, []byte, error) {
	in, err := e.inode(ino)
	if err != nil {
		return 0, nil, err
	}
	if !in.IsRegular() || in.IsInline() {
		return 0, nil, invalid("inode %d is no index file", ino)
	}
	p, err := e.places(in)
	if err != nil {
		return 0, nil, err
	}
	block, buf, err := e.iamBlock(in, p, 0)
	if err != nil {
		return 0, nil, err
	}
	root, err := lustre.DecodeIAMRoot(buf)
	if err != nil {
		return 0, nil, damaged("index in inode %d: %v", ino, err)
	}
	if root.Shape != shape {
		return 0, nil, damaged("index in inode %d has shape %+v, not %+v", ino, root.Shape, shape)
	}
	for level := 0; level <= root.Levels; level++ {
		next, err := shape.Child(buf, level == 0, key)
		if err != nil {
			return 0, nil, damaged("index in inode %d: %v", ino, err)
		}
		if block, buf, err = e.iamBlock(in, p, next); err != nil {
			return 0, nil, err
		}
	}
	if lustre.IAMBlockKind(buf) != lustre.IAMLeafBlock {
		return 0, nil, damaged("index in inode %d has no leaf in block %d", ino, block)
	}
	return block, buf, nil
}

// iamBlock reads one block of an index file.
func (e *Edit) iamBlock(in *ext4.Inode, p *place, logical uint64) (uint64, []byte, error) {
	if logical >= uint64(p.blocks) || (logical+1)*uint64(e.over.size) > in.Size {
		return 0, nil, damaged("index in inode %d names block %d of %d", in.Number, logical, p.blocks)
	}
	block, err := p.at(uint32(logical))
	if err != nil {
		return 0, nil, err
	}
	buf, err := e.change(block)
	return block, buf, err
}

// oi changes one leaf of a file of the object index.
func (e *Edit) oi(file uint32, x lustre.OIEntry, what string, fn func(leaf []byte) ([]byte, error)) error {
	return e.do(func() error {
		block, leaf, err := e.iamLeaf(file, lustre.ShapeOI, x.Key())
		if err != nil {
			return err
		}
		now, err := fn(leaf)
		switch {
		case errors.Is(err, lustre.ErrIAMFull):
			return fmt.Errorf("%w: %w", ErrNeedsSplit, err)
		case errors.Is(err, lustre.ErrIAMExists):
			return fmt.Errorf("%w: %w", ErrExists, err)
		case errors.Is(err, lustre.ErrIAMAbsent):
			return fmt.Errorf("%w: %w", ErrAbsent, err)
		case err != nil:
			return err
		}
		return e.over.write(block, now)
	}, "%s %v in the object index, inode %d", what, x.FID, file)
}

// OIInsert puts an entry into the file of the object index with inode number file; which file it is follows from lustre.OIFile.
// ErrExists when the FID has one already, ErrNeedsSplit when its leaf is full: leaves are not split here, a server's OI scrub adds the
// entry when the target is mounted.
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
		_, leaf, err := e.iamLeaf(file, lustre.ShapeOI, lustre.OIEntry{FID: fid}.Key())
		if err != nil {
			return err
		}
		err = ErrAbsent
		_, bad := lustre.OIEntries(leaf, func(y lustre.OIEntry) bool {
			if y.FID == fid {
				x, err = y, nil
			}
			return err != nil
		})
		return firstOf(bad, err)
	}, "find %v in the object index, inode %d", fid, file)
	return x, err
}
