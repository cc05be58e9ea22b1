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
// A repair never edits in place: it builds new directories up to a new root, adds a checkpoint row, and removes bad rows,
// all in one step (plan.go, rewrite.go). What is written are pages, worked out on a copy in memory (writer.go).
//
// The package must not print, and no part of it but the writer may open a file for writing.
package flux
