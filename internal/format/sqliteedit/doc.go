// Package sqliteedit runs SQL on a SQLite image without writing the image and
// says exactly which pages the SQL would change.
//
// Job: a repair that must keep a before-image of every byte cannot let SQLite
// write the real file. Begin lays an in-memory copy-on-write overlay over a
// page source; SQLite works on the overlay; Edit.Pages returns the changed
// pages with their bytes before and after. Build makes a new database file in
// bulk. HotJournal writes SQLite's own rollback journal, so that SQLite itself
// undoes a half-done write of such pages.
//
// Invariants:
//   - An Edit never writes to its Source, and creates no file anywhere: SQLite's
//     journal, statement journals and sort files live in memory.
//   - An Edit whose SQL failed gives no result (see DB.Exec).
//   - Bytes 18 and 19 of page 1 (file format write and read version, 2 = WAL,
//     https://www.sqlite.org/fileformat2.html) are shown to SQLite as 1 instead
//     of 2 and are put back in the result.
//
// It must not: decide what to repair, write result pages to a store, interpret
// WAL files (the Source gives the merged view), or know any table of any product.
package sqliteedit
