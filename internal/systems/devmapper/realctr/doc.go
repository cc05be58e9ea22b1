// Package realctr runs the unmodified devmapper snapshotter of containerd, with containerd's metadata store, leases and garbage
// collector above it and package fakedm below it, so that tests can have the states a crash really leaves, and can ask whether
// a repaired set of files works again.
//
// The snapshotter lives in a child process, which is the test binary once more: it can be killed at any call of dmsetup. Its
// four files lie flat in one directory, as fettle reads them: meta.db, metadata.db, POOL.db, thin.meta. The last one is
// written from the fake's state when a run is over.
//
// Prepare tries to mount the new device to remove lost+found and ignores the error, so that neither root nor a real device is
// needed; what a mount would write is not written. Nothing but tests may import the package.
package realctr
