// Package flux checks and repairs the content store of the Flux KVS: content.sqlite and its -wal.
//
// How a check runs:
//
//	open    the file is read by format/sqlitefile, never through SQLite, so that damage of the file is a fact and not a refusal
//	sweep   every row of the objects table in physical order: decode, hash, and keep 16 bytes about it (index.go)
//	walk    from the root of a checkpoint through every directory once, in parallel: which references are bad? (walk.go)
//	report  only if something is: again from the root, in key order, through directories above damage (report.go)
//
// A sweep finds what a walk cannot (damaged blobs that nothing refers to), a walk finds what a sweep cannot (lost blobs;
// most blobs of a store are older versions that nothing refers to, and that is normal). What is wrong is decided in
// judge.go and its table of classes in classes.go, nowhere else.
//
// A repair never edits a blob in place: it builds new directories up to a new root, adds a checkpoint row, and removes bad
// rows, all in one step. What is written are pages, worked out on a copy in memory, or a whole new file where the old one
// cannot be trusted.
//
// Where to find what:
//
//	finding    open, layout, sweep, index, spool, indexcheck   the file and its rows
//	           checkpoints, orphans, versions                  roots, and older trees to go back to
//	           walk, walkstate, taint                          which directories have damage below them
//	           judge, judgefile, judgerows, report*            what is wrong, in the user's words
//	           confirm, analysis                               looking again; results of passes kept for the next one
//	repairing  plan, plantree, planrows, salvage, mend, loss   decisions to changes of records (records.go)
//	           rewrite                                         new directories up to a new root
//	           lower, rebuild, writer, hotjournal              changes of records to pages or files, and writing them
//	browsing   browse*                                         the tree as the shell shows it
//	lent out   relic*, newstore, putstate                      for package recover: what a wreck still tells (Relic, State),
//	                                                           a new database from a dump, and what it must not forget
//
// The package must not print. Beside the writer only NewStore.Write and PutState change a database, and only one that nobody
// uses yet; everything else writes to its scratch directory at most.
package flux
