package lustrelab

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
)

// xattr is an attribute that is being moved.
type xattr struct {
	index uint8
	name  string
	value []byte
	inode uint32 // that holds the value instead
	size  uint32
	hash  uint32
}

// room is what the attribute needs beside the value in an inode of its own.
func (x *xattr) room() int {
	n := ext4.XattrEntryLen(len(x.name))
	if x.inode == 0 {
		n += ext4.XattrValueLen(len(x.value))
	}
	return n
}

// setXattr gives an inode the attribute "trusted."+name, or takes it away if value is nil. It stays where it is, in the inode or in
// the block of attributes; a new one goes into the inode. errNoRoom says that nothing was changed.
func (s *surgeon) setXattr(ino uint32, name string, value []byte) error {
	in, err := s.fs.Inode(ino)
	if err != nil {
		return err
	}
	inside, err := s.inodeXattrs(in)
	if err != nil {
		return err
	}
	if in.FileACL != 0 && !slices.ContainsFunc(inside, func(x xattr) bool { return x.is(name) }) {
		had, err := s.setInBlock(in, name, value)
		if had || err != nil {
			return err
		}
	}
	inside, err = replaced(inside, name, value)
	if err != nil {
		return fmt.Errorf("trusted.%s of inode %d: %w", name, ino, err)
	}
	return s.editInode(ino, func(raw []byte) error {
		first := ext4.InodeGoodOldSize + int(in.ExtraIsize) + ext4.XattrPad
		if first+ext4.XattrPad > len(raw) {
			return errNoRoom
		}
		area := make([]byte, len(raw)-first)
		if _, err := putXattrs(area, 0, inside); err != nil {
			return err
		}
		le.PutUint32(raw[first-ext4.XattrPad:], ext4.XattrMagic)
		copy(raw[first:], area)
		return nil
	})
}

func (x *xattr) is(name string) bool { return x.index == ext4.XattrIndexTrusted && x.name == name }

// replaced gives the attributes with another value for one of them.
func replaced(all []xattr, name string, value []byte) ([]xattr, error) {
	i := slices.IndexFunc(all, func(x xattr) bool { return x.is(name) })
	switch {
	case i >= 0 && all[i].inode != 0:
		return nil, errNoRoom // its inode would have to go as well
	case i >= 0 && value == nil:
		return slices.Delete(all, i, i+1), nil
	case i >= 0:
		all[i].value, all[i].size = value, uint32(len(value))
		return all, nil
	case value == nil:
		return nil, errNoRoom
	}
	return append(all, xattr{index: ext4.XattrIndexTrusted, name: name, value: value, size: uint32(len(value))}), nil
}

// inodeXattrs copies the attributes kept in an inode.
func (s *surgeon) inodeXattrs(in *ext4.Inode) (out []xattr, err error) {
	in.InodeXattrs(func(x ext4.Xattr) bool {
		out = append(out, copyXattr(x))
		return true
	}, func(p ext4.Problem) { err = fmt.Errorf("inode %d: %s", in.Number, p.Text) })
	return out, err
}

func copyXattr(x ext4.Xattr) xattr {
	return xattr{x.Index, string(x.Name), slices.Clone(x.Value), x.ValueInode, x.ValueSize, x.Hash}
}

// putXattrs writes attributes into an area that is all zero: entries from the byte at on, values from the end. It gives the hashes.
func putXattrs(area []byte, at int, all []xattr) (hashes []uint32, err error) {
	need := at + ext4.XattrPad
	for i := range all {
		need += all[i].room()
	}
	if need > len(area) {
		return nil, errNoRoom
	}
	end := len(area)
	for i := range all {
		x := &all[i]
		e := area[at:]
		e[0], e[1] = byte(len(x.name)), x.index
		le.PutUint32(e[4:], x.inode)
		le.PutUint32(e[8:], x.size)
		hash := x.hash
		if x.inode == 0 {
			hash = ext4.XattrEntryHash([]byte(x.name), x.value)
			end -= ext4.XattrValueLen(len(x.value))
			copy(area[end:], x.value)
			if len(x.value) > 0 {
				le.PutUint16(e[2:], uint16(end))
			}
		}
		le.PutUint32(e[12:], hash)
		hashes = append(hashes, hash)
		copy(e[ext4.XattrEntrySize:], x.name)
		at += ext4.XattrEntryLen(len(x.name))
	}
	return hashes, nil
}

// setInBlock does what setXattr does for an attribute in the block of attributes. had is false if it is not there.
func (s *surgeon) setInBlock(in *ext4.Inode, name string, value []byte) (had bool, err error) {
	old, err := s.readBlock(in.FileACL)
	if err != nil {
		return false, err
	}
	var all []xattr
	err = in.Xattrs(s.fs, func(x ext4.Xattr) bool {
		if x.Where == ext4.InBlock {
			all = append(all, copyXattr(x))
		}
		return true
	}, nil)
	if err != nil || !slices.ContainsFunc(all, func(x xattr) bool { return x.is(name) }) {
		return false, err
	}
	if le.Uint32(old[ext4.XattrHdrRefcount:]) != 1 {
		return true, errNoRoom
	}
	if all, err = replaced(all, name, value); err != nil {
		return true, err
	}
	if len(all) == 0 {
		return true, s.dropXattrBlock(in)
	}
	b := make([]byte, s.bs)
	copy(b, old[:ext4.XattrBlockHeader])
	hashes, err := putXattrs(b, ext4.XattrBlockHeader, all)
	if err != nil {
		return true, err
	}
	le.PutUint32(b[ext4.XattrHdrHash:], ext4.XattrBlockHash(hashes))
	s.fs.Sums().PutXattrBlock(in.FileACL, b)
	return true, s.writeBlock(in.FileACL, b)
}

// dropXattrBlock frees the block of attributes of an inode.
func (s *surgeon) dropXattrBlock(in *ext4.Inode) error {
	if err := s.freeBlocks([]uint64{in.FileACL}); err != nil {
		return err
	}
	return s.editInode(in.Number, func(raw []byte) error {
		le.PutUint32(raw[ext4.InodeFileACLLo:], 0)
		le.PutUint16(raw[ext4.InodeFileACLHi:], 0)
		sectors := le.Uint32(raw[ext4.InodeBlocksLo:])
		le.PutUint32(raw[ext4.InodeBlocksLo:], sectors-uint32(s.bs/512))
		return nil
	})
}
