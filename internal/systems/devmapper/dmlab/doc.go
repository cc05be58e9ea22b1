// Package dmlab makes and injures the four layers of containerd's devmapper snapshotter for tests and for the lab: bolt files
// written by containerd's own packages, and thin-pool metadata by our own writer.
package dmlab
