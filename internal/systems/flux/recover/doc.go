// Package recover brings a Flux state directory, whatever happened to it, into a state from which Flux starts, without
// asking anybody.
//
// It looks at the database, at the dumps and at the link dump/RESTORE, works out the best database that can be had by
// these routes, and puts it in place:
//
//	nothing   the database is in order: nothing is written
//	repair    what is damaged is confined, and little enough of it (--max-loss)
//	rollback  the newest checkpoint whose whole tree is good
//	restore   the newest dump that is known to be good
//	forced    a repair that drops more than --max-loss, where that still keeps more than going back
//	minimal   a store with nothing but the drained nodes and the highest job id
//	empty     no database at all, where nothing is known that would be worth keeping
//
// What always holds:
//
//   - The database that was found is never written to and never deleted. Every route works on a new file; the old one is
//     kept as content.sqlite.damaged-TIME, with its -wal.
//   - The new file is put in place by one rename, after it was checked and found clean. A note of what is about to happen
//     is on disk before, so that whoever comes next can complete it. Cut off anywhere, running it again succeeds.
//   - Drained nodes are kept by the latest evidence anywhere: the tree, older trees, blobs that nothing refers to, dumps.
//     Job ids of the new store are above every id seen anywhere.
//   - What Flux would do with dump/RESTORE at its next start never undoes the result: see link.go.
//
// The package must not decide what is damage or how a key is repaired: the check and repair engines are lent to it.
package recover
