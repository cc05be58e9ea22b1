// Package snapshotdb decodes what containerd and its devmapper snapshotter keep in their three bolt files: device records and
// ids (<pool>.db), snapshots and links between them (metadata.db), and containerd's own view of snapshots, containers, leases
// and images (meta.db). The layouts are those of containerd 1.4 to 2.4.
//
// A record that cannot be decoded is given with its error, never dropped and never an error of the whole. The package has no
// opinion about whether records agree with each other, and never writes.
package snapshotdb
