package ext4edit

import (
	"math"

	"fettle/internal/format/ext4"
)

// inode reads an inode that is in use and checks its checksum. Raw may be changed and given to putInode.
func (e *Edit) inode(ino uint32) (*ext4.Inode, error) {
	used, err := e.InUse(ino)
	if err != nil {
		return nil, err
	}
	if ino < e.sb.FirstIno && ino != ext4.InoRoot {
		return nil, invalid("inode %d is reserved", ino)
	}
	if !used {
		return nil, damaged("inode %d is marked as free", ino)
	}
	in, err := e.view.Inode(ino)
	if err != nil {
		return nil, err
	}
	var f first
	if !e.view.VerifyInode(in, f.report) {
		return nil, f.err
	}
	return in, nil
}

// putInode writes an inode whose Raw was changed, and decodes it anew.
func (e *Edit) putInode(in *ext4.Inode) error {
	e.sums.PutInode(in.Number, in.Raw)
	block := uint64(in.Offset) / uint64(e.over.size)
	if err := e.over.patch(block, int(in.Offset%int64(e.over.size)), in.Raw); err != nil {
		return err
	}
	now, err := e.view.DecodeInode(in.Number, in.Raw)
	if err != nil {
		return err
	}
	*in = *now
	return nil
}

// touch sets ctime, and mtime when content changed, if the edit has a time.
func (e *Edit) touch(in *ext4.Inode, content bool) {
	if e.opt.Time == 0 {
		return
	}
	putTime(in.Raw, ext4.InodeCtime, ext4.InodeCtimeExtra, e.opt.Time)
	if content {
		putTime(in.Raw, ext4.InodeMtime, ext4.InodeMtimeExtra, e.opt.Time)
	}
}

// putTime writes a time in seconds; the bits for seconds beyond 32 and nanoseconds have room only in larger inodes.
func putTime(raw []byte, lo, extra int, sec int64) {
	le.PutUint32(raw[lo:], uint32(sec))
	if reaches(raw, extra, 4) {
		le.PutUint32(raw[extra:], uint32((sec-int64(int32(sec)))>>32)&3)
	}
}

// reaches says whether i_extra_isize covers a field of n bytes.
func reaches(raw []byte, off, n int) bool {
	if off+n > len(raw) || len(raw) <= ext4.InodeGoodOldSize {
		return false
	}
	return off+n <= ext4.InodeGoodOldSize+int(le.Uint16(raw[ext4.InodeExtraIsize:]))
}

// addSectors changes i_blocks by n units of 512 bytes, a multiple of a block.
func (e *Edit) addSectors(in *ext4.Inode, n int) error {
	huge := e.sb.ROCompat&ext4.ROCompatHugeFile != 0
	v := int64(le.Uint32(in.Raw[ext4.InodeBlocksLo:]))
	most := int64(math.MaxUint32)
	if huge {
		v |= int64(le.Uint16(in.Raw[ext4.InodeBlocksHi:])) << 32
		most = 1<<48 - 1
	}
	if huge && in.Flags&ext4.FlagHugeFile != 0 {
		n /= e.over.size / 512
	}
	if v += int64(n); v < 0 || v > most {
		return damaged("inode %d would count %d blocks", in.Number, v)
	}
	le.PutUint32(in.Raw[ext4.InodeBlocksLo:], uint32(v))
	if huge {
		le.PutUint16(in.Raw[ext4.InodeBlocksHi:], uint16(v>>32))
	}
	return nil
}

// sectors is a block in units of 512 bytes.
func (e *Edit) sectors() int { return e.over.size / 512 }

// edit changes the fields of one inode.
func (e *Edit) edit(ino uint32, what string, fn func(in *ext4.Inode) error) error {
	return e.do(func() error {
		in, err := e.inode(ino)
		if err != nil {
			return err
		}
		if err := fn(in); err != nil {
			return err
		}
		e.touch(in, false)
		return e.putInode(in)
	}, "%s of inode %d", what, ino)
}

// SetLinks sets the link count of an inode in use.
func (e *Edit) SetLinks(ino uint32, links uint16) error {
	return e.edit(ino, "set link count", func(in *ext4.Inode) error {
		le.PutUint16(in.Raw[ext4.InodeLinks:], links)
		return nil
	})
}

// plainFlags are the inode flags that say nothing about the form of the content. Those without a name in the reader: no dump 0x40, no
// atime 0x80, journalled data 0x4000, no tail 0x8000, synchronous directory 0x10000, top directory 0x20000.
const plainFlags = ext4.FlagSync | ext4.FlagImmutable | ext4.FlagAppend | 0x40 | 0x80 | 0x4000 | 0x8000 | 0x10000 | 0x20000 |
	ext4.FlagProjInherit

// SetFlags sets and clears inode flags. Flags that say how content is kept (FlagIndex, FlagExtents, FlagInlineData, ...) are refused.
func (e *Edit) SetFlags(ino uint32, set, clear uint32) error {
	return e.edit(ino, "set flags", func(in *ext4.Inode) error {
		if bad := (set | clear) &^ plainFlags; bad != 0 {
			return invalid("flags %#x are no setting", bad)
		}
		le.PutUint32(in.Raw[ext4.InodeFlags:], in.Flags&^clear|set)
		return nil
	})
}

// SetMode sets the permissions of an inode: the low 12 bits of its mode. The type of an inode never changes.
func (e *Edit) SetMode(ino uint32, perm uint16) error {
	return e.edit(ino, "set mode", func(in *ext4.Inode) error {
		if perm&ext4.ModeTypeMask != 0 {
			return invalid("mode %o has a file type", perm)
		}
		le.PutUint16(in.Raw[ext4.InodeMode:], in.Mode&ext4.ModeTypeMask|perm)
		return nil
	})
}

// SetOwner sets user and group. Quota files do not follow: see Recount.
func (e *Edit) SetOwner(ino, uid, gid uint32) error {
	return e.edit(ino, "set owner", func(in *ext4.Inode) error {
		putOwner(in.Raw, uid, gid)
		in.UID, in.GID = uid, gid
		return nil
	})
}

func putOwner(raw []byte, uid, gid uint32) {
	le.PutUint16(raw[ext4.InodeUIDLo:], uint16(uid))
	le.PutUint16(raw[ext4.InodeUIDHi:], uint16(uid>>16))
	le.PutUint16(raw[ext4.InodeGIDLo:], uint16(gid))
	le.PutUint16(raw[ext4.InodeGIDHi:], uint16(gid>>16))
}

// SetTimes sets mtime and ctime of an inode, in seconds since 1970.
func (e *Edit) SetTimes(ino uint32, mtime, ctime int64) error {
	return e.do(func() error {
		in, err := e.inode(ino)
		if err != nil {
			return err
		}
		putTime(in.Raw, ext4.InodeMtime, ext4.InodeMtimeExtra, mtime)
		putTime(in.Raw, ext4.InodeCtime, ext4.InodeCtimeExtra, ctime)
		return e.putInode(in)
	}, "set times of inode %d", ino)
}
