package boltfile

// Report is the outcome of Check.
type Report struct {
	Problems []Problem // the first 1000: those of the file, then those of pages in the order in which they were met
	More     int       // how many further ones there were
	Pages    uint64    // in the database: the high-water mark, or what the file holds if there is no valid meta page
	// Of these pages: in use by the current transaction, its meta pages and its freelist; on the freelist; neither.
	// Free and Leaked are 0 when there is no freelist or it is bad.
	Reachable, Free, Leaked uint64
	Keys                    uint64 // elements that could be read, nested buckets and the keys inside inline buckets included
	harmful                 bool
}

// Sound reports whether it is safe to open a copy of the file with bbolt for reading and writing: the file is not empty,
// all pages that bbolt would touch are as they should be, and there is nothing but problems of a Harmless kind. It says
// nothing about what the values mean: bbolt has no checksums over them.
func (r *Report) Sound() bool { return !r.harmful }
