// Package sqlitefile reads SQLite 3 database files that may be damaged.
//
// Job: give every fact that can still be read out of the bytes (header, write-ahead log, b-trees, rows, freelist,
// schema) and say precisely what could not be read. The format is that of https://www.sqlite.org/fileformat2.html.
//
// Invariants:
//   - Read only. Files are opened O_RDONLY (O_NOATIME where permitted) and read with pread, never mapped; nothing is
//     created, touched or locked. LockExclusive is the one exception and only takes a lock.
//   - Damage is a fact, not a failure: it comes back as Problem, *PageError or *RowError. Whether a fact matters is for
//     the caller to decide; nothing in here repairs, guesses a repair or prefers one reading over another silently.
//   - Work and memory are bounded by the size of the files, whatever the bytes say.
//   - File is safe for many goroutines. A Reader belongs to one goroutine.
//
// It must NOT know any application's schema, use a SQLite library, or write to a database.
//
// Typical use: Open, Schema, Tree for each root, then one Reader per goroutine that goes over ranges of Tree.Leaves with
// Leaf and Row, and at the end a sweep with Classify over the pages that no tree, freelist or overflow chain holds.
package sqlitefile
