package ext4edit

import (
	"fettle/internal/format/ext4"
)

// MakeDir makes a directory with '.' and '..' and gives its inode. parent is the inode of '..'; fid, if not nil, the FID behind it. The
// type of n.Mode may be left out. Nothing names the directory yet, and the link count of the parent is the caller's, as are OI and
// attributes.
func (e *Edit) MakeDir(n NewInode, parent uint32, fid *[16]byte) (ino uint32, err error) {
	err = e.do(func() error {
		if kind := n.Mode & ext4.ModeTypeMask; kind != 0 && kind != ext4.ModeDir {
			return invalid("a directory with mode %o", n.Mode)
		}
		n.Mode |= ext4.ModeDir
		used, err := e.InUse(parent)
		switch {
		case err != nil:
			return err
		case !used:
			return invalid("inode %d is free", parent)
		case fid != nil && !e.sb.Dirdata():
			return invalid("a FID without the feature dirdata")
		}
		in, err := e.newInode(n)
		if err != nil {
			return err
		}
		ino = in.Number
		logical, block, err := e.appendBlock(in)
		if err != nil {
			return err
		}
		dot, err := e.encode(ext4.Dirent{Inode: ino, Type: ext4.TypeDir, Name: []byte(".")})
		if err != nil {
			return err
		}
		up := ext4.Dirent{Inode: parent, Type: ext4.TypeDir, Name: []byte("..")}
		if fid != nil {
			up.Flags, up.Data = ext4.DirdataLUFID, ext4.LUFIDRecord(*fid)
		}
		dotdot, err := e.encode(up)
		if err != nil {
			return err
		}
		l := &leaf{logical: logical, block: block}
		if l.buf, err = e.pack([][]byte{dot, dotdot}); err != nil {
			return err
		}
		return e.putLeaf(in, l)
	}, "make a directory near inode %d", n.Near)
	return ino, err
}
