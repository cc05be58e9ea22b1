// Package fakedm stands in for device-mapper in tests: programs named dmsetup, mkfs.ext4 and blkdiscard that keep thin pools
// in a JSON file and answer as the real ones do. With it an unmodified containerd snapshotter runs where there is no
// device-mapper and no root, and a crash can be put at any of its calls.
//
// What must hold: every call takes a lock, reads the state, and either replaces the file as a whole or leaves it alone, so
// that a caller killed at any point leaves the state before or after a call. Ids, times and sharing follow the kernel's
// dm-thin-metadata.c; texts of errors are those of libdm 1.02.185, because containerd parses them.
//
// It holds no data, only mappings, and reads and writes the whole state at every call: it is meant for pools of some
// hundred devices. It must not touch the real device-mapper, and nothing but tests and the lab may import it.
package fakedm
