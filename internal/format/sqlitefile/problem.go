package sqlitefile

import "fmt"

// ProblemKind names one sort of damage. The values are stable and may be stored.
type ProblemKind string

// Problems of the file as a whole.
const (
	ProblemEmpty          ProblemKind = "file-empty"         // the main file has no bytes
	ProblemHeaderMagic    ProblemKind = "header-magic"       // the first 16 bytes are not "SQLite format 3\0"
	ProblemHeaderField    ProblemKind = "header-field"       // a field of the 100-byte header has a value SQLite never writes
	ProblemPageSize       ProblemKind = "page-size-inferred" // page size or reserved bytes were worked out from the pages
	ProblemPartialPage    ProblemKind = "partial-last-page"  // file size is not a multiple of the page size
	ProblemTruncated      ProblemKind = "file-truncated"     // fewer pages than the header or the last commit says
	ProblemLarger         ProblemKind = "file-larger"        // more pages than the header or the last commit says
	ProblemWALHeader      ProblemKind = "wal-header"         // the -wal has a bad header; SQLite ignores such a file
	ProblemWALPageSize    ProblemKind = "wal-page-size"      // the -wal has another page size than the main file; not applied
	ProblemWALCorrupt     ProblemKind = "wal-corrupt"        // a bad frame in the current generation with commits in or after it
	ProblemWALLeftover    ProblemKind = "wal-leftover"       // frames of the current generation that do not continue the log, no commit among them
	ProblemWALTruncated   ProblemKind = "wal-truncated"      // the -wal ends inside a frame of the current generation
	ProblemWALUncommitted ProblemKind = "wal-uncommitted"    // good frames after the last commit (an unfinished transaction)
	ProblemWALOrphan      ProblemKind = "wal-without-main"   // -wal has data, main file is empty: SQLite would delete the -wal
	ProblemWALFarPage     ProblemKind = "wal-far-page"       // committed page far past everything else; PageCount leaves it out
	ProblemHotJournal     ProblemKind = "hot-journal"        // a rollback journal with a valid header lies beside the file
)

// Problems of b-trees, the schema and the freelist.
const (
	ProblemRoot          ProblemKind = "root-unreadable"        // the root page of a tree is not a page of that kind of tree
	ProblemChild         ProblemKind = "child-unreadable"       // an interior page refers to a page that cannot be used; see Found
	ProblemTwice         ProblemKind = "page-referenced-twice"  // a page has a second parent within the same structure
	ProblemCycle         ProblemKind = "page-cycle"             // a page is its own ancestor, or a freelist runs in a circle
	ProblemCellPointer   ProblemKind = "bad-cell-pointer"       // a cell pointer or cell of an interior page lies outside its page
	ProblemOrder         ProblemKind = "rowid-out-of-order"     // rowids of neighbouring interior cells do not increase, or leave the parent's range
	ProblemDepth         ProblemKind = "tree-depth"             // a leaf where interior pages are, or a tree deeper than any SQLite makes
	ProblemPastClaimed   ProblemKind = "page-past-claimed-end"  // page exists in the file but lies past the size the header claims
	ProblemSchema        ProblemKind = "schema-unreadable"      // page 1 or its tree cannot be read
	ProblemSchemaRow     ProblemKind = "schema-row-unreadable"  // one row of the schema cannot be read
	ProblemFreelistPage  ProblemKind = "freelist-bad-page"      // freelist refers to a page outside the file
	ProblemFreelistCount ProblemKind = "freelist-count"         // the header's count differs from the pages found
	ProblemFreelistTrunk ProblemKind = "freelist-bad-trunk"     // a trunk page cannot be read or has an impossible count
	ProblemTooMany       ProblemKind = "more-problems-left-out" // the list was cut; Text has the number left out
)

// Found says what lies where a usable page was expected.
type Found string

// Values of Found.
const (
	FoundNothing   Found = ""                    // does not apply
	FoundZero      Found = "all zero"            // every byte of the page is 0
	FoundGarbage   Found = "garbage"             // not a b-tree page
	FoundWrongType Found = "wrong type"          // a b-tree page of another type
	FoundPastEnd   Found = "past the end"        // the files end before this page
	FoundPartial   Found = "partial page"        // the file ends inside this page
	FoundNoPage    Found = "invalid page number" // 0, the lock-byte page, or past both file and claimed size
	FoundIOError   Found = "read error"          // the operating system reported an error
)

// Problem is one fact about damage. Page numbers start at 1; 0 means that the field does not apply.
type Problem struct {
	Kind   ProblemKind
	Page   uint32   // the page that is damaged or missing
	Parent uint32   // the page that refers to Page
	Cell   int      // the cell of Parent (its cell count for the right-most child); -1 if none
	Root   uint32   // the root page of the tree in which it was met
	Role   PageType // what Page should be; Other if that is not known
	Found  Found    // what is there instead
	Offset int64    // byte offset in the main file (or the -wal for wal-* kinds); -1 if none

	// For children of table interior pages: the rows on or below Page have RowLo < rowid <= RowHi, as far as the parent
	// can be trusted. HasRange is false for indexes and where the range is not known.
	RowLo, RowHi int64
	HasRange     bool

	Text string // one plain sentence
}

func (p Problem) String() string { return string(p.Kind) + ": " + p.Text }

// fileProblem makes a Problem that concerns no single page.
func fileProblem(kind ProblemKind, off int64, format string, args ...any) Problem {
	return Problem{Kind: kind, Cell: -1, Offset: off, Role: Other, Text: fmt.Sprintf(format, args...)}
}

// maxProblems bounds the problems kept for one structure; the last one is then ProblemTooMany.
const maxProblems = 1 << 16

// problemList collects problems up to maxProblems.
type problemList struct {
	list []Problem
	more int
}

func (l *problemList) add(p Problem) {
	if len(l.list) >= maxProblems {
		l.more++
		return
	}
	l.list = append(l.list, p)
}

// all returns the problems, with a closing ProblemTooMany if some were left out.
func (l *problemList) all() []Problem {
	if l.more == 0 {
		return l.list
	}
	return append(l.list[:len(l.list):len(l.list)],
		fileProblem(ProblemTooMany, -1, "%d more problems of the same structure were left out", l.more))
}

// PageError says why a page cannot be used. Found is never FoundNothing.
type PageError struct {
	Page  uint32
	Found Found
	Type  PageType // the type met, for FoundWrongType
	Want  string   // what was being looked for, e.g. "table leaf"
	Err   error    // the operating system's error, for FoundIOError
}

func (e *PageError) Error() string {
	s := fmt.Sprintf("page %d: %s", e.Page, e.Found)
	if e.Found == FoundWrongType {
		s += fmt.Sprintf(" (%s)", e.Type)
	}
	if e.Want != "" {
		s += " instead of " + e.Want
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the operating system's error, if any.
func (e *PageError) Unwrap() error { return e.Err }
