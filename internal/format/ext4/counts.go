package ext4

// count settles how many groups, inodes and blocks there really are. A superblock whose counts contradict each other, or claim more
// than the input holds, gives way to a copy that does neither; without one, the input and the number of inodes bound the number of groups.
// What is wrong becomes one problem.
func (fs *FS) count() {
	s := &fs.sb
	have := uint64(fs.size) / uint64(s.BlockSize)
	if !s.adds() || !s.grouped() || s.Blocks > have {
		if c := fs.soundCopy(have); c != nil {
			Report(fs.note).fs(KindSuper, s.Offset+SBBlocksCountLo, "%s; the copy at byte %d is used: %d blocks, %d inodes", s.countsText(), c.Offset, c.Blocks, c.Inodes)
			s.Blocks, s.Inodes, s.BlocksPerGroup, s.InodesPerGroup = c.Blocks, c.Inodes, c.BlocksPerGroup, c.InodesPerGroup
		}
	}
	fs.bound(have)
	if s.FirstIno < 11 || s.FirstIno > fs.inodes {
		Report(fs.note).fs(KindSuper, s.Offset+SBFirstIno, "first inode is %d; 11 is used", s.FirstIno)
		s.FirstIno = 11
	}
}

// bound sets the limits by the superblock and what the input has room for, in blocks.
func (fs *FS) bound(have uint64) {
	s, report := &fs.sb, Report(fs.note)
	groups, adds := s.Groups(), s.adds()
	fs.limit, fs.inodes = min(s.Blocks, have), s.Inodes
	if n := s.groupsOf(have); s.Blocks > have && !adds && n*uint64(s.InodesPerGroup) == uint64(s.Inodes) {
		report.fs(KindSuper, s.Offset+SBBlocksCountLo, "%s, and the input has %d blocks, which agrees with the inodes", s.countsText(), have)
		fs.groups = uint32(n)
		return
	}
	if s.Blocks > have {
		report.fs(KindTruncated, fs.size, "the file system has %d blocks of %d bytes, the input only %d", s.Blocks, s.BlockSize, have)
		groups = min(groups, max(s.groupsOf(have), have/s.TableBlocks())) // flex_bg puts tables of later groups in front; the rest is not there
	}
	if adds && !s.grouped() {
		report.fs(KindSuper, s.Offset+SBBlocksPerGroup, "the superblock says that a group has %d blocks, and %d clusters of a block", s.BlocksPerGroup, s.clustersPerGroup())
	}
	if !adds {
		report.fs(KindSuper, s.Offset+SBInodesCount, "%s, which do not agree", s.countsText())
		fs.inodes = uint32(min(groups*uint64(s.InodesPerGroup), 1<<32-1))
	}
	fs.groups = uint32(groups)
}

// adds tells whether the counts of blocks and of inodes speak of the same number of groups.
func (s *Superblock) adds() bool { return s.Groups()*uint64(s.InodesPerGroup) == uint64(s.Inodes) }

func (s *Superblock) clustersPerGroup() uint32 { return le.Uint32(s.Raw[SBClustersPerGroup:]) }

// grouped tells whether groups have as many clusters as blocks, which they have without bigalloc. Before there were clusters the field
// counted fragments, which no ext4 ever made smaller than a block.
func (s *Superblock) grouped() bool {
	return s.ClusterSize != s.BlockSize || s.ROCompat&ROCompatBigalloc != 0 || s.BlocksPerGroup == s.clustersPerGroup()
}

// groupsOf gives how many groups so many blocks are.
func (s *Superblock) groupsOf(blocks uint64) uint64 {
	first, per := uint64(s.FirstDataBlock), uint64(s.BlocksPerGroup)
	return max((max(blocks, first)-first+per-1)/per, 1)
}

// soundCopy looks for a copy of the superblock that is of the same file system, and whose counts agree with each other and with an
// input of so many blocks.
func (fs *FS) soundCopy(have uint64) *Superblock {
	s := &fs.sb
	other := *s
	other.BlocksPerGroup = s.clustersPerGroup()
	for _, at := range append([]int64{s.backupOffset(1), other.backupOffset(1)}, backupPlaces()...) {
		c := fs.superAt(at)
		if c == nil || at == s.Offset || c.UUID != s.UUID || c.BlockSize != s.BlockSize || c.InodeSize != s.InodeSize || c.DescSize != s.DescSize || c.FirstDataBlock != s.FirstDataBlock {
			continue
		}
		if sums := newSums(c); sums.Metadata && sums.Super(c.Raw) != c.Checksum {
			continue
		}
		if c.adds() && c.grouped() && c.Blocks <= have {
			return c
		}
	}
	return nil
}

// superAt reads a copy of the superblock, nil if there is none that says that it belongs there.
func (fs *FS) superAt(at int64) *Superblock {
	raw := make([]byte, SuperSize)
	if at > fs.size-SuperSize || fs.readAt(raw, at) != nil {
		return nil
	}
	c, err := DecodeSuper(raw)
	if err != nil || c.GroupNr == 0 || c.backupOffset(uint64(c.GroupNr)) != at {
		return nil
	}
	c.Offset = at
	return c
}
