// Package ext4 reads ext4 file systems, and ldiskfs, the dialect of it that Lustre servers write, straight from a device, a
// snapshot or an image file.
//
// Job: the on-disk format and nothing else. It gives superblock, groups, inodes, block maps, extended attributes, directories
// with the data records that ldiskfs keeps behind names ("dirdata"), hash-tree roots and checksums. It also holds the layout
// constants and checksum functions that a writer needs. What a Lustre attribute or a FID means is known elsewhere.
//
// Ways in:
//
//   - Open, New: an FS. Refusals says why the content should not be trusted yet (journal not replayed, in use, unknown features).
//   - SweepInodes: all inodes in storage order, with large reads and no allocation per inode.
//   - Inode.Blocks, Inode.Xattrs, FS.Dir: everything of one inode.
//   - FS.DirBlocks and FS.SweepDirBlocks: blocks of many directories, sorted by place and read in large pieces.
//   - FS.Sums: checksums, to verify and to write.
//
// Damage is no error. Walks hand what is wrong to a Report function and go on with what can still be read; an error means that the
// input could not be read or that the caller's own function returned one. Every number read from the disk is taken for a lie until
// it is bounded: block numbers by the size of the file system and of the input, tables by the block, trees by depth and by a budget
// of blocks. Nothing is allocated by a size that the disk claims, unless the input is at least that large.
//
// It must not write, must not replay a journal, and must not interpret anything above the format.
//
// Sources of the format: the ext4 documentation of the Linux kernel (Documentation/filesystems/ext4), e2fsprogs' ext2_fs.h as
// installed with the tools, and real images written by Lustre 2.7 and 2.10 servers for dirdata. All numbers on disk are
// little-endian unless said otherwise.
package ext4
