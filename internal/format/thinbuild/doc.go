// Package thinbuild writes the metadata of a device-mapper thin pool anew: from mappings, from the XML that thin_dump writes, or by
// rewriting metadata that exists, with or without damage. What it writes is legal for the kernel and for thin_check.
//
// Three layers, each usable alone:
//
//   - Builder writes nodes, devices and at last both space maps and the superblock. Subtrees may be shared between devices.
//   - Rewrite copies the metadata of a file to a new file: sharing stays, all counts are made anew, what cannot be read is
//     left out and told, device by device. FromDump does the same from a dump.
//   - findRoots looks for the two trees when the superblock is gone.
//
// Invariants: a block is written before any block that refers to it, and has the lower number; the superblock is written last, so
// that a file without one is known to be unfinished; a block's reference count is the number of references from blocks that can be
// reached, each parent counted once; every node but a root is at least a third full.
//
// The package never changes the file it reads, decides nothing about what a pool should hold, and knows nothing of containerd.
// Reading metadata for its own sake is the job of thinmeta.
package thinbuild
