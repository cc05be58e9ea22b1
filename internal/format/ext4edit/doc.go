// Package ext4edit changes ext4 file systems, and ldiskfs with its FIDs behind names, without a kernel and without writing: all
// changes go to a copy-on-write overlay in memory, and Blocks says which blocks of the file system would become what.
//
// Job: names in directories (linear and hash tree), inodes, blocks, extended attributes, new directories, and entries of the object
// index, with bitmaps, counts and checksums kept right. What should be changed, and in which order the blocks get written, is
// decided elsewhere. The object index is the only thing of Lustre that is known here, because its blocks are found through
// the file that holds it.
//
//	overlay    blocks that differ, operations that happen wholly or not at all   overlay.go
//	order      which blocks are best written first                               order.go
//	open       what is refused                                                   open.go
//	groups     descriptors, bitmaps, blocks and inodes                           group.go, metadata.go, alloc.go
//	inodes     fields, maps of blocks                                            inode.go, newinode.go, blockmap.go, extent.go
//	names      leaf blocks, hash trees, insert, remove, change, new directories  leaf.go, probe.go, split.go, insert.go, ...
//	attributes in the inode and in a block                                       xattr.go, xattrtable.go
//	index      entries of the object index, and how it grows                     oi.go, oigrow.go
//	removal    inodes destroyed or marked as in use again, who shares blocks    destroy.go, shared.go
//	accounts   bitmaps, counts and quota compared with inodes, and set right     recount.go, recountcompare.go, accounts.go, quotause.go
//
// Invariants:
//   - The ext4.FS is only read. An operation that fails changes nothing.
//   - A structure is changed only after it was read in full and found sound: its checksum, its place (inside the file system, marked
//     as in use, not on top of bitmaps, tables or descriptors) and its form. Otherwise the error is ErrDamaged.
//   - Names that an operation does not speak of keep their bytes: inode, type, and every data record. Room for a name is what lies
//     behind the true end of another one, data records included. An entry whose data records cannot be read has no room.
//   - Loops are bounded by the size of a block or of the file system.
//
// It must not write to any file or replay a journal. Operations do not update quota files: Recount and SetQuotaUsage bring them up to
// date at the end. Copies of superblock and descriptors are left as they are, as the
// kernel leaves them.
//
// Sources of the format: the ext4 documentation of the Linux kernel (Documentation/filesystems/ext4), e2fsprogs as the judge of
// results, and real images of Lustre 2.7 and 2.10 servers.
package ext4edit
