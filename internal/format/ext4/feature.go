package ext4

import (
	"fmt"
	"strings"
)

// Compatible features.
const (
	CompatHasJournal   = 0x4
	CompatExtAttr      = 0x8
	CompatResizeInode  = 0x10
	CompatDirIndex     = 0x20
	CompatSparseSuper2 = 0x200
	CompatOrphanFile   = 0x1000
)

// Incompatible features: who does not know one of them must not read.
const (
	IncompatCompression = 0x1
	IncompatFiletype    = 0x2
	IncompatRecover     = 0x4 // the journal holds changes that are not in place yet
	IncompatJournalDev  = 0x8
	IncompatMetaBG      = 0x10
	IncompatExtents     = 0x40
	Incompat64bit       = 0x80
	IncompatMMP         = 0x100
	IncompatFlexBG      = 0x200
	IncompatEAInode     = 0x400
	IncompatDirdata     = 0x1000 // ldiskfs: data records behind names
	IncompatCsumSeed    = 0x2000
	IncompatLargeDir    = 0x4000
	IncompatInlineData  = 0x8000
	IncompatEncrypt     = 0x10000
	IncompatCasefold    = 0x20000
)

// Read-only compatible features: who does not know one of them must not write.
const (
	ROCompatSparseSuper  = 0x1
	ROCompatLargeFile    = 0x2
	ROCompatHugeFile     = 0x8
	ROCompatGDTCsum      = 0x10 // uninit_bg: crc16 in group descriptors
	ROCompatDirNlink     = 0x20
	ROCompatExtraIsize   = 0x40
	ROCompatQuota        = 0x100
	ROCompatBigalloc     = 0x200
	ROCompatMetadataCsum = 0x400
	ROCompatReadonly     = 0x1000
	ROCompatProject      = 0x2000
	ROCompatSharedBlocks = 0x4000
	ROCompatVerity       = 0x8000
	ROCompatOrphan       = 0x10000
)

// knownIncompat lists the incompatible features that this package reads. Encrypted names are read as the bytes they are.
const knownIncompat = IncompatFiletype | IncompatRecover | IncompatMetaBG | IncompatExtents | Incompat64bit | IncompatMMP |
	IncompatFlexBG | IncompatEAInode | IncompatDirdata | IncompatCsumSeed | IncompatLargeDir | IncompatInlineData |
	IncompatEncrypt | IncompatCasefold

// Names of feature bits as e2fsprogs prints them; bit n at index n.
var (
	compatNames = [32]string{"dir_prealloc", "imagic_inodes", "has_journal", "ext_attr", "resize_inode", "dir_index", "lazy_bg",
		"exclude_inode", "snapshot_bitmap", "sparse_super2", "fast_commit", "stable_inodes", "orphan_file"}
	incompatNames = [32]string{"compression", "filetype", "needs_recovery", "journal_dev", "meta_bg", "", "extent", "64bit", "mmp",
		"flex_bg", "ea_inode", "", "dirdata", "metadata_csum_seed", "large_dir", "inline_data", "encrypt", "casefold"}
	roCompatNames = [32]string{"sparse_super", "large_file", "btree_dir", "huge_file", "uninit_bg", "dir_nlink", "extra_isize",
		"snapshot", "quota", "bigalloc", "metadata_csum", "replica", "read-only", "project", "shared_blocks", "verity",
		"orphan_present"}
)

// featureNames appends the names of the bits set in word. A bit without a name appears as "I12" style with the given letter.
func featureNames(list []string, word uint32, names *[32]string, letter string) []string {
	for i := range 32 {
		if word&(1<<i) == 0 {
			continue
		}
		if names[i] == "" {
			list = append(list, fmt.Sprintf("FEATURE_%s%d", letter, i))
			continue
		}
		list = append(list, names[i])
	}
	return list
}

// FeatureNames gives all features that are set, named as e2fsprogs names them; unknown bits as FEATURE_C12, FEATURE_I12, FEATURE_R12.
func (s *Superblock) FeatureNames() []string {
	list := featureNames(nil, s.Compat, &compatNames, "C")
	list = featureNames(list, s.Incompat, &incompatNames, "I")
	return featureNames(list, s.ROCompat, &roCompatNames, "R")
}

// unknownFeatures names the incompatible bits that this package cannot read.
func unknownFeatures(incompat uint32) string {
	return strings.Join(featureNames(nil, incompat&^knownIncompat, &incompatNames, "I"), ", ")
}
