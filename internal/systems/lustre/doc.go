// Package lustre checks and repairs the namespace that the metadata targets (MDTs) of one Lustre file system share: which names lead to which
// objects, what the objects say about their names, and what each target keeps to find them.
//
//	open      images, devices or file-level backups of one file system; refuses what cannot be trusted (open.go, target.go, backup.go, landmarks.go)
//	ground    what a target stands on: superblock, groups, bitmaps, its own names and files (ground.go)
//	sweep     every MDT in storage order, in parallel: inode tables, directory blocks, object index; emits claims (sweep.go, lane*.go)
//	balance   compares object index and inodes by sums; only what differs is read again for claims (balance.go)
//	match     claims about one FID come together; a group in which all agree is done with (match.go, group.go)
//	parents   where the directories are that only link EAs speak of, for groups that could not be judged without (parents.go)
//	judge     pure functions of one group whose records were read again (judge*.go)
//	report    findings with paths, what causes what (report.go, path.go)
//	browse    the namespace as a tree for people, beside the check: reads only what is looked at (browse*.go)
//	lfsck     a run in the words of LFSCK (lfsck.go)
//	plan      decisions become changes of records, tried on edits that are never written (plan*.go, the room mdtrecord)
//	write     the records of a step become blocks of the targets (lower.go, writer.go)
//
// The witnesses about an object are: the inode with its LMA, link EA and LMV; the names with their FIDs; '..'; the object index;
// agents; /REMOTE_PARENT_DIR; /PENDING. Claims hold hashes of (parent, name) rather than names, so that they stay small;
// whatever disagrees is read again.
//
// What holds: nothing but the Writer writes to a target, and it writes blocks of a plan only; a decision is carried out as a whole or
// left; a new name is there before the old one goes; no object is removed unless a policy says discard; memory stays within the budget
// however many inodes there are; what would depend on an MDT that was not given is not judged. Judges must not read, and must not know where claims come from.
package lustre
