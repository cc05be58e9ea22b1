package ext4

import "testing"

// twoGroups makes the superblocks of a file system of two groups, which change may spoil in the first of them.
func twoGroups(change func(sb []byte)) []byte {
	tiny := tinyImage()
	img := make([]byte, 2*8192*tinyBS)
	copy(img, tiny)
	sb := img[SuperOffset:][:SuperSize]
	le.PutUint32(sb[SBBlocksCountLo:], 2*8192)
	le.PutUint32(sb[SBInodesCount:], 2*tinyInodes)
	second := img[(1+8192)*tinyBS:][:SuperSize]
	copy(second, sb)
	second[SBBlockGroupNr] = 1
	for _, raw := range [][]byte{sb, second} {
		s, err := DecodeSuper(raw)
		if err != nil {
			panic(err)
		}
		sums := newSums(s)
		sums.PutSuper(raw)
	}
	change(img)
	return img
}

// Counts that contradict each other, or the size of the input, give way to those of a copy, with one problem; without a copy the input bounds them.
func TestCounts(t *testing.T) {
	put := func(off int, v uint32) func([]byte) {
		return func(img []byte) { le.PutUint32(img[SuperOffset+off:], v) }
	}
	lone := func(change func([]byte)) func([]byte) {
		return func(img []byte) { change(img); clear(img[(1+8192)*tinyBS:][:SuperSize]) }
	}
	for name, c := range map[string]struct {
		change func([]byte)
		kind   Kind
		groups uint32
		inodes uint32
		limit  uint64
	}{
		"nothing":                       {func([]byte) {}, "", 2, 64, 2 * 8192},
		"huge block count":              {put(SBBlocksCountLo, 1<<32-1), KindSuper, 2, 64, 2 * 8192},
		"huge block count, upper half":  {put(SBBlocksCountHi, 1), KindSuper, 2, 64, 2 * 8192},
		"one block more":                {put(SBBlocksCountLo, 2*8192+1), KindSuper, 2, 64, 2 * 8192},
		"few blocks":                    {put(SBBlocksCountLo, 20), KindSuper, 2, 64, 2 * 8192},
		"inode count":                   {put(SBInodesCount, 1<<30), KindSuper, 2, 64, 2 * 8192},
		"inodes of a group":             {put(SBInodesPerGroup, 64), KindSuper, 2, 64, 2 * 8192},
		"blocks of a group":             {put(SBBlocksPerGroup, 8190), KindSuper, 2, 64, 2 * 8192},
		"blocks of a group, no copy":    {lone(put(SBBlocksPerGroup, 8191)), KindSuper, 3, 96, 2 * 8192},
		"clusters of a group, no copy":  {lone(put(SBClustersPerGroup, 8191)), KindSuper, 2, 64, 2 * 8192},
		"huge block count, no copy":     {lone(put(SBBlocksCountLo, 1<<32-1)), KindSuper, 2, 64, 2 * 8192},
		"huge inode count, no copy":     {lone(put(SBInodesCount, 1<<32-1)), KindSuper, 2, 64, 2 * 8192},
		"both, no copy":                 {lone(func(img []byte) { put(SBInodesCount, 1<<23)(img); put(SBBlocksCountLo, 1<<31)(img) }), KindTruncated, 2048, 1 << 23, 2 * 8192},
		"a copy of another file system": {func(img []byte) { put(SBBlocksCountLo, 20)(img); img[(1+8192)*tinyBS+SBUUID]++ }, KindSuper, 1, 32, 20},
		"a copy with a wrong checksum":  {func(img []byte) { put(SBBlocksCountLo, 20)(img); img[(1+8192)*tinyBS+SBLastMounted]++ }, KindSuper, 1, 32, 20},
		"a copy that claims as much": {func(img []byte) {
			put(SBBlocksCountLo, 1<<30)(img)
			copy(img[(1+8192)*tinyBS+4:], img[SuperOffset+4:][:4])
		}, KindSuper, 2, 64, 2 * 8192},
		"the superblock is not there too": {func(img []byte) { clear(img[SuperOffset:][:SuperSize]) }, KindSuperBackup, 2, 64, 2 * 8192},
	} {
		fs := openTiny(t, twoGroups(c.change))
		var kind Kind
		for _, p := range fs.Problems() {
			if kind != "" {
				t.Errorf("%s: more than one problem: %v", name, fs.Problems())
			}
			kind = p.Kind
		}
		if kind != c.kind || fs.Groups() != c.groups || fs.Inodes() != c.inodes || fs.limit != c.limit {
			t.Errorf("%s: %d groups, %d inodes, %d blocks, %v", name, fs.Groups(), fs.Inodes(), fs.limit, fs.Problems())
		}
	}
}
