package ext4edit

import (
	"bytes"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// NewInode says what a new inode is like.
type NewInode struct {
	Near       uint32 // an inode in whose group, or behind it, it shall lie; 0 means the root
	Mode       uint16 // with the type: a regular file, directory, symbolic link, FIFO or socket
	Target     string // of a symbolic link, 1 to 59 bytes
	UID, GID   uint32
	Project    uint32
	Generation uint32 // 0 means one more than the inode had before
	Links      uint16 // 0 means 1, for directories 2
	// Not lists free inodes that are passed over, but for those that were never used.
	Not []uint32
}

// AllocInode makes an inode: an empty regular file, a short symbolic link, a FIFO or a socket. Nothing names it yet, so its link count is wrong until a
// name is put in. For directories see MakeDir. A target's OI and quota files know nothing of it: see OIInsert and Recount.
func (e *Edit) AllocInode(n NewInode) (ino uint32, err error) {
	err = e.do(func() error {
		switch n.Mode & ext4.ModeTypeMask {
		case ext4.ModeRegular, ext4.ModeFIFO, ext4.ModeSocket:
		case ext4.ModeSymlink:
			if n.Target == "" || len(n.Target) >= ext4.InodeBlockLen || strings.Contains(n.Target, "\x00") {
				return invalid("a symbolic link to %q", n.Target)
			}
		default:
			return invalid("a new inode with mode %o", n.Mode)
		}
		in, err := e.newInode(n)
		if err != nil {
			return err
		}
		ino = in.Number
		return e.putInode(in)
	}, "make an inode near %d", n.Near)
	return ino, err
}

// newInode allocates an inode and fills in its fields. It is not written yet.
func (e *Edit) newInode(n NewInode) (*ext4.Inode, error) {
	dir := n.Mode&ext4.ModeTypeMask == ext4.ModeDir
	near := n.Near
	if near == 0 {
		near = ext4.InoRoot
	}
	if near > e.view.Inodes() {
		return nil, invalid("inode %d of %d", near, e.view.Inodes())
	}
	ino, err := e.allocInode((near-1)/e.sb.InodesPerGroup, dir, n.Not)
	if err != nil {
		return nil, err
	}
	at, err := e.view.InodeOffset(ino)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, e.sb.InodeSize)
	if _, err := e.over.ReadAt(raw, at); err != nil {
		return nil, err
	}
	if n.Generation == 0 {
		n.Generation = le.Uint32(raw[ext4.InodeGeneration:]) + 1
	}
	if n.Links == 0 {
		n.Links = 1
		if dir {
			n.Links = 2
		}
	}
	clear(raw)
	e.fill(raw, n)
	in, err := e.view.DecodeInode(ino, raw)
	if err != nil {
		return nil, err
	}
	e.mark(ino, true)
	return in, nil
}

// fill writes the fields of a new inode into zeros.
func (e *Edit) fill(raw []byte, n NewInode) {
	le.PutUint16(raw[ext4.InodeMode:], n.Mode)
	putOwner(raw, n.UID, n.GID)
	le.PutUint16(raw[ext4.InodeLinks:], n.Links)
	le.PutUint32(raw[ext4.InodeGeneration:], n.Generation)
	if len(raw) > ext4.InodeGoodOldSize {
		extra := max(32, int(e.sb.WantExtraIsize), int(e.sb.MinExtraIsize)) &^ 3
		le.PutUint16(raw[ext4.InodeExtraIsize:], uint16(min(extra, len(raw)-ext4.InodeGoodOldSize)))
	}
	putTime(raw, ext4.InodeAtime, ext4.InodeAtimeExtra, e.opt.Time)
	putTime(raw, ext4.InodeCtime, ext4.InodeCtimeExtra, e.opt.Time)
	putTime(raw, ext4.InodeMtime, ext4.InodeMtimeExtra, e.opt.Time)
	if reaches(raw, ext4.InodeCrtime, 4) {
		putTime(raw, ext4.InodeCrtime, ext4.InodeCrtimeExt, e.opt.Time)
	}
	if reaches(raw, ext4.InodeProjID, 4) {
		le.PutUint32(raw[ext4.InodeProjID:], n.Project)
	}
	kind := n.Mode & ext4.ModeTypeMask
	if kind == ext4.ModeSymlink {
		copy(raw[ext4.InodeBlock:], n.Target)
		le.PutUint32(raw[ext4.InodeSizeLo:], uint32(len(n.Target)))
	}
	if e.sb.Incompat&ext4.IncompatExtents != 0 && (kind == ext4.ModeRegular || kind == ext4.ModeDir) {
		le.PutUint32(raw[ext4.InodeFlags:], ext4.FlagExtents)
		initExtents(raw[ext4.InodeBlock:ext4.InodeBlock+ext4.InodeBlockLen], 0)
	}
}

// FreeInode gives an inode, its blocks and its attribute block back. It takes only inodes that this edit made and agents, which stand
// for objects of other targets; a directory must be empty. Names and OI entries of it are the caller's.
func (e *Edit) FreeInode(ino uint32) error {
	return e.do(func() error {
		in, err := e.inode(ino)
		if err != nil {
			return err
		}
		if agent, err := e.isAgent(in); err != nil || !agent && !e.made[ino] {
			if err == nil {
				err = invalid("inode %d was not made by this edit and is no agent", ino)
			}
			return err
		}
		if err := e.freeContent(in); err != nil {
			return err
		}
		if err := e.dropXattrBlock(in, nil); err != nil {
			return err
		}
		dir := in.IsDir()
		clear(in.Raw)
		le.PutUint32(in.Raw[ext4.InodeGeneration:], in.Generation)
		if err := e.putInode(in); err != nil {
			return err
		}
		e.mark(ino, false)
		return e.releaseInode(ino, dir)
	}, "free inode %d", ino)
}

// isAgent looks at trusted.lma.
func (e *Edit) isAgent(in *ext4.Inode) (bool, error) {
	value, ok, err := e.view.Xattr(in, ext4.XattrIndexTrusted, "lma")
	if err != nil || !ok {
		return false, err
	}
	lma, err := lustre.DecodeLMA(value)
	return err == nil && lma.Incompat&lustre.LMAIAgent != 0, nil
}

// freeContent gives the blocks of an inode back. Its map is left as it is, to be cleared.
func (e *Edit) freeContent(in *ext4.Inode) error {
	if in.IsInline() || in.Flags&(ext4.FlagEAInode|ext4.FlagEncrypt|ext4.FlagVerity) != 0 {
		return ErrUnsupported
	}
	var f first
	if in.IsDir() {
		empty := true
		err := e.view.Dir(in, func(d ext4.Dirent) bool {
			empty = bytes.Equal(d.Name, []byte(".")) || bytes.Equal(d.Name, []byte(".."))
			return empty
		}, f.report)
		if err != nil || f.err != nil || !empty {
			return firstOf(err, f.err, ErrNotEmpty)
		}
	}
	var blocks []uint64
	add := func(b uint64) bool { blocks = append(blocks, b); return true }
	err := in.Blocks(e.view, func(x ext4.Extent) bool {
		for i := range x.Length {
			add(x.Physical + uint64(i))
		}
		return true
	}, f.report)
	if err == nil {
		err = in.MapBlocks(e.view, add, f.report)
	}
	if err := firstOf(err, f.err); err != nil {
		return err
	}
	for _, b := range blocks {
		if err := e.freeBlock(b); err != nil {
			return err
		}
	}
	return e.addSectors(in, -len(blocks)*e.sectors())
}

// firstOf gives the first error that is one.
func firstOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}
