// Package boltfile reads bbolt database files that may be damaged.
//
// Job: give every bucket, key and value that can still be read out of the bytes, say precisely what could not be read, and
// tell whether it would be safe to hand the file to bbolt itself. bbolt trusts its files: it panics, dies by SIGBUS or
// silently makes a new database when they are damaged. The format is that of go.etcd.io/bbolt v1.5.0, internal/common
// (page.go, meta.go, bucket.go); integers are little endian, as on every machine that we run on.
//
// Invariants:
//   - Read only. Files are opened O_RDONLY (O_NOATIME where permitted) and read with pread, never mapped; nothing is
//     created, touched or locked.
//   - Damage is a fact, not a failure: it comes back as a Problem or a *DamageError. Nothing in here repairs, and one
//     reading is never preferred over another silently.
//   - Work is bounded by the size of the file: an iteration visits no page twice, a page belongs to one bucket only, and
//     branches and nested buckets have a depth limit. Memory is bounded by a few bytes per page of the file, the cache, and
//     the largest value that is handed out.
//   - File is safe for many goroutines.
//
// It must NOT know what any application keeps in its buckets, use the bbolt library (except in tests), or write.
//
// Typical use: Open, look at Problems, then Root and from there Bucket, Get and Each; Check for the whole file; Salvage for
// what the tree no longer reaches.
package boltfile
