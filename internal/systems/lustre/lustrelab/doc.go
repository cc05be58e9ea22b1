// Package lustrelab makes the metadata targets of a Lustre file system as real servers leave them, one ldiskfs image per MDT with a
// namespace that spans them, and injures them.
//
// Making:
//
//	plan     all directories: where they are, their FIDs, which are striped (plan.go)
//	target   one MDT that is being written: objects, agents, object index (target.go, oi.go)
//	local    what every MDT has beside the namespace: O, CONFIGS, FLD, sequence files, LFSCK, PENDING (local.go)
//	tree     directories in order, with their files, hard links, remote names and shards (tree.go, files.go)
//
// Injuring:
//
//	world    everything that the images say, read by a naive program that also tells whether it is consistent (world.go, naive.go)
//	surgeon  edits of one image in place, after which all checksums and counts are right (surgeon*.go)
//	damage   chooses objects so that injuries do not get in each other's way, and keeps the truth (damage.go)
//	recipes  one kind of damage each (recipes.go and *recipes.go)
//	sanity   the scenarios of LFSCK's own tests (sanity*.go, prepare.go)
//
// The same seed and options always give the same bytes. The namespace that is made is consistent: a check must find nothing in it.
// Making holds only directories in memory, some 100 bytes each; injuring holds all objects, about 1 KiB each. The truth is worked
// out from what was done and from the picture that the naive program took before; nothing here may import the check.
package lustrelab
