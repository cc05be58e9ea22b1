package ext4

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// Whatever speaks against using a file system is said, and it can be opened nevertheless.
func TestRefusals(t *testing.T) {
	or := func(off int, bits uint32) func([]byte) {
		return func(img []byte) {
			word := img[SuperOffset+off:]
			le.PutUint32(word, le.Uint32(word)|bits)
		}
	}
	const mmpAt = 90
	mmp := func(seq uint32) func([]byte) {
		return func(img []byte) {
			or(SBFeatureIncompat, IncompatMMP)(img)
			le.PutUint64(img[SuperOffset+SBMMPBlock:], mmpAt)
			b := img[mmpAt*tinyBS:][:tinyBS]
			le.PutUint32(b, MMPMagic)
			le.PutUint32(b[MMPSeq:], seq)
			copy(b[MMPNode:], "mds1")
			s, err := DecodeSuper(img[SuperOffset:])
			if err != nil {
				t.Fatal(err)
			}
			sums := newSums(s)
			le.PutUint32(b[MMPChecksum:], sums.MMP(b))
		}
	}
	cases := []struct {
		name   string
		change func([]byte)
		want   []Reason
		text   string
	}{
		{"nothing", func([]byte) {}, nil, ""},
		{"journal", or(SBFeatureIncompat, IncompatRecover), []Reason{ReasonRecovery}, "tiny: the journal was not replayed (needs_recovery)"},
		{"features", or(SBFeatureIncompat, 0x80000001), []Reason{ReasonFeatures}, "tiny: unknown incompatible features: compression, FEATURE_I31"},
		{"journal device", or(SBFeatureIncompat, IncompatJournalDev), []Reason{ReasonFeatures}, "tiny: unknown incompatible features: journal_dev"},
		{"bigalloc", func(img []byte) {
			or(SBFeatureROCompat, ROCompatBigalloc)(img)
			le.PutUint32(img[SuperOffset+SBLogClusterSize:], 4)
			le.PutUint32(img[SuperOffset+SBFirstDataBlock:], 0)
		}, []Reason{ReasonBigalloc}, "tiny: it allocates clusters of 16384 bytes (bigalloc), which is not supported"},
		{"not clean", func(img []byte) { img[SuperOffset+SBState] = 0 }, []Reason{ReasonNotClean}, "tiny: it was not unmounted cleanly, or is mounted"},
		{"MMP idle", mmp(MMPSeqClean), nil, ""},
		{"MMP e2fsck", mmp(MMPSeqFsck), []Reason{ReasonInUse}, "tiny: e2fsck on mds1 has it open (MMP)"},
		{"MMP mounted", mmp(77), []Reason{ReasonInUse}, "tiny: it is mounted on mds1 (MMP sequence 0x4d, device )"},
		{"MMP lost", func(img []byte) { mmp(77)(img); img[mmpAt*tinyBS] = 0 }, []Reason{ReasonInUse},
			"tiny: multi-mount protection is on and its block cannot be read: MMP block 90 has magic 0x004d4d00"},
		{"MMP outside", func(img []byte) { mmp(77)(img); le.PutUint64(img[SuperOffset+SBMMPBlock:], 1<<60) }, []Reason{ReasonInUse},
			"tiny: multi-mount protection is on and its block cannot be read: MMP block 1152921504606846976: past the end of the file system"},
		{"two", func(img []byte) { or(SBFeatureIncompat, IncompatRecover)(img); img[SuperOffset+SBState] = 2 }, []Reason{ReasonRecovery, ReasonNotClean}, ""},
	}
	for _, c := range cases {
		img := tinyImage()
		c.change(img)
		var got []Reason
		text := ""
		for _, r := range openTiny(t, img).Refusals() {
			got, text = append(got, r.Reason), r.Error()
		}
		if !slices.Equal(got, c.want) || c.text != "" && text != c.text {
			t.Errorf("%s: %v %q, want %v %q", c.name, got, text, c.want, c.text)
		}
	}
}

// What is no ext4 is refused at once, with an error that tells which.
func TestOpenErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"magic":            {func(sb []byte) { sb[SBMagic]++ }, ErrNotExt4},
		"block size":       {func(sb []byte) { sb[SBLogBlockSize] = 7 }, ErrGeometry},
		"inode size":       {func(sb []byte) { le.PutUint16(sb[SBInodeSize:], 200) }, ErrGeometry},
		"huge inodes":      {func(sb []byte) { le.PutUint16(sb[SBInodeSize:], 2048) }, ErrGeometry},
		"desc size":        {func(sb []byte) { le.PutUint16(sb[SBDescSize:], 16) }, ErrGeometry},
		"no inodes":        {func(sb []byte) { le.PutUint32(sb[SBInodesPerGroup:], 0) }, ErrGeometry},
		"many inodes":      {func(sb []byte) { le.PutUint32(sb[SBInodesPerGroup:], 1<<20) }, ErrGeometry},
		"blocks per group": {func(sb []byte) { le.PutUint32(sb[SBBlocksPerGroup:], 8193) }, ErrGeometry},
		"no blocks":        {func(sb []byte) { le.PutUint32(sb[SBBlocksCountLo:], 1) }, ErrGeometry},
		"too many blocks":  {func(sb []byte) { le.PutUint32(sb[SBBlocksCountHi:], 1<<31) }, ErrGeometry},
		"first data block": {func(sb []byte) { le.PutUint32(sb[SBFirstDataBlock:], 7) }, ErrGeometry},
	} {
		img := tinyImage()
		c.change(img[SuperOffset:])
		if _, err := New(badSector{}, 100, "short"); !errors.Is(err, ErrNotExt4) {
			t.Errorf("short: %v", err)
		}
		_, err := New(memory(img), int64(len(img)), "tiny")
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := Open("/nonexistent/image"); err == nil {
		t.Error("nothing was opened")
	}
}

// memory is an input in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return copy(p, m[off:]), nil }

// A claim of four billion groups costs what the input's size justifies.
func TestHugeClaims(t *testing.T) {
	img := tinyImage()
	sb := img[SuperOffset:]
	le.PutUint32(sb[SBBlocksCountLo:], 1<<31)
	le.PutUint32(sb[SBBlocksPerGroup:], 8)
	le.PutUint32(sb[SBInodesCount:], 1<<32-1)
	fs := openTiny(t, img)
	if fs.Groups() > tinyBlocks*tinyBS/64 || fs.Inodes() > fs.Groups()*tinyInodes || cap(fs.desc) > len(img) {
		t.Errorf("%d groups, %d inodes, %d bytes of descriptors", fs.Groups(), fs.Inodes(), cap(fs.desc))
	}
	readEverything(t, fs, SweepOptions{})
}

// A sweep ends when its context or its caller says so.
func TestSweepStops(t *testing.T) {
	fs := openTiny(t, tinyImage())
	stop := errors.New("enough")
	for _, workers := range []int{1, 4} {
		if err := fs.SweepInodes(context.Background(), SweepOptions{Workers: workers}, func(*Inode) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("%d workers: %v", workers, err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(stop)
		if err := fs.SweepInodes(ctx, SweepOptions{Workers: workers}, func(*Inode) error { return nil }); !errors.Is(err, stop) {
			t.Errorf("%d workers: %v", workers, err)
		}
		next := func() (DirBlock, bool) { return DirBlock{Physical: 20, Inode: InoRoot}, true }
		if err := fs.SweepDirBlocks(ctx, next, func(DirBlock, []byte) error { return nil }, nil); !errors.Is(err, stop) {
			t.Errorf("directories: %v", err)
		}
	}
}
