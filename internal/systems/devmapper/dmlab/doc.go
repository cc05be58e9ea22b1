// Package dmlab makes the four layers of containerd's devmapper snapshotter from a seed, injures them, and says what a check
// must find.
//
//	make     meta.db and metadata.db by containerd's own packages, the pool's database with containerd's records, and thin
//	         metadata in which snapshots share blocks as in a real pool, all in the snapshotter's order of work
//	damage   recipes, one for each way in which the layers come to disagree or a file is damaged
//	truth    what each recipe says that it has done
//
// The same seed gives the same records; times, and where bolt puts its pages, differ.
//
// The truth must stay independent of what it judges: nothing here may import package devmapper, nor the readers of bolt files
// that it uses. A set is a directory with meta.db, metadata.db, POOL.db and thin.meta.
package dmlab
