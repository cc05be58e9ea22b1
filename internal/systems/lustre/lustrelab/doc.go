// Package lustrelab makes the metadata targets of a Lustre file system as real servers leave them: one ldiskfs image per MDT with
// a namespace that spans them.
//
//	plan     all directories: where they are, their FIDs, which are striped (plan.go)
//	target   one MDT that is being written: objects, agents, object index (target.go, oi.go)
//	local    what every MDT has beside the namespace: O, CONFIGS, FLD, sequence files, LFSCK, PENDING (local.go)
//	tree     directories in order, with their files, hard links, remote names and shards (tree.go, files.go)
//
// The same seed and options always give the same bytes. The namespace is consistent: a check must find nothing in it. Only
// directories are held in memory, some 100 bytes each; files are written as they are thought of.
package lustrelab
