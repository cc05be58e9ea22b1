// Package thinmeta reads the metadata of a device-mapper thin pool, healthy or damaged: superblock, the two-level mapping tree,
// device details, both space maps, and the XML that thin_dump writes.
//
// Damage is never an error and never a panic: what cannot be read is told as a Problem, and everything else is still given.
// Memory is bounded by the number of devices and blocks that exist, whatever a damaged file claims, and a subtree that
// snapshots share is walked once.
//
// The package has no opinion about what a pool should hold, never writes, and knows nothing of containerd. Building new metadata
// is the job of thinbuild.
package thinmeta
