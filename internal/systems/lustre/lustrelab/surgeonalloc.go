package lustrelab

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// editGroup changes the descriptor and one bitmap of a group, and the sums of the superblock to match. The bitmap is that of inodes or
// of blocks.
func (s *surgeon) editGroup(group uint32, inodes bool, edit func(d *ext4.GroupDesc, bitmap []byte) error) error {
	d, err := s.fs.Group(group) // its place; the content may be older than the file
	if err != nil {
		return err
	}
	raw := make([]byte, s.fs.Super().DescSize)
	if _, err := s.f.ReadAt(raw, d.Offset); err != nil {
		return err
	}
	d = ext4.DecodeGroup(raw)
	before, at := d, d.BlockBitmap
	if inodes {
		at = d.InodeBitmap
	}
	bitmap, err := s.readBlock(at)
	if err != nil {
		return err
	}
	if err := edit(&d, bitmap); err != nil {
		return err
	}
	if err := s.writeBlock(at, bitmap); err != nil {
		return err
	}
	d.Put(raw)
	sums := s.fs.Sums()
	if inodes {
		sums.PutBitmaps(raw, nil, bitmap)
	} else {
		sums.PutBitmaps(raw, bitmap, nil)
	}
	sums.PutGroup(group, raw)
	place, err := s.fs.Group(group)
	if err != nil {
		return err
	}
	if err := s.write(raw, place.Offset); err != nil {
		return err
	}
	return s.editSuper(int64(d.FreeBlocks)-int64(before.FreeBlocks), int64(d.FreeInodes)-int64(before.FreeInodes))
}

// editSuper changes the counts of free blocks and inodes.
func (s *surgeon) editSuper(blocks, inodes int64) error {
	raw := make([]byte, ext4.SuperSize)
	if _, err := s.f.ReadAt(raw, ext4.SuperOffset); err != nil {
		return err
	}
	free := uint64(le.Uint32(raw[ext4.SBFreeBlocksLo:])) | uint64(le.Uint32(raw[ext4.SBFreeBlocksHi:]))<<32
	free += uint64(blocks)
	le.PutUint32(raw[ext4.SBFreeBlocksLo:], uint32(free))
	le.PutUint32(raw[ext4.SBFreeBlocksHi:], uint32(free>>32))
	le.PutUint32(raw[ext4.SBFreeInodes:], uint32(int64(le.Uint32(raw[ext4.SBFreeInodes:]))+inodes))
	s.fs.Sums().PutSuper(raw)
	return s.write(raw, ext4.SuperOffset)
}

// freeBlocks marks blocks as free.
func (s *surgeon) freeBlocks(blocks []uint64) error {
	slices.Sort(blocks)
	sb := s.fs.Super()
	for i := 0; i < len(blocks); {
		group := uint32((blocks[i] - uint64(sb.FirstDataBlock)) / uint64(sb.BlocksPerGroup))
		first := sb.GroupFirstBlock(group)
		err := s.editGroup(group, false, func(d *ext4.GroupDesc, bitmap []byte) error {
			for ; i < len(blocks) && blocks[i] < first+uint64(sb.BlocksPerGroup); i++ {
				bit := blocks[i] - first
				if bitmap[bit/8]&(1<<(bit%8)) == 0 {
					return fmt.Errorf("block %d is free already", blocks[i])
				}
				bitmap[bit/8] &^= 1 << (bit % 8)
				d.FreeBlocks++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// freeInode destroys an object as a server does that removes it: its blocks and the inode are free, most of the inode's bytes stay.
func (s *surgeon) freeInode(ino uint32) error {
	in, err := s.fs.Inode(ino)
	if err != nil {
		return err
	}
	var blocks []uint64
	var failed error
	note := func(p ext4.Problem) { failed = fmt.Errorf("inode %d: %s", ino, p.Text) }
	err = in.Blocks(s.fs, func(e ext4.Extent) bool {
		for i := range uint64(e.Length) {
			blocks = append(blocks, e.Physical+i)
		}
		return true
	}, note)
	if err == nil {
		err = in.MapBlocks(s.fs, func(b uint64) bool { blocks = append(blocks, b); return true }, note)
	}
	if err != nil || failed != nil {
		return fmt.Errorf("free inode %d: %w", ino, firstError(err, failed))
	}
	if in.FileACL != 0 {
		blocks = append(blocks, in.FileACL)
	}
	if err := s.freeBlocks(blocks); err != nil {
		return err
	}
	err = s.editGroup(in.Group, true, func(d *ext4.GroupDesc, bitmap []byte) error {
		if bitmap[in.Index/8]&(1<<(in.Index%8)) == 0 {
			return fmt.Errorf("inode %d is free already", ino)
		}
		bitmap[in.Index/8] &^= 1 << (in.Index % 8)
		d.FreeInodes++
		if in.IsDir() {
			d.UsedDirs--
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.editInode(ino, func(raw []byte) error {
		le.PutUint16(raw[ext4.InodeLinks:], 0)
		le.PutUint32(raw[ext4.InodeDtime:], defaultDay)
		clear(raw[ext4.InodeBlock : ext4.InodeBlock+ext4.InodeBlockLen])
		for _, at := range []int{ext4.InodeSizeLo, ext4.InodeSizeHi, ext4.InodeBlocksLo, ext4.InodeFileACLLo} {
			le.PutUint32(raw[at:], 0)
		}
		return nil
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// copyInode makes a second inode with everything that the first one says, but blocks and generation. errNoRoom if it has blocks or no
// inode is free. Directories are copied without their blocks only to be agents.
func (s *surgeon) copyInode(ino uint32) (uint32, error) {
	in, err := s.fs.Inode(ino)
	if err != nil {
		return 0, err
	}
	if in.Sectors != 0 || in.IsDir() {
		return 0, errNoRoom
	}
	twin, err := s.allocInode()
	if err != nil {
		return 0, err
	}
	at, err := s.fs.InodeOffset(twin)
	if err != nil {
		return 0, err
	}
	raw := slices.Clone(in.Raw)
	le.PutUint32(raw[ext4.InodeGeneration:], in.Generation+1)
	s.fs.Sums().PutInode(twin, raw)
	return twin, s.write(raw, at)
}

// allocInode takes a free inode of a group in which some are in use.
func (s *surgeon) allocInode() (uint32, error) {
	sb := s.fs.Super()
	for g := range s.fs.Groups() {
		found := uint32(0)
		err := s.editGroup(g, true, func(d *ext4.GroupDesc, bitmap []byte) error {
			if d.Flags&ext4.GroupInodeUninit != 0 || d.FreeInodes == 0 {
				return errNoRoom
			}
			for i := range sb.InodesPerGroup {
				if bitmap[i/8]&(1<<(i%8)) != 0 || g*sb.InodesPerGroup+i+1 < sb.FirstIno {
					continue
				}
				bitmap[i/8] |= 1 << (i % 8)
				d.FreeInodes--
				d.ItableUn = min(d.ItableUn, sb.InodesPerGroup-i-1)
				found = g*sb.InodesPerGroup + i + 1
				return nil
			}
			return errNoRoom
		})
		if err == nil {
			return found, nil
		}
	}
	return 0, errNoRoom
}

// editIndex changes the leaf of the object index in which a FID is or belongs. files are the inodes of the index.
func (s *surgeon) editIndex(files [oiFiles]uint32, f lustre.FID, edit func(leaf []byte) ([]byte, error)) error {
	n, err := lustre.OIFile(f, oiFiles)
	if err != nil {
		return err
	}
	in, err := s.fs.Inode(files[n])
	if err != nil {
		return err
	}
	var blocks []uint64
	err = in.Blocks(s.fs, func(e ext4.Extent) bool {
		for i := range uint64(e.Length) {
			blocks = append(blocks, e.Physical+i)
		}
		return true
	}, nil)
	if err != nil || len(blocks) == 0 {
		return firstError(err, fmt.Errorf("%s is empty", lustre.OIName(n)))
	}
	b, err := s.readBlock(blocks[0])
	if err != nil {
		return err
	}
	root, err := lustre.DecodeIAMRoot(b)
	if err != nil {
		return err
	}
	at := uint64(0)
	for level := range int(root.Levels) + 1 {
		if at, err = root.Shape.Child(b, level == 0, f.AppendBig(nil)); err != nil {
			return err
		}
		if at >= uint64(len(blocks)) {
			return fmt.Errorf("%s has no block %d", lustre.OIName(n), at)
		}
		if b, err = s.readBlock(blocks[at]); err != nil {
			return err
		}
	}
	leaf, err := edit(b)
	if err != nil {
		return fmt.Errorf("%s: %w", lustre.OIName(n), err)
	}
	return s.writeBlock(blocks[at], leaf)
}
