// Package mdtrecord reads and writes what a repair plan calls a record: one fact that Lustre or ldiskfs keeps on a metadata target, such as a
// name, '..', a link EA, an entry of the object index, a link count, or what a bitmap says of a run of blocks. A record has an address, which
// names it within its target (address.go, account.go), and a content, which is what people read in a plan (content.go).
//
// A Set holds one ext4edit.Edit for each target of a file system (set.go). Read gives a record's content as the edits leave it, Write makes
// it another one in the edits (write.go). Targets are named by their place in the list that Open got, never by the index of an MDT.
//
// What holds: nothing here writes to a target; what comes out of an edit are blocks, and the caller decides what becomes of them. What is
// read of an address is nil exactly if there is no such record. What Read gives, Write accepts, and what Write accepts for an address Read
// gives back, except for kinds that say less than is on disk (inodes, layouts in words). Write changes one record: it keeps no counts of other
// records right, it does not know what is wrong with a file system, and it does not look at other targets. Addresses and contents may come
// from a plan file that somebody edited: every one is checked, none is trusted.
package mdtrecord
