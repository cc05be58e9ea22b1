package ext4

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// stake is a run of blocks that holds metadata: bitmap or inode table of a group, or superblock and descriptors at its begin.
type stake struct {
	from  uint64
	n     uint32 // blocks
	group uint32
}

// BaseBlocks gives how many blocks at the begin of a group are taken by a copy of the superblock, group descriptors and the space
// kept for more of them (kernel: ext4_num_base_meta_blocks).
func (s *Superblock) BaseBlocks(group uint32) uint64 {
	n, reserved := s.baseBlocks(group)
	return n + reserved
}

// baseBlocks tells what is taken and what is reserved apart.
func (s *Superblock) baseBlocks(group uint32) (taken, reserved uint64) {
	per := uint64(s.BlockSize / s.DescSize)
	metaBG := s.Incompat&IncompatMetaBG != 0
	if metaBG && uint64(group) >= uint64(s.FirstMetaBG)*per {
		if s.HasSuper(group) {
			taken = 1
		}
		if in := uint64(group) % per; in == 0 || in == 1 || in == per-1 {
			taken++
		}
		return taken, 0
	}
	if !s.HasSuper(group) {
		return 0, 0
	}
	descs := (s.Groups() + per - 1) / per
	if metaBG {
		descs = uint64(s.FirstMetaBG)
	}
	return 1 + descs, uint64(s.ReservedGDTBlocks)
}

// BlocksIn gives how many blocks a group has: the last one may be shorter.
func (s *Superblock) BlocksIn(group uint32) uint64 {
	first := s.GroupFirstBlock(group)
	return min(uint64(s.BlocksPerGroup), max(s.Blocks, first)-first)
}

// VerifyGroups checks all groups: what VerifyGroup does; that no bitmap or table lies where other metadata does, or elsewhere than a
// copy of the descriptors says; and the bitmaps of those that pass: by their checksums with metadata_csum, else block bitmaps by
// what they must have in use. An inode table that lies elsewhere is not told here in a file system without a copy, unless it meets
// something: its inodes tell. It reads up to two blocks of each group, and takes some 64 bytes for each. The error is that of reading, or the context's.
func (fs *FS) VerifyGroups(ctx context.Context, report Report) error {
	v := &placing{fs: fs, report: report, wrong: make(bitset, fs.groups/64+1)}
	for g := range fs.groups {
		if g%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v.add(g)
	}
	if err := v.copies(ctx); err != nil {
		return err
	}
	slices.SortFunc(v.stakes, func(a, b stake) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.group, b.group)) })
	v.overlaps()
	next := 0 // stakes before it lie in groups before
	for g := range fs.groups {
		if g%128 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for next < len(v.stakes) && v.stakes[next].from+uint64(v.stakes[next].n) <= fs.sb.GroupFirstBlock(g) {
			next++
		}
		if v.wrong.has(g) {
			continue
		}
		if fs.sums.Metadata {
			if _, err := fs.VerifyBitmaps(g, report); err != nil {
				return err
			}
		} else if err := v.content(g, v.stakes[next:]); err != nil {
			return err
		}
	}
	return nil
}

// placing is a running VerifyGroups.
type placing struct {
	fs     *FS
	report Report
	stakes []stake // of groups that are not wrong, and the fixed ones
	wrong  bitset  // groups that were told of
}

// bitset has a bit for each group.
type bitset []uint64

func (b bitset) set(g uint32)      { b[g/64] |= 1 << (g % 64) }
func (b bitset) has(g uint32) bool { return b[g/64]&(1<<(g%64)) != 0 }

// add takes the metadata of a group in.
func (v *placing) add(g uint32) {
	s := &v.fs.sb
	if !v.fs.VerifyGroup(g, v.report) {
		v.wrong.set(g)
		return
	}
	if n, _ := s.baseBlocks(g); n > 0 {
		v.stakes = append(v.stakes, stake{s.GroupFirstBlock(g), uint32(min(n, uint64(s.BlocksPerGroup))), g})
	}
	d, _ := v.fs.Group(g)
	v.stakes = append(v.stakes, stake{d.BlockBitmap, 1, g}, stake{d.InodeBitmap, 1, g}, stake{d.InodeTable, uint32(s.TableBlocks()), g})
}

// name says what a stake is.
func (v *placing) name(k stake) (text string, fixed bool) {
	d, err := v.fs.Group(k.group)
	switch {
	case err == nil && k.from == d.BlockBitmap && k.n == 1:
		return "block bitmap", false
	case err == nil && k.from == d.InodeBitmap && k.n == 1:
		return "inode bitmap", false
	case err == nil && k.from == d.InodeTable:
		return "inode table", false
	}
	return "superblock or descriptors", true
}

// overlaps reports groups that have something where something else is. The stakes are sorted.
func (v *placing) overlaps() {
	var top stake // the one that reaches farthest
	for i, k := range v.stakes {
		if i > 0 && k.from < top.from+uint64(top.n) {
			a, b := k, top
			what, fixed := v.name(a)
			if fixed {
				a, b = b, a
				what, _ = v.name(a)
			}
			other, _ := v.name(b)
			d, _ := v.fs.Group(a.group)
			v.wrong.set(a.group)
			v.report.group(KindGroupDesc, a.group, a.from, d.Offset, "%s at block %d, where group %d has its %s", what, a.from, b.group, other)
		}
		if end := k.from + uint64(k.n); end > top.from+uint64(top.n) {
			top = k
		}
	}
}

// content looks whether the block bitmap of a group has what must be in use: all metadata in the group, and the bits behind the last block.
// Without metadata_csum nothing else tells that it is no bitmap, or another one. stakes begins at the first that may lie in the group.
func (v *placing) content(g uint32, stakes []stake) error {
	fs, s := v.fs, &v.fs.sb
	d, err := fs.Group(g)
	if err != nil || s.usesUninit() && d.Flags&GroupBlockUninit != 0 || s.ClusterSize != s.BlockSize {
		return err
	}
	buf := fs.take()
	defer fs.give(buf)
	if err := fs.bitmapBlock(d.BlockBitmap, *buf, g, "block"); err != nil {
		if !skippable(err) {
			return err
		}
		v.report.group(KindRead, g, d.BlockBitmap, fs.offset(d.BlockBitmap), "%v", err)
		return nil
	}
	first, n := s.GroupFirstBlock(g), s.BlocksIn(g)
	clear, what := firstClear(*buf, n, uint64(len(*buf))*8), "lies behind the end of the group"
	for _, k := range stakes {
		if k.from >= first+n || clear >= 0 {
			break
		}
		if k.from+uint64(k.n) <= first { // it lies in a longer one before it, which was told
			continue
		}
		if clear = firstClear(*buf, max(k.from, first)-first, min(k.from+uint64(k.n), first+n)-first); clear >= 0 {
			text, _ := v.name(k)
			what = fmt.Sprintf("is in the %s of group %d", text, k.group)
		}
	}
	if clear >= 0 {
		v.report.group(KindBitmap, g, d.BlockBitmap, fs.offset(d.BlockBitmap), "the block bitmap, at block %d, has block %d as free, which %s: it is damaged, or is no bitmap",
			d.BlockBitmap, first+uint64(clear), what)
	}
	return nil
}

// firstClear gives the first bit of [from, to) that is not set, -1 if all are.
func firstClear(bitmap []byte, from, to uint64) int64 {
	for i := from; i < to; i++ {
		if i%8 == 0 && i+8 <= to && bitmap[i/8] == 0xff {
			i += 7
			continue
		}
		if bitmap[i/8]&(1<<(i%8)) == 0 {
			return int64(i)
		}
	}
	return -1
}
