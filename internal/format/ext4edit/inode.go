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

func putOwner(raw []byte, uid, gid uint32) {
	le.PutUint16(raw[ext4.InodeUIDLo:], uint16(uid))
	le.PutUint16(raw[ext4.InodeUIDHi:], uint16(uid>>16))
	le.PutUint16(raw[ext4.InodeGIDLo:], uint16(gid))
	le.PutUint16(raw[ext4.InodeGIDHi:], uint16(gid>>16))
}
