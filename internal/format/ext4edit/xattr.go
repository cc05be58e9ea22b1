package ext4edit

import (
	"bytes"
	"slices"

	"fettle/internal/format/ext4"
)

// attrs is where an inode keeps its attributes, both places.
type attrs struct {
	first int    // offset of the first entry in the inode, -1 when the inode has no room for any
	inode []attr // in the order in which they stand
	block []attr // sorted
	head  []byte // the attribute block as it is; nil if there is none
}

// attrs reads the attributes of an inode and checks all of them.
func (e *Edit) attrs(in *ext4.Inode) (*attrs, error) {
	a := &attrs{first: -1}
	if extra := int(in.ExtraIsize); extra > 0 && ext4.InodeGoodOldSize+extra+2*ext4.XattrPad+ext4.XattrEntrySize <= len(in.Raw) {
		a.first = ext4.InodeGoodOldSize + extra + ext4.XattrPad
		if le.Uint32(in.Raw[a.first-ext4.XattrPad:]) == ext4.XattrMagic {
			var err error
			if a.inode, err = attrParse(in.Raw[a.first:], 0); err != nil {
				return nil, err
			}
		}
	}
	if in.FileACL == 0 {
		return a, nil
	}
	buf, err := e.change(in.FileACL)
	if err != nil {
		return nil, err
	}
	if le.Uint32(buf) != ext4.XattrMagic || le.Uint32(buf[ext4.XattrHdrBlocks:]) != 1 || le.Uint32(buf[ext4.XattrHdrRefcount:]) == 0 {
		return nil, damaged("attribute block %d has a bad header", in.FileACL)
	}
	var f first
	if !e.view.VerifyXattrBlock(in, buf, f.report) {
		return nil, f.err
	}
	a.head = buf
	a.block, err = attrParse(buf, ext4.XattrBlockHeader)
	return a, err
}

// SetXattr sets an attribute: in the inode if it has room there, else in the attribute block, which is made, or copied when other
// inodes share it. ErrNoSpace when neither has room; ErrUnsupported when its old value lies in an inode of its own.
func (e *Edit) SetXattr(ino uint32, index uint8, name string, value []byte) error {
	return e.do(func() error {
		whole := index == ext4.XattrIndexACL || index == ext4.XattrIndexACLDef || index == 8
		if index == 0 || len(name) > 255 || (name == "") != whole || len(value) > ext4.XattrMaxValue || index == ext4.XattrIndexSystem && name == "data" {
			return invalid("attribute %d.%s of %d bytes", index, name, len(value))
		}
		now := attr{index: index, name: []byte(name), value: bytes.Clone(value), size: uint32(len(value))}
		return e.setAttr(ino, now)
	}, "set attribute %d.%s of inode %d", index, name, ino)
}

func (e *Edit) setAttr(ino uint32, now attr) error {
	in, a, i, b, err := e.attrAt(ino, now.index, now.name)
	if err != nil {
		return err
	}
	inode := slices.Clone(a.inode)
	if i >= 0 {
		inode[i] = now
	} else {
		inode = append(inode, now)
	}
	if a.first >= 0 && a.first+attrSize(inode) <= len(in.Raw) {
		if err := e.putInodeAttrs(in, a, inode); err != nil {
			return err
		}
		if b >= 0 {
			err = e.putBlockAttrs(in, a, slices.Delete(slices.Clone(a.block), b, b+1))
		}
		return firstOf(err, e.attrDone(in))
	}
	block := slices.Clone(a.block)
	now.hash = ext4.XattrEntryHash(now.name, now.value)
	if b >= 0 {
		block[b] = now
	} else {
		block = append(block, now)
	}
	slices.SortStableFunc(block, attrOrder)
	if err := e.putBlockAttrs(in, a, block); err != nil {
		return err
	}
	if i >= 0 {
		err = e.putInodeAttrs(in, a, slices.Delete(slices.Clone(a.inode), i, i+1))
	}
	return firstOf(err, e.attrDone(in))
}

// attrAt reads the attributes of an inode and finds one of them in both places.
func (e *Edit) attrAt(ino uint32, index uint8, name []byte) (in *ext4.Inode, a *attrs, i, b int, err error) {
	if in, err = e.inode(ino); err != nil {
		return nil, nil, 0, 0, err
	}
	if a, err = e.attrs(in); err != nil {
		return nil, nil, 0, 0, err
	}
	i, b = attrFind(a.inode, index, name), attrFind(a.block, index, name)
	if i >= 0 && a.inode[i].inum != 0 || b >= 0 && a.block[b].inum != 0 {
		return nil, nil, 0, 0, ErrUnsupported
	}
	return in, a, i, b, nil
}

// RemoveXattr takes an attribute away. ErrAbsent if there is none.
func (e *Edit) RemoveXattr(ino uint32, index uint8, name string) error {
	return e.do(func() error {
		in, a, i, b, err := e.attrAt(ino, index, []byte(name))
		if err != nil {
			return err
		}
		if i < 0 && b < 0 {
			return ErrAbsent
		}
		if i >= 0 {
			if err := e.putInodeAttrs(in, a, slices.Delete(slices.Clone(a.inode), i, i+1)); err != nil {
				return err
			}
		}
		if b >= 0 {
			if err := e.putBlockAttrs(in, a, slices.Delete(slices.Clone(a.block), b, b+1)); err != nil {
				return err
			}
		}
		return e.attrDone(in)
	}, "remove attribute %d.%s of inode %d", index, name, ino)
}

// putInodeAttrs writes the attributes kept in the inode. Hashes are 0 there, as the kernel has them.
func (e *Edit) putInodeAttrs(in *ext4.Inode, a *attrs, list []attr) error {
	if err := attrBuild(in.Raw[a.first:], 0, list); err != nil {
		return err
	}
	le.PutUint32(in.Raw[a.first-ext4.XattrPad:], ext4.XattrMagic)
	return nil
}

// putBlockAttrs gives an inode an attribute block with a list: the one that it has, a copy when that is shared, a new one, or none.
func (e *Edit) putBlockAttrs(in *ext4.Inode, a *attrs, list []attr) error {
	if len(list) == 0 {
		return e.dropXattrBlock(in, a)
	}
	buf := make([]byte, e.over.size)
	le.PutUint32(buf, ext4.XattrMagic)
	le.PutUint32(buf[ext4.XattrHdrRefcount:], 1)
	le.PutUint32(buf[ext4.XattrHdrBlocks:], 1)
	if err := attrBuild(buf, ext4.XattrBlockHeader, list); err != nil {
		return err
	}
	hashes := make([]uint32, len(list))
	for i, x := range list {
		hashes[i] = x.hash
	}
	le.PutUint32(buf[ext4.XattrHdrHash:], ext4.XattrBlockHash(hashes))
	block := in.FileACL
	if a.head == nil || le.Uint32(a.head[ext4.XattrHdrRefcount:]) > 1 {
		// Values in inodes of their own count how many blocks name them, which is not done here.
		if a.head != nil && slices.ContainsFunc(a.block, func(x attr) bool { return x.inum != 0 }) {
			return ErrUnsupported
		}
		if err := e.dropXattrBlock(in, a); err != nil {
			return err
		}
		var err error
		if block, err = e.allocBlock(e.sb.GroupFirstBlock(in.Group), e.most()); err != nil {
			return err
		}
		if err := e.addSectors(in, e.sectors()); err != nil {
			return err
		}
		e.setFileACL(in, block)
	}
	e.sums.PutXattrBlock(block, buf)
	return e.over.write(block, buf)
}

// most is the highest block number that an inode can name as its attribute block.
func (e *Edit) most() uint64 {
	if e.sb.Incompat&ext4.Incompat64bit != 0 {
		return 1<<48 - 1
	}
	return 1<<32 - 1
}

func (e *Edit) setFileACL(in *ext4.Inode, block uint64) {
	in.FileACL = block
	le.PutUint32(in.Raw[ext4.InodeFileACLLo:], uint32(block))
	if e.sb.Incompat&ext4.Incompat64bit != 0 {
		le.PutUint16(in.Raw[ext4.InodeFileACLHi:], uint16(block>>32))
	}
}

// dropXattrBlock takes an inode off its attribute block, which is freed when nobody else has it. a may be nil. The inode is not
// written.
func (e *Edit) dropXattrBlock(in *ext4.Inode, a *attrs) (err error) {
	if in.FileACL == 0 {
		return nil
	}
	if a == nil {
		if a, err = e.attrs(in); err != nil {
			return err
		}
		if slices.ContainsFunc(slices.Concat(a.inode, a.block), func(x attr) bool { return x.inum != 0 }) {
			return ErrUnsupported
		}
	}
	if err := e.leaveXattrBlock(in, a); err != nil {
		return err
	}
	return e.addSectors(in, -e.sectors())
}

// leaveXattrBlock does so, but for the count of the inode's blocks.
func (e *Edit) leaveXattrBlock(in *ext4.Inode, a *attrs) (err error) {
	if in.FileACL == 0 {
		return nil
	}
	if n := le.Uint32(a.head[ext4.XattrHdrRefcount:]); n > 1 {
		buf := bytes.Clone(a.head)
		le.PutUint32(buf[ext4.XattrHdrRefcount:], n-1)
		e.sums.PutXattrBlock(in.FileACL, buf)
		err = e.over.write(in.FileACL, buf)
	} else {
		err = e.freeBlock(in.FileACL)
	}
	if err != nil {
		return err
	}
	e.setFileACL(in, 0)
	return nil
}

// attrDone writes the inode and marks the file system as having attributes.
func (e *Edit) attrDone(in *ext4.Inode) error {
	e.touch(in, false)
	if err := e.putInode(in); err != nil {
		return err
	}
	block, off := e.superAt()
	buf, err := e.over.read(block)
	if err != nil || le.Uint32(buf[off+ext4.SBFeatureCompat:])&ext4.CompatExtAttr != 0 {
		return err
	}
	return e.changeSuper(func(raw []byte) error {
		le.PutUint32(raw[ext4.SBFeatureCompat:], le.Uint32(raw[ext4.SBFeatureCompat:])|ext4.CompatExtAttr)
		return nil
	})
}
