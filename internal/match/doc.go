// Package match brings all claims about one subject together, within a memory
// budget that holds whatever the input.
//
// # How
//
// Every subject has a 64-bit hash (see Hash). The top bits of the hash name the
// partition a claim belongs to. Writers append encoded claims to blocks, one open
// block per partition. Blocks stay in memory until the budget for adding is used
// up; from then on they go to one spill file per partition. Small inputs never
// touch the disk.
//
// Groups then takes partition after partition, several at a time: it loads the
// claims of one, sorts references to them by hash, and hands every run of equal
// subjects to a callback. A partition that does not fit a worker's share of the
// budget is first split by hash range into smaller files, repeatedly if need be.
// A subject that alone exceeds the share (a hot key) gets a file of its own and
// is handed over as a Huge group, which is iterated from that file.
//
// # Order
//
// Groups come in the order of their subject's hash, ties broken by further
// hashes and at last by the bytes of the subject. This is a total order on
// subjects that depends on the seed alone: not on the budget, the number of
// partitions, the number of workers, the order of adding, or on whether anything
// was spilled. Partition boundaries respect it. So with Pass.Ordered a judge that
// numbers its findings as they come numbers them alike in every run.
//
// # Memory
//
// Of Options.Memory, 3/8 hold blocks (open, waiting or free) and 5/8 the workers
// of Groups: claims of one partition, 36 bytes of sorting space per claim, one
// decoded group. The two are never lent to each other, so that the bound does not
// depend on when the garbage collector runs. Beyond the budget: one block per
// writer when there are more writers than blocks, one claim longer than a block
// per writer, and about 100 bytes per partition.
//
// # Spill files
//
// A spill file is a sequence of blocks, each
//
//	offset  bytes  content (integers little-endian)
//	0       4      "fmb1"
//	4       4      length of the payload in bytes
//	8       4      number of claims in it
//	12      4      CRC-32C of the payload, then of seed (8), file number (8),
//	               offset of this block in the file (8), length (4), number (4)
//	16      length encoded claims (see package claim)
//
// The checksum covers where the block belongs, so a block of another run, of
// another partition or at another place is detected as well as a torn or flipped
// one. The number of claims and bytes of each file is known from the Mark or from
// this process, so a lost tail is detected too. All of these are *CorruptError.
//
// # Checkpoint and resume
//
// Checkpoint makes everything added so far durable and returns a Mark. After a
// crash, Resume cuts the files back to a Mark; what was added after it is gone
// and has to be added again by the caller, who keeps the positions of its scans
// next to the Mark. Pass.Done and Pass.PartitionDone do the same for Groups.
//
// This package must not know what claims mean, and never drops or merges any:
// what goes in comes out, duplicates included.
package match
