package ext4edit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
)

// maxSharedRuns bounds the memory of one search for shared blocks.
const maxSharedRuns = 1 << 22

// Shared tells of inodes, in use or marked as free, which of them must not be freed or taken into use: one of their blocks, or the value of an
// attribute in an inode of its own, belongs to another inode as well, or what they have cannot be read as a whole. The text says why. It
// goes through all inodes once. Several inodes with one attribute block, as many as it counts, share nothing in this sense.
//
// did, if not nil, hears of every 4096th inode. The error is that of reading, the context's, or ErrDamaged where maps
// claim all blocks many times over.
func (e *Edit) Shared(ctx context.Context, inos []uint32, did func(inodes int64)) (map[uint32]string, error) {
	s := &sharing{e: e, out: map[uint32]string{}, of: map[uint32][]uint32{}, blocks: map[uint64]*user{}, values: map[uint32]*user{}, read: map[uint64]bool{}}
	for _, ino := range inos {
		if s.of[ino] == nil {
			s.of[ino] = []uint32{ino}
			s.candidate(ino)
		}
	}
	s.settle()
	n := int64(0)
	err := e.view.SweepInodes(ctx, ext4.SweepOptions{Everything: true, Written: true}, func(in *ext4.Inode) error {
		if n++; n%4096 == 0 && did != nil {
			did(4096)
		}
		return s.other(in)
	})
	if err != nil {
		return nil, err
	}
	for block, u := range s.blocks {
		if u.n > u.most {
			s.refuse(u.owners, "attribute block %d counts %d inodes, and %d have it", block, u.most, u.n)
		}
	}
	for ino, u := range s.values {
		if u.n > u.most {
			s.refuse(u.owners, "inode %d holds an attribute of %d inodes, and %d have it", ino, u.most, u.n)
		}
	}
	return s.out, nil
}

// user counts who has an attribute block or a value.
type user struct {
	owners  []uint32
	n, most uint64
}

// holding is a run of blocks of an inode that was asked for, or of a value of one.
type holding struct {
	span
	owner uint32 // key of sharing.of
}

type sharing struct {
	e      *Edit
	out    map[uint32]string
	of     map[uint32][]uint32 // whose a run is: an inode asked for is its own, a value is that of some of them
	runs   []holding
	blocks map[uint64]*user // attribute blocks
	values map[uint32]*user
	read   map[uint64]bool // attribute blocks of others that were looked at
	met    uint64          // blocks in maps of others
}

// refuse notes a reason. The first one counts.
func (s *sharing) refuse(owners []uint32, format string, args ...any) {
	for _, o := range owners {
		if s.out[o] == "" {
			s.out[o] = fmt.Sprintf(format, args...)
		}
	}
}

// candidate takes up what an inode has.
func (s *sharing) candidate(ino uint32) {
	me := []uint32{ino}
	in, err := s.e.view.Inode(ino)
	if err == nil {
		err = s.take(in)
	}
	if err != nil {
		s.refuse(me, "what it holds cannot be read as a whole: %v", err)
		return
	}
	a, err := s.e.attrs(in)
	if err != nil {
		s.refuse(me, "its attributes cannot be read: %v", err)
		return
	}
	list := a.inode
	if in.FileACL != 0 {
		u := s.blocks[in.FileACL]
		if u == nil {
			u = &user{most: uint64(le.Uint32(a.head[ext4.XattrHdrRefcount:]))}
			s.blocks[in.FileACL] = u
			s.runs = append(s.runs, holding{span{in.FileACL, 1}, ino})
			list = slices.Concat(a.inode, a.block) // a block's values are counted once
		}
		u.n++
		u.owners = append(u.owners, ino)
	}
	for _, x := range list {
		if x.inum == 0 {
			continue
		}
		holder, refs, err := s.e.value(in, x)
		if err == nil && s.values[x.inum] == nil {
			err = s.take(holder)
			s.values[x.inum] = &user{most: refs}
		}
		if err != nil {
			s.refuse(me, "the value of one of its attributes cannot be read: %v", err)
			return
		}
		u := s.values[x.inum]
		u.n++
		u.owners = append(u.owners, ino)
		s.of[x.inum] = u.owners
	}
}

// take adds the blocks of an inode.
func (s *sharing) take(in *ext4.Inode) error {
	spans, err := s.e.content(in)
	if err != nil {
		return err
	}
	if len(s.runs)+len(spans) > maxSharedRuns {
		return fmt.Errorf("too many parts to be looked at in one repair: %w", ErrNoSpace)
	}
	for _, r := range spans {
		s.runs = append(s.runs, holding{r, in.Number})
	}
	return nil
}

// settle sorts the runs and takes out whoever shares a block with another, or with itself. What is left does not overlap.
func (s *sharing) settle() {
	slices.SortFunc(s.runs, func(a, b holding) int { return cmp.Compare(a.from, b.from) })
	var end uint64
	last := 0
	for i, r := range s.runs {
		if i > 0 && r.from < end {
			s.refuse(s.of[r.owner], "block %d belongs to inode %d as well", r.from, s.runs[last].owner)
			s.refuse(s.of[s.runs[last].owner], "block %d belongs to inode %d as well", r.from, r.owner)
		}
		if r.from+r.n > end {
			end, last = r.from+r.n, i
		}
	}
	s.runs = slices.DeleteFunc(s.runs, func(r holding) bool {
		return slices.ContainsFunc(s.of[r.owner], func(o uint32) bool { return s.out[o] != "" })
	})
}

// other compares with what an inode has that was not asked for.
func (s *sharing) other(in *ext4.Inode) error {
	if s.of[in.Number] != nil || !in.Allocated && (in.Links == 0 || in.Dtime() != 0) {
		return nil
	}
	if in.Number < s.e.sb.FirstIno && in.Mode&ext4.ModeTypeMask == 0 && in.Flags&ext4.FlagInlineData == 0 {
		typed := *in // reserved inodes have no type sometimes, and a map all the same
		typed.Mode |= ext4.ModeRegular
		in = &typed
	}
	err := in.Blocks(s.e.view, func(x ext4.Extent) bool {
		s.met += uint64(x.Length)
		s.has(in, x.Physical, uint64(x.Length))
		return true
	}, nil)
	if err == nil {
		err = in.MapBlocks(s.e.view, func(b uint64) bool { s.has(in, b, 1); return true }, nil)
	}
	if err == nil && s.met > maxClaims*s.e.over.limit {
		err = damaged("the maps of the inodes up to %d hold %d blocks, and the file system has %d", in.Number, s.met, s.e.over.limit)
	}
	if err != nil {
		return err
	}
	return s.attributes(in)
}

// has tells of a run of another inode.
func (s *sharing) has(in *ext4.Inode, from, n uint64) {
	i, _ := slices.BinarySearchFunc(s.runs, from, func(r holding, b uint64) int { return cmp.Compare(r.from+r.n, b+1) })
	for ; i < len(s.runs) && s.runs[i].from < from+n; i++ {
		s.refuse(s.of[s.runs[i].owner], "block %d belongs to inode %d as well", max(from, s.runs[i].from), in.Number)
	}
}

// attributes looks at attribute block and values of another inode.
func (s *sharing) attributes(in *ext4.Inode) error {
	if in.FileACL != 0 {
		if u := s.blocks[in.FileACL]; u != nil {
			u.n++
		} else {
			s.has(in, in.FileACL, 1)
		}
	}
	if len(s.values) == 0 {
		return nil
	}
	count := func(x ext4.Xattr) bool {
		if u := s.values[x.ValueInode]; u != nil && x.ValueInode != 0 {
			u.n++
		}
		return true
	}
	in.InodeXattrs(count, nil)
	if in.FileACL == 0 || s.blocks[in.FileACL] != nil || s.read[in.FileACL] {
		return nil
	}
	buf := make([]byte, s.e.over.size)
	if ok, err := s.e.view.XattrBlock(in, buf, nil); err != nil || !ok {
		return err
	}
	list, err := attrParse(buf, ext4.XattrBlockHeader)
	if err != nil {
		return nil // what cannot be read has no owner here; a repair of ldiskfs comes first
	}
	for _, x := range list {
		if u := s.values[x.inum]; u != nil && x.inum != 0 {
			u.n++
			s.read[in.FileACL] = true
		}
	}
	return nil
}
