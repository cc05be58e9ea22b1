// Package devmapper checks and repairs containerd's devmapper snapshotter: four layers that keep the same facts without a
// transaction over two of them.
//
//	meta.db       containerd: which image and which container needs which snapshot
//	metadata.db   the snapshotter's MetaStore: which snapshots there are, and what they are made from
//	<pool>.db     the snapshotter's PoolMetadata: which thin device belongs to which snapshot, and in what state
//	thin pool     the kernel's own metadata: which thin devices exist, and which blocks they map
//
// What exists is told by the thin pool; what it means by metadata.db, then by meta.db. <pool>.db follows from the others but for
// the device id. The layers are read by witnesses (read*.go), joined by device name, device id and snapshot key (evidence.go), and
// judged by pure functions (judge*.go); all knowledge of what is wrong is there.
//
// A check reads files only: no lock, no bbolt, no dmsetup message except the one pair that takes and releases a metadata
// snapshot of a live pool. A repair changes bolt files page by page under the journal; thin metadata is written anew into a new
// file, never in place; a device of a live pool is deleted last, only when nobody has it open and only when asked for by name.
//
// An Inventory shows the same evidence to people, a row for each thing with the findings about it, and a view (browse*.go) shows it
// and the files as a tree. Neither judges anything by itself.
package devmapper
