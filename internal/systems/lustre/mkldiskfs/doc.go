// Package mkldiskfs makes images of ldiskfs, the form of ext4 that Lustre's targets have: with FIDs behind the names of
// directory entries (the feature dirdata), block-mapped or with extents, with or without metadata_csum and 64bit.
//
// It serves the lab, and file-level backups that are read as images (late.go).
//
// Everything is written as it comes: inodes are numbered in ascending order, one group's inode table is held in memory, and
// bitmaps, descriptors and superblocks follow at Close. So an image of many million inodes needs some 16 MiB of memory and 8 KiB
// per group, and the file has holes wherever nothing was written. The same calls give the same bytes.
//
// The package knows nothing of Lustre beyond the form of a directory entry, and never changes an image that exists.
package mkldiskfs
