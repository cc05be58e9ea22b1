package ext4

import "fmt"

// Extent is a run of blocks of one inode.
type Extent struct {
	Logical   uint32 // first block within the file
	Physical  uint64 // first block of the file system
	Length    uint32 // blocks, at least 1
	Unwritten bool   // allocated, reads as zero
}

// Blocks hands out the blocks of an inode, whatever map it has: direct, indirect, double and triple indirect blocks, or an extent
// tree. Runs come in ascending logical order and never overlap; each lies within the file system. Holes are left out; block maps
// give neighbours as one run. Damage is reported and left out. fn returns false to stop. Inline data, short symbolic links and
// devices have no blocks. The error is that of reading a map block, other than a bad sector, which is reported.
//
// A map that shares its blocks with itself ends when more blocks were met than the file system has.
func (in *Inode) Blocks(fs *FS, fn func(Extent) bool, report Report) error {
	return in.walkMap(fs, fn, nil, report)
}

// MapBlocks hands out the blocks that hold the map itself: indirect blocks and nodes of the extent tree, from the top down.
func (in *Inode) MapBlocks(fs *FS, fn func(block uint64) bool, report Report) error {
	return in.walkMap(fs, nil, fn, report)
}

// walkMap chooses the kind of map. onData and onMap may be nil.
func (in *Inode) walkMap(fs *FS, onData func(Extent) bool, onMap func(uint64) bool, report Report) error {
	if in.Flags&FlagInlineData != 0 || !in.hasMap() {
		return nil
	}
	w := mapWalk{in: in, onData: onData, onMap: onMap, report: report, budget: fs.limit + 16}
	if in.Flags&FlagExtents != 0 {
		err := w.extents(fs, in.BlockField(), -1, 0)
		return w.finish(err)
	}
	return w.finish(w.indirects(fs))
}

// hasMap says whether the block field holds a map at all.
func (in *Inode) hasMap() bool {
	switch in.Mode & ModeTypeMask {
	case ModeRegular, ModeDir:
		return true
	case ModeSymlink:
		return !in.isFastSymlink()
	}
	return in.Mode&ModeTypeMask == 0 && in.Flags&(FlagExtents|FlagEAInode) != 0
}

// isFastSymlink says whether the target of a symbolic link lies in the block field.
func (in *Inode) isFastSymlink() bool {
	if !in.IsSymlink() || in.Flags&FlagInlineData != 0 || in.Size >= InodeBlockLen {
		return false
	}
	return in.Flags&FlagExtents == 0 || le.Uint16(in.Raw[InodeBlock:]) != ExtentMagic
}

// mapWalk is one walk over the map of an inode. The file system is passed along beside it, so that the compiler sees that neither
// the walk nor the functions in it outlive the call: walking a map of direct blocks allocates nothing.
type mapWalk struct {
	in     *Inode
	onData func(Extent) bool
	onMap  func(uint64) bool
	report Report
	budget uint64 // blocks that may still be met
	next   uint64 // no logical block below it may come any more
	run    Extent // gathered from a block map, not handed out yet
	path   [ExtentMaxDepth + 1]uint64
	done   bool // fn said stop, or the budget is used up
}

// finish hands out the last run.
func (w *mapWalk) finish(err error) error {
	w.flush()
	return err
}

// flush hands out the gathered run.
func (w *mapWalk) flush() {
	if w.run.Length > 0 && !w.done && w.onData != nil && !w.onData(w.run) {
		w.done = true
	}
	w.run.Length = 0
}

// spend takes n blocks from the budget and stops the walk when it is used up.
func (w *mapWalk) spend(fs *FS, n uint64) bool {
	if w.done {
		return false
	}
	if n > w.budget {
		w.flush()
		w.done = true
		w.report.inode(KindBlockCycle, w.in.Number, 0, w.in.Offset+InodeBlock, "its map holds more blocks than the file system has (%d)", fs.limit)
		return false
	}
	w.budget -= n
	return true
}

// enter checks a map block before it is read: within bounds, not its own ancestor. depth counts from 0 at the first block.
func (w *mapWalk) enter(fs *FS, block uint64, depth int, from int64) bool {
	if !fs.BlockOK(block) {
		w.report.inode(KindBlockRange, w.in.Number, block, from, "map block %d lies outside the file system", block)
		return false
	}
	for _, b := range w.path[:depth] {
		if b == block {
			w.report.inode(KindBlockCycle, w.in.Number, block, from, "map block %d is its own ancestor", block)
			return false
		}
	}
	w.path[depth] = block
	if !w.spend(fs, 1) {
		return false
	}
	if w.onMap != nil && !w.onMap(block) {
		w.done = true
	}
	return !w.done
}

// indirects walks the 15 block numbers of a block map.
func (w *mapWalk) indirects(fs *FS) error {
	per := uint64(fs.sb.BlockSize / 4)
	field := w.in.BlockField()
	for i := range 12 {
		w.single(fs, uint64(i), le.Uint32(field[4*i:]), w.in.Offset+InodeBlock+int64(4*i))
	}
	first, span := uint64(12), per
	for level := 1; level <= 3 && !w.done; level++ {
		at := 4 * (11 + level)
		if b := le.Uint32(field[at:]); b != 0 {
			if err := w.indirect(fs, uint64(b), level, 0, first, span, w.in.Offset+InodeBlock+int64(at)); err != nil {
				return err
			}
		}
		first += span
		span *= per
	}
	return nil
}

// indirect walks an indirect block of the given level; span is the number of logical blocks below it, from first on.
func (w *mapWalk) indirect(fs *FS, block uint64, level, depth int, first, span uint64, from int64) error {
	if !w.enter(fs, block, depth, from) {
		return nil
	}
	buf := fs.take()
	defer fs.give(buf)
	if ok, err := fs.readFor(w.in.Number, block, *buf, "the block map", w.report); !ok {
		return err
	}
	per := len(*buf) / 4
	span /= uint64(per)
	at := fs.offset(block)
	for i := 0; i < per && !w.done; i++ {
		b := le.Uint32((*buf)[4*i:])
		logical := first + uint64(i)*span
		switch {
		case b == 0:
		case level == 1:
			w.single(fs, logical, b, at+int64(4*i))
		default:
			if err := w.indirect(fs, uint64(b), level-1, depth+1, logical, span, at+int64(4*i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// single adds one block of a block map to the run, or begins a new one. off is where its number stands.
func (w *mapWalk) single(fs *FS, logical uint64, block uint32, off int64) {
	if block == 0 || w.done || w.onData == nil {
		return
	}
	if logical > 1<<32-1 {
		w.done = true // no file is that long; the rest of a triple map cannot be reached
		return
	}
	if !fs.BlockOK(uint64(block)) {
		w.report.inode(KindBlockRange, w.in.Number, uint64(block), off, "block %d of the file is at %d, outside the file system", logical, block)
		return
	}
	if !w.spend(fs, 1) {
		return
	}
	r := &w.run
	if r.Length > 0 && uint64(r.Logical)+uint64(r.Length) == logical && r.Physical+uint64(r.Length) == uint64(block) && r.Length < 1<<31 {
		r.Length++
		return
	}
	w.flush()
	*r = Extent{Logical: uint32(logical), Physical: uint64(block), Length: 1}
}

// extents walks a node of an extent tree. depth is what its parent says it must be, -1 for the root; at is its block, 0 for the root.
func (w *mapWalk) extents(fs *FS, node []byte, depth int, at uint64) error {
	off := w.in.Offset + InodeBlock
	if at != 0 {
		off = fs.offset(at)
	}
	magic, entries, most, d := le.Uint16(node), int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
	room := (len(node) - ExtentHeaderSize) / ExtentEntrySize
	bad := ""
	switch {
	case magic != ExtentMagic:
		bad = fmt.Sprintf("magic %#04x", magic)
	case depth >= 0 && d != depth:
		bad = fmt.Sprintf("depth %d where %d is due", d, depth)
	case d > ExtentMaxDepth:
		bad = fmt.Sprintf("depth %d", d)
	case entries > most || most > room:
		bad = fmt.Sprintf("%d of %d entries where %d have room", entries, most, room)
	}
	if bad != "" {
		w.report.inode(KindExtentHeader, w.in.Number, at, off, "extent tree node has %s", bad)
		return nil
	}
	for i := 0; i < entries && !w.done; i++ {
		e := node[ExtentHeaderSize+ExtentEntrySize*i:][:ExtentEntrySize]
		eoff := off + int64(ExtentHeaderSize+ExtentEntrySize*i)
		if d == 0 {
			w.leaf(fs, e, eoff)
			continue
		}
		if err := w.child(fs, e, d, eoff); err != nil {
			return err
		}
	}
	return nil
}

// child descends into the node that an index entry of a node of the given depth names.
func (w *mapWalk) child(fs *FS, e []byte, depth int, off int64) error {
	block := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
	level := 0
	for level < len(w.path) && w.path[level] != 0 {
		level++
	}
	if level == len(w.path) || !w.enter(fs, block, level, off) {
		return nil
	}
	defer func() { w.path[level] = 0 }()
	buf := fs.take()
	defer fs.give(buf)
	if ok, err := fs.readFor(w.in.Number, block, *buf, "an extent tree node", w.report); !ok {
		return err
	}
	return w.extents(fs, *buf, depth-1, block)
}

// leaf hands out one extent.
func (w *mapWalk) leaf(fs *FS, e []byte, off int64) {
	if w.onData == nil {
		return
	}
	x := Extent{Logical: le.Uint32(e), Length: uint32(le.Uint16(e[4:])), Physical: uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:]))}
	if x.Length > ExtentMaxLen {
		x.Length, x.Unwritten = x.Length-ExtentMaxLen, true
	}
	end := uint64(x.Logical) + uint64(x.Length)
	switch {
	case x.Length == 0 || end > 1<<32:
		w.report.inode(KindExtentLength, w.in.Number, x.Physical, off, "extent at block %d of the file has length %d", x.Logical, x.Length)
	case uint64(x.Logical) < w.next:
		w.report.inode(KindExtentOrder, w.in.Number, x.Physical, off, "extent at block %d of the file comes after block %d", x.Logical, w.next-1)
	case !fs.rangeOK(x.Physical, uint64(x.Length)):
		w.report.inode(KindBlockRange, w.in.Number, x.Physical, off, "block %d of the file is at %d, %d blocks, outside the file system", x.Logical, x.Physical, x.Length)
		w.next = end
	case w.spend(fs, uint64(x.Length)):
		w.next = end
		if !w.onData(x) {
			w.done = true
		}
	}
}
