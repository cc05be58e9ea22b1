// Package ext4quota reads and changes the quota files of ext4 and ldiskfs: who has how many inodes and how much space.
//
// Job: the content of one such file, as bytes in memory. Which inode holds it, and what the numbers should be, is known elsewhere.
//
// The form is that of the Linux kernel's quota version 2, revision 1 ("vfsv1"), all numbers little-endian. The file consists of blocks of
// 1024 bytes. Block 0 begins with magic and version, and at byte 8 with grace times, flags, the number of blocks, the first free
// block and the first block with room for an entry. From block 1 on there is a tree of four levels, each a table of 256 block
// numbers for one byte of the id, high byte first. Below it lie blocks with a header of 16 bytes {next, previous u32: blocks with
// room; entries u16} and 14 entries of 72 bytes {id, pad u32; inode limits hard and soft, inodes, space limits hard and soft, bytes,
// space grace, inode grace u64}. An entry of zeros is free; to tell id 0 without usage and limits from it, its inode grace is 1.
//
// Invariants:
//   - Decode accepts only files that are sound as a whole: every reference leads to a block of the file, none twice, every id that
//     the tree knows has its entry and every entry its id, and counts are right. Everything else is ErrDamaged.
//   - Limits, grace times and the entries of other ids keep their bytes.
//   - Memory is the size of the file, at most MaxSize, and a table of its ids.
//
// It must not read or write files, and must not correct a damaged one.
//
// Sources of the format: the headers of the Linux kernel (fs/quota/quotaio_v2.h, quota_tree.h), and files that mke2fs and e2fsck made.
package ext4quota
