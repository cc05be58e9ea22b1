// Package livepool reads and changes a thin pool that is active on this machine, through dmsetup: its state, the devices that are
// open, its metadata, and, one device at a time, deletion.
//
// The metadata of a live pool changes under the reader, so it is read through a metadata snapshot. A pool has one of them at most,
// and as long as it is held the kernel keeps every metadata block that it shares, copies what it changes, and refuses the
// next one. Judging may take long (a rate limit, a person who looks around), and asks the mappings again to see which devices
// share blocks. Therefore the snapshot is held only as long as it takes to copy the blocks that it reaches into a sparse scratch
// file (Capture), which has no name and disappears with the process; everything else reads the copy.
//
// What must hold:
//   - A metadata snapshot that was taken here is released: by the one who took it, also on error and panic; by a watchdog
//     process when he is killed; by the next run when both were, or the machine lost power. A marker file says that it is ours; it is
//     durable before the snapshot is asked for, and goes away after it is released.
//   - One that is held without our marker is somebody else's. It is neither used nor released.
//   - A pool that is read-only takes no messages and changes nothing; its metadata is read as it is.
//   - Every call of dmsetup is bounded in time and output, and its answers are read strictly: what is not understood is an error.
//
// Of the messages to a pool only the pair that reserves and releases is sent, except by Delete. The package opens the metadata
// device for reading only, never creates or removes nodes, and has no opinion about what it finds.
package livepool
