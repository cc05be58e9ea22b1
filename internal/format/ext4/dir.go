package ext4

// DirBlock is one block of a directory, small enough to be gathered by the million and sorted by Physical.
type DirBlock struct {
	Physical   uint64 // block of the file system
	Inode      uint32 // the directory
	Generation uint32 // of the directory: its blocks' checksums begin with it
	Logical    uint32 // block within the directory
}

// DirBlocks hands out the blocks of a directory. An inline directory has none: see IsInline and Dir. Blocks beyond the directory's
// size are handed out as well and reported, as are holes. fn returns false to stop.
//
// A block belongs to one directory at most: who gathers the blocks of many should give up when there are more than the file system
// has blocks, because each damaged directory may claim them all.
func (fs *FS) DirBlocks(in *Inode, fn func(DirBlock) bool, report Report) error {
	size := in.Size / uint64(fs.sb.BlockSize)
	if in.Size%uint64(fs.sb.BlockSize) != 0 && !in.IsInline() {
		report.inode(KindDirSize, in.Number, 0, in.Offset+InodeSizeLo, "the directory has %d bytes, which are no whole blocks of %d", in.Size, fs.sb.BlockSize)
	}
	next, beyond := uint64(0), false
	stopped := false
	err := in.Blocks(fs, func(e Extent) bool {
		if uint64(e.Logical) > next && next < size {
			report.inode(KindDirSize, in.Number, 0, in.Offset+InodeBlock, "the directory has a hole at block %d", next)
		}
		if e.Unwritten {
			next = uint64(e.Logical) + uint64(e.Length)
			report.inode(KindDirSize, in.Number, e.Physical, in.Offset+InodeBlock, "blocks %d to %d of the directory are marked as never written", e.Logical, next-1)
		}
		for i := range e.Length {
			b := DirBlock{Physical: e.Physical + uint64(i), Inode: in.Number, Generation: in.Generation, Logical: e.Logical + i}
			if uint64(b.Logical) >= size && !beyond {
				beyond = true
				report.inode(KindDirSize, in.Number, b.Physical, in.Offset+InodeSizeLo, "block %d of the directory lies beyond its size of %d bytes", b.Logical, in.Size)
			}
			if !fn(b) {
				stopped = true
				return false
			}
		}
		next = uint64(e.Logical) + uint64(e.Length)
		return true
	}, report)
	if err == nil && !stopped && next < size {
		report.inode(KindDirSize, in.Number, 0, in.Offset+InodeSizeLo, "the directory ends with block %d, its size of %d bytes says %d blocks", next, in.Size, size)
	}
	return err
}

// Dir hands out all entries of a directory that are in use, '.' and '..' included, by a walk over all of its blocks in logical
// order; a hash tree is not needed for it. Inline directories too: '.' and '..' are made up from the inode there, the first with
// offset -1. Damage is reported and the walk goes on with the next block. The error is that of reading, but a block that is beyond
// the end of a truncated input or a bad sector is reported instead.
func (fs *FS) Dir(in *Inode, fn func(Dirent) bool, report Report) error {
	if in.IsInline() {
		fs.inlineDir(in, fn, report)
		return nil
	}
	buf := fs.take()
	defer fs.give(buf)
	var failed error
	err := fs.DirBlocks(in, func(b DirBlock) bool {
		var ok bool
		if ok, failed = fs.readFor(in.Number, b.Physical, *buf, "the directory", report); ok {
			return fs.Dirents(b, *buf, fn, report)
		}
		return failed == nil
	}, report)
	if failed != nil {
		return failed
	}
	return err
}

// inlineDir hands out the entries of a directory kept in its inode: the number of the parent, entries in the rest of the block
// field, and more in the attribute system.data (kernel: fs/ext4/inline.c).
func (fs *FS) inlineDir(in *Inode, fn func(Dirent) bool, report Report) {
	parent := le.Uint32(in.BlockField())
	if !fn(Dirent{Inode: in.Number, Type: TypeDir, Name: []byte("."), Offset: -1, At: -1}) ||
		!fn(Dirent{Inode: parent, Type: TypeDir, Name: []byte(".."), Offset: InodeBlock, At: in.Offset + InodeBlock}) {
		return
	}
	b := DirBlock{Inode: in.Number, Generation: in.Generation}
	first := InodeBlock + 4
	w := direntWalk{fs: fs, b: b, at: in.Offset + int64(first), base: first, report: report}
	if !w.each(in.Raw[first:InodeBlock+InodeBlockLen], fn) {
		return
	}
	in.InodeXattrs(func(x Xattr) bool {
		if x.Index != XattrIndexSystem || string(x.Name) != "data" {
			return true
		}
		if x.ValueInode != 0 {
			report.inode(KindInline, in.Number, 0, x.EntryAt, "inline data is said to lie in inode %d", x.ValueInode)
			return false
		}
		if len(x.Value) > 0 {
			w := direntWalk{fs: fs, b: b, at: x.ValueAt, base: int(x.ValueAt - in.Offset), report: report}
			w.each(x.Value, fn)
		}
		return false
	}, report)
}
