package ext4edit

import (
	"bytes"
	"math"
	"slices"

	"fettle/internal/format/ext4"
)

// sbWtime is the offset of the time of the last write in the superblock, u32.
const sbWtime = 0x30

// DestroyInode frees an inode as the kernel does that of a file whose last name goes: its blocks, those of its map, its attribute block, values
// of attributes in inodes of their own. Mode, owner and attributes in the inode stay in it, with a time of deletion. A directory must be empty.
// Names and OI entries of it are the caller's, and so is that nobody else has its blocks: see Shared.
//
// ErrDamaged if any part of its map or its attributes cannot be read or is marked as free, ErrNotEmpty, ErrUnsupported for inline directories.
func (e *Edit) DestroyInode(ino uint32) error {
	return e.do(func() error {
		in, err := e.inode(ino)
		if err != nil {
			return err
		}
		if ino < e.sb.FirstIno || in.Flags&ext4.FlagEAInode != 0 {
			return invalid("inode %d is no object", ino)
		}
		return e.destroy(in)
	}, "destroy inode %d", ino)
}

func (e *Edit) destroy(in *ext4.Inode) error {
	if err := e.mustBeEmpty(in); err != nil {
		return err
	}
	runs, err := e.content(in)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if err := e.freeRun(r); err != nil {
			return err
		}
	}
	if err := e.dropAttributes(in); err != nil {
		return err
	}
	e.bury(in)
	dir := in.IsDir()
	if err := e.putInode(in); err != nil {
		return err
	}
	e.mark(in.Number, false)
	return e.releaseInode(in.Number, dir)
}

// mustBeEmpty is an error for directories that hold names, or may.
func (e *Edit) mustBeEmpty(in *ext4.Inode) error {
	if !in.IsDir() {
		return nil
	}
	if in.IsInline() || in.Flags&ext4.FlagEncrypt != 0 {
		return ErrUnsupported
	}
	if _, err := e.dirPlaces(in); err != nil { // a name may be in a hole
		return err
	}
	var f first
	empty := true
	err := e.view.Dir(in, func(d ext4.Dirent) bool {
		empty = bytes.Equal(d.Name, []byte(".")) || bytes.Equal(d.Name, []byte(".."))
		return empty
	}, f.report)
	if err != nil || f.err != nil || !empty {
		return firstOf(err, f.err, ErrNotEmpty)
	}
	return nil
}

// content lists the blocks of an inode, of its map as well, after the checks that they can be its own.
func (e *Edit) content(in *ext4.Inode) ([]span, error) {
	var f first
	var runs []span
	tooMany := false
	add := func(from, n uint64) bool {
		if tooMany = len(runs) == maxExtents; !tooMany {
			runs = append(runs, span{from, n})
		}
		return !tooMany
	}
	err := in.Blocks(e.view, func(x ext4.Extent) bool { return add(x.Physical, uint64(x.Length)) }, f.report)
	if err == nil {
		err = in.MapBlocks(e.view, func(b uint64) bool { return add(b, 1) }, f.report)
	}
	if err == nil && e.sums.Metadata {
		_, err = e.view.VerifyMap(in, f.report)
	}
	if err := firstOf(err, f.err); err != nil {
		return nil, err
	}
	if tooMany {
		return nil, damaged("the map of inode %d has more than %d parts", in.Number, maxExtents)
	}
	for _, r := range runs {
		if err := e.ownRun(r); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// ownRun is own for a run of blocks.
func (e *Edit) ownRun(r span) error {
	if r.n == 0 || r.n > e.over.limit || r.from < uint64(e.sb.FirstDataBlock) || r.from > e.over.limit-r.n {
		return damaged("blocks %d to %d lie outside the file system", r.from, r.from+r.n-1)
	}
	m, err := e.metaFrom(r.from)
	if err != nil {
		return err
	}
	if m.n > 0 && m.from < r.from+r.n {
		return damaged("block %d of a file holds a bitmap, an inode table or descriptors", max(m.from, r.from))
	}
	is, err := e.Marked(r.from, r.n)
	if err == nil && is != BitsUsed {
		err = damaged("blocks %d to %d of a file are marked as free, or some of them", r.from, r.from+r.n-1)
	}
	return err
}

// freeRun marks blocks of a file as free. Those that are free already are an error: the file has them twice.
func (e *Edit) freeRun(r span) error {
	if err := e.ownRun(r); err != nil {
		return err
	}
	if err := e.Mark(r.from, r.n, false); err != nil {
		return err
	}
	err := e.perGroup(r.from, r.n, func(g uint32, _, n int) error {
		d, err := e.group(g)
		if err != nil {
			return err
		}
		if d.FreeBlocks += uint32(n); uint64(d.FreeBlocks) > uint64(e.groupBlocks(g)) {
			return damaged("group %d says that more blocks are free than it has", g)
		}
		return e.putGroup(d)
	})
	if err != nil || r.n > math.MaxInt32 {
		return firstOf(err, invalid("%d blocks in a row", r.n))
	}
	return e.count(int(r.n), 0)
}

// dropAttributes takes an inode off its attribute block and off the values that lie in inodes of their own. Other attributes in the inode stay.
func (e *Edit) dropAttributes(in *ext4.Inode) error {
	a, err := e.attrs(in)
	if err != nil {
		return err
	}
	keep := slices.Clone(a.inode)
	keep = slices.DeleteFunc(keep, func(x attr) bool { return x.inum != 0 })
	apart := slices.Clone(a.inode)
	if a.head != nil && le.Uint32(a.head[ext4.XattrHdrRefcount:]) == 1 { // else the values are still those of the block's other inodes
		apart = append(apart, a.block...)
	}
	for _, x := range apart {
		if x.inum == 0 {
			continue
		}
		if err := e.dropValue(in, x); err != nil {
			return err
		}
	}
	if len(keep) < len(a.inode) {
		if err := e.putInodeAttrs(in, a, keep); err != nil {
			return err
		}
	}
	return e.leaveXattrBlock(in, a)
}

// value reads the inode that holds the value of an attribute, and how many attributes have it. In Lustre's old form it has one owner, named in
// the fields for mtime and generation; else ctime and version hold a count (Linux, fs/ext4/xattr.c).
func (e *Edit) value(owner *ext4.Inode, x attr) (in *ext4.Inode, refs uint64, err error) {
	if in, err = e.inode(x.inum); err != nil {
		return nil, 0, err
	}
	if in.Flags&ext4.FlagEAInode == 0 || !in.IsRegular() || in.Size != uint64(x.size) || in.Number < e.sb.FirstIno || in.Number == owner.Number {
		return nil, 0, damaged("inode %d does not hold the attribute of inode %d that it should", x.inum, owner.Number)
	}
	// One that has such values itself could go on for ever.
	if a, err := e.attrs(in); err != nil || slices.ContainsFunc(slices.Concat(a.inode, a.block), func(x attr) bool { return x.inum != 0 }) {
		return nil, 0, firstOf(err, damaged("inode %d holds an attribute and has attributes in inodes of their own", in.Number))
	}
	if le.Uint32(in.Raw[ext4.InodeMtime:]) == owner.Number && in.Generation == owner.Generation {
		return in, 1, nil
	}
	refs = uint64(le.Uint32(in.Raw[ext4.InodeCtime:]))<<32 | uint64(le.Uint32(in.Raw[ext4.InodeVersionLo:]))
	if refs == 0 || in.FileACL != 0 {
		return nil, 0, damaged("inode %d holds an attribute of inode %d, and says that nobody has it", x.inum, owner.Number)
	}
	return in, refs, nil
}

// dropValue takes one owner off a value, which is destroyed with the last one.
func (e *Edit) dropValue(owner *ext4.Inode, x attr) error {
	in, refs, err := e.value(owner, x)
	if err != nil {
		return err
	}
	if refs == 1 {
		return e.destroy(in)
	}
	refs--
	le.PutUint32(in.Raw[ext4.InodeCtime:], uint32(refs>>32))
	le.PutUint32(in.Raw[ext4.InodeVersionLo:], uint32(refs))
	return e.putInode(in)
}

// bury makes the fields those of a deleted inode. Without a time of its own the edit takes that of the last write to the file system, but
// nothing that e2fsck takes for the number of an inode in a list of orphans.
func (e *Edit) bury(in *ext4.Inode) {
	when := uint32(e.opt.Time)
	if when == 0 {
		when = max(le.Uint32(e.sb.Raw[sbWtime:]), e.sb.Inodes, 1)
	}
	le.PutUint32(in.Raw[ext4.InodeDtime:], when)
	le.PutUint16(in.Raw[ext4.InodeLinks:], 0)
	le.PutUint32(in.Raw[ext4.InodeSizeLo:], 0)
	le.PutUint32(in.Raw[ext4.InodeSizeHi:], 0)
	le.PutUint32(in.Raw[ext4.InodeBlocksLo:], 0)
	le.PutUint16(in.Raw[ext4.InodeBlocksHi:], 0)
	field := in.Raw[ext4.InodeBlock : ext4.InodeBlock+ext4.InodeBlockLen]
	clear(field)
	if in.Flags&ext4.FlagExtents != 0 {
		initExtents(field, 0)
	}
}

// intact reads an inode that is marked as free and is whole: links, a type, never deleted, all its blocks still marked as in use.
func (e *Edit) intact(ino uint32) (*ext4.Inode, error) {
	used, err := e.InUse(ino)
	if err != nil {
		return nil, err
	}
	in, err := e.view.Inode(ino)
	if err != nil {
		return nil, err
	}
	if used || ino < e.sb.FirstIno || in.Links == 0 || in.Dtime() != 0 || ext4.DirentTypeOf(in.Mode) == ext4.TypeUnknown || in.Flags&ext4.FlagEAInode != 0 {
		return nil, invalid("inode %d is no whole one that is marked as free", ino)
	}
	var f first
	if !e.view.VerifyInode(in, f.report) {
		return nil, f.err
	}
	if _, err := e.content(in); err != nil {
		return nil, err
	}
	if _, err := e.attrs(in); err != nil {
		return nil, err
	}
	if in.IsDir() {
		if _, err := e.dirPlaces(in); err != nil {
			return nil, err
		}
		if err := firstOf(e.view.Dir(in, func(ext4.Dirent) bool { return true }, f.report), f.err); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// RestoreInode marks an inode as in use again of which only the mark in the bitmap is lost. Counts stay as they are: see Recount. That nobody
// else has got its blocks meanwhile is for the caller to know: see Shared.
func (e *Edit) RestoreInode(ino uint32) error {
	return e.do(func() error {
		if _, err := e.intact(ino); err != nil {
			return err
		}
		per := e.sb.InodesPerGroup
		g, bit := (ino-1)/per, (ino-1)%per
		d, err := e.group(g)
		if err != nil {
			return err
		}
		if err := e.loadInodes(d); err != nil {
			return err
		}
		setBit(d.inodes, int(bit))
		if e.usesUninit() {
			d.ItableUn = min(d.ItableUn, per-bit-1)
		}
		return e.putGroup(d)
	}, "mark inode %d as in use", ino)
}
