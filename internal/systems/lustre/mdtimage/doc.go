// Package mdtimage lays a file-level backup of a metadata target out as an ldiskfs image that exists for as long as it is open: in a temporary
// file without a name, so that everything that reads targets reads backups as well.
//
//	lay.go     members become inodes as they come, and records of names
//	keep.go    what is kept of contents and attributes
//	space.go   the place where it lies is not filled
//	names.go   records of names are sorted within a budget of memory, on disk if need be
//	finish.go  sorted names become directories; hard links find what they are further names of
//	origin.go  which path an inode stands for
//
// What holds: the same backup gives the same image, byte for byte, because runs that go on later have inode numbers and offsets written down. Names have no
// FIDs. '..', link counts and times are made up: link counts are those of the names that are in the backup. Contents are zeros, but for small
// files that belong to the target itself. Memory is some 64 MiB, some 100 bytes per directory, and what hard links take. It must not judge:
// what cannot be laid out is left out and said in Notes.
package mdtimage
