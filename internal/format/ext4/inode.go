package ext4

import (
	"fmt"
	"slices"
)

// Inode is a decoded inode. SweepInodes reuses one for many: Clone keeps it.
type Inode struct {
	Number uint32
	Group  uint32 // block group, and
	Index  uint32 // place in the group's table
	Offset int64  // byte at which it lies in the input
	Raw    []byte // InodeSize bytes as on disk; not to be changed

	Allocated bool // the inode bitmap says that it is in use; links != 0 when the bitmap is unusable
	Worker    int  // in a sweep: which worker hands it out, from 0

	Mode       uint16
	Links      uint16
	Flags      uint32
	UID, GID   uint32
	ProjID     uint32 // 0 when the inode has no room for it
	Size       uint64 // bytes, as the disk says
	Sectors    uint64 // i_blocks in units of 512 bytes, converted when FlagHugeFile counts in blocks
	Generation uint32
	Version    uint64
	FileACL    uint64 // block with extended attributes, 0 if none
	ExtraIsize uint16 // bytes of extra fields after the first 128; 0 in inodes of 128 bytes
}

// IsDir says whether the mode is that of a directory.
func (in *Inode) IsDir() bool { return in.Mode&ModeTypeMask == ModeDir }

// IsRegular says whether the mode is that of a regular file.
func (in *Inode) IsRegular() bool { return in.Mode&ModeTypeMask == ModeRegular }

// IsSymlink says whether the mode is that of a symbolic link.
func (in *Inode) IsSymlink() bool { return in.Mode&ModeTypeMask == ModeSymlink }

// IsInline says whether content lies in the inode itself.
func (in *Inode) IsInline() bool { return in.Flags&FlagInlineData != 0 }

// IsFree says whether nothing speaks for the inode being in use: no mode, no links.
func (in *Inode) IsFree() bool { return in.Mode == 0 && in.Links == 0 }

// DirentTypeOf gives the file type that a directory entry of an inode with this mode has.
func DirentTypeOf(mode uint16) uint8 {
	switch mode & ModeTypeMask {
	case ModeRegular:
		return TypeRegular
	case ModeDir:
		return TypeDir
	case ModeChar:
		return TypeChar
	case ModeBlock:
		return TypeBlock
	case ModeFIFO:
		return TypeFIFO
	case ModeSocket:
		return TypeSocket
	case ModeSymlink:
		return TypeSymlink
	}
	return TypeUnknown
}

// typeNames are words for the types of directory entries.
var typeNames = [...]string{TypeRegular: "file", TypeDir: "directory", TypeChar: "character device", TypeBlock: "block device", TypeFIFO: "FIFO",
	TypeSocket: "socket", TypeSymlink: "symbolic link"}

// TypeName is a word for the type of a directory entry: "directory", or "object of type 9" for one that ext4 does not have.
func TypeName(t uint8) string {
	if t == TypeUnknown || int(t) >= len(typeNames) {
		return fmt.Sprintf("object of type %d", t)
	}
	return typeNames[t]
}

// ParseTypeName is the reverse of TypeName for the types that ext4 has.
func ParseTypeName(name string) (t uint8, ok bool) {
	i := slices.Index(typeNames[:], name)
	return uint8(max(i, 0)), i > 0
}

// decode fills in from raw, which must have the inode size of the file system.
func (in *Inode) decode(s *Superblock, raw []byte) {
	_ = raw[InodeGoodOldSize-1]
	in.Raw = raw
	in.Mode = le.Uint16(raw[InodeMode:])
	in.Links = le.Uint16(raw[InodeLinks:])
	in.Flags = le.Uint32(raw[InodeFlags:])
	in.UID = uint32(le.Uint16(raw[InodeUIDLo:])) | uint32(le.Uint16(raw[InodeUIDHi:]))<<16
	in.GID = uint32(le.Uint16(raw[InodeGIDLo:])) | uint32(le.Uint16(raw[InodeGIDHi:]))<<16
	in.Size = uint64(le.Uint32(raw[InodeSizeLo:])) | uint64(le.Uint32(raw[InodeSizeHi:]))<<32
	in.Sectors = uint64(le.Uint32(raw[InodeBlocksLo:]))
	if s.ROCompat&ROCompatHugeFile != 0 {
		in.Sectors |= uint64(le.Uint16(raw[InodeBlocksHi:])) << 32
		if in.Flags&FlagHugeFile != 0 {
			in.Sectors *= uint64(s.BlockSize / 512)
		}
	}
	in.Generation = le.Uint32(raw[InodeGeneration:])
	in.FileACL = uint64(le.Uint32(raw[InodeFileACLLo:]))
	if s.Incompat&Incompat64bit != 0 {
		in.FileACL |= uint64(le.Uint16(raw[InodeFileACLHi:])) << 32
	}
	in.Version = uint64(le.Uint32(raw[InodeVersionLo:]))
	in.ExtraIsize, in.ProjID = 0, 0
	if len(raw) > InodeGoodOldSize {
		in.ExtraIsize = le.Uint16(raw[InodeExtraIsize:])
		if in.has(InodeVersionHi, 4) {
			in.Version |= uint64(le.Uint32(raw[InodeVersionHi:])) << 32
		}
		if in.has(InodeProjID, 4) {
			in.ProjID = le.Uint32(raw[InodeProjID:])
		}
	}
}

// has says whether i_extra_isize reaches a field of n bytes, and the inode as well.
func (in *Inode) has(off, n int) bool {
	return off+n <= InodeGoodOldSize+int(in.ExtraIsize) && off+n <= len(in.Raw)
}

// Clone gives a copy that stays valid when the sweep goes on.
func (in *Inode) Clone() *Inode {
	c := *in
	c.Raw = append([]byte(nil), in.Raw...)
	return &c
}

// Time is a point in time as inodes keep it.
type Time struct {
	Sec  int64 // since 1970
	Nsec uint32
}

// stamp decodes a time whose extra bits, if there is room for them, hold nanoseconds and two more bits of seconds.
func (in *Inode) stamp(lo, extra int) Time {
	if !in.has(extra, 4) {
		return Time{Sec: int64(int32(le.Uint32(in.Raw[lo:])))}
	}
	x := le.Uint32(in.Raw[extra:])
	return Time{Sec: int64(int32(le.Uint32(in.Raw[lo:]))) + int64(x&3)<<32, Nsec: x >> 2}
}

// Atime gives the time of the last read.
func (in *Inode) Atime() Time { return in.stamp(InodeAtime, InodeAtimeExtra) }

// Mtime gives the time of the last change of content.
func (in *Inode) Mtime() Time { return in.stamp(InodeMtime, InodeMtimeExtra) }

// Ctime gives the time of the last change of the inode.
func (in *Inode) Ctime() Time { return in.stamp(InodeCtime, InodeCtimeExtra) }

// Dtime gives the time of deletion, or the next inode of the orphan list.
func (in *Inode) Dtime() uint32 { return le.Uint32(in.Raw[InodeDtime:]) }

// BlockField gives the 60 bytes of block map, extent root or inline data.
func (in *Inode) BlockField() []byte { return in.Raw[InodeBlock : InodeBlock+InodeBlockLen] }

// InodeOffset gives the byte at which an inode lies. It fails for numbers that the file system does not have and when the group's
// inode table lies outside of it.
func (fs *FS) InodeOffset(ino uint32) (int64, error) {
	s := &fs.sb
	if ino == 0 || ino > fs.inodes {
		return 0, fmt.Errorf("inode %d of %d: %w", ino, fs.inodes, ErrNoInode)
	}
	group, index := (ino-1)/s.InodesPerGroup, (ino-1)%s.InodesPerGroup
	d, err := fs.Group(group)
	if err != nil {
		return 0, fmt.Errorf("inode %d: %w", ino, err)
	}
	within := uint64(index) * uint64(s.InodeSize)
	if !fs.BlockOK(d.InodeTable) || !fs.BlockOK(d.InodeTable+within/uint64(s.BlockSize)) {
		return 0, fmt.Errorf("inode %d: table of group %d at block %d: %w", ino, group, d.InodeTable, ErrPastEnd)
	}
	return fs.offset(d.InodeTable) + int64(within), nil
}

// Inode reads one inode. Allocated is taken from the inode bitmap when that can be read.
func (fs *FS) Inode(ino uint32) (*Inode, error) {
	at, err := fs.InodeOffset(ino)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, fs.sb.InodeSize)
	if err := fs.readAt(raw, at); err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	in := &Inode{Number: ino, Group: (ino - 1) / fs.sb.InodesPerGroup, Index: (ino - 1) % fs.sb.InodesPerGroup, Offset: at}
	in.decode(&fs.sb, raw)
	in.Allocated = in.Links != 0
	if used, err := fs.inodeInUse(in.Group, in.Index); err == nil {
		in.Allocated = used
	}
	return in, nil
}

// DecodeInode decodes raw bytes of an inode that were read, or are about to be written, by somebody else. Raw is kept.
func (fs *FS) DecodeInode(ino uint32, raw []byte) (*Inode, error) {
	if len(raw) != int(fs.sb.InodeSize) || ino == 0 {
		return nil, fmt.Errorf("inode %d of %d bytes, not %d: %w", ino, len(raw), fs.sb.InodeSize, ErrNoInode)
	}
	in := &Inode{Number: ino, Group: (ino - 1) / fs.sb.InodesPerGroup, Index: (ino - 1) % fs.sb.InodesPerGroup}
	in.Offset, _ = fs.InodeOffset(ino) // 0 when it has no place
	in.decode(&fs.sb, raw)
	in.Allocated = in.Links != 0
	return in, nil
}

// inodeInUse reads one bit of an inode bitmap.
func (fs *FS) inodeInUse(group, index uint32) (bool, error) {
	d, err := fs.Group(group)
	if err != nil {
		return false, err
	}
	if fs.sb.usesUninit() && d.Flags&GroupInodeUninit != 0 {
		return false, nil
	}
	if !fs.BlockOK(d.InodeBitmap) {
		return false, fmt.Errorf("inode bitmap of group %d at block %d: %w", group, d.InodeBitmap, ErrPastEnd)
	}
	var b [1]byte
	if err := fs.readAt(b[:], fs.offset(d.InodeBitmap)+int64(index/8)); err != nil {
		return false, err
	}
	return b[0]&(1<<(index%8)) != 0, nil
}
