// Package boltedit changes bbolt databases without ever letting bbolt near the
// original: it says which pages of the file a transaction changes, builds new
// files, and locks and copies files that a running program may hold.
//
// Job: a repair that keeps a before-image of every byte cannot let bbolt write
// the real file, and bbolt dies on damaged ones (panic, or SIGBUS on a short
// file). Edit runs a transaction on a private copy and returns the pages in the
// order in which they have to be written. Build makes a new database. Lock and
// InUse speak bbolt's lock (flock); CopyLive copies a database that is being
// written to.
//
// Invariants:
//   - The original is opened read-only, never by bbolt, and never mapped into
//     memory.
//   - bbolt sees only files whose every reachable page was looked at before.
//   - The pages of a Result are free in the transaction that the file holds
//     now, except the meta page, which comes last and is not the one in force.
//     So a file on which only some of them were written, in any order as long
//     as the meta page is last, still shows its old content to every program;
//     the same holds for taking them back in the opposite order.
//   - Page size and the way of the free list (kept in the file or not) stay as
//     the file has them, and a file grows only by the pages that are needed.
//
// It must not: decide what to repair, write result pages to a store, or know
// any bucket of any product.
//
// The format: https://pkg.go.dev/go.etcd.io/bbolt, as written by bbolt 1.3 to
// 1.5 on little-endian machines: pages with a header of 16 bytes (id u64, flags
// u16, count u16, overflow u32); pages 0 and 1 are the meta pages.
package boltedit
