package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Options changes how Open reads. The zero value reads the main file together with the -wal beside it.
type Options struct {
	IgnoreWAL bool   // read the main file alone
	WALPath   string // the -wal to use instead of path + "-wal"
	PageSize  int    // page size in bytes to use whatever the header says; 0 = from header or inferred
}

// Journal is the fact of a rollback journal beside the database. If Hot, SQLite rolls it back at the next open, so the main
// file as it stands may hold half a transaction.
type Journal struct {
	Path         string
	Exists       bool
	Size         int64
	Hot          bool   // not empty and starts with the journal magic
	Records      int32  // page records by the header; -1 = as many as the file holds
	InitialPages uint32 // size of the database in pages before the transaction
	PageSize     uint32
}

// File is an open database. All methods may be used by many goroutines at once.
type File struct {
	path     string
	main     io.ReaderAt
	closers  []io.Closer
	size     int64
	header   Header // of the merged view
	mainHead Header // of the main file alone
	geometry
	usable    int
	filePages uint32 // whole and partial pages of the main file
	pageCount uint32
	claimed   uint32
	wal       *walIndex // nil if there is none or it is not applied
	walFacts  WAL
	journal   Journal
	print     Fingerprint
	problems  []Problem
}

// Open opens the database at path, which may be damaged in any way, and reads header and -wal. It fails only if the files
// cannot be read at all (missing, no permission, not a file, I/O error at the start or in the -wal).
func Open(path string, opt Options) (*File, error) {
	f := &File{path: path}
	if err := f.open(opt); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), f.Close())
	}
	return f, nil
}

func (f *File) open(opt Options) error {
	if err := f.openFiles(opt); err != nil {
		return err
	}
	if f.wal != nil {
		if err := f.wal.scan(); err != nil {
			return err
		}
	}
	if err := f.readJournal(f.path + "-journal"); err != nil {
		return err
	}
	return f.setup(opt)
}

// openFiles opens main file and -wal, reads both headers and takes the fingerprint.
func (f *File) openFiles(opt Options) error {
	main, size, mtime, err := openReadOnly(f.path)
	if err != nil {
		return err
	}
	f.main, f.closers, f.size = main, append(f.closers, main), size
	if err := f.readMainHeader(); err != nil {
		return err
	}
	f.print = Fingerprint{Size: size, MTimeNS: mtime, Header: f.mainHead.Raw}
	if opt.IgnoreWAL {
		return nil
	}
	if opt.WALPath == "" {
		opt.WALPath = f.path + "-wal"
	}
	wal, size, mtime, err := openReadOnly(opt.WALPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.closers = append(f.closers, wal)
	if f.wal, err = newWAL(wal, opt.WALPath, size); err != nil {
		return err
	}
	f.print.WALExists, f.print.WALSize, f.print.WALMTimeNS = true, size, mtime
	f.print.WALSalt1, f.print.WALSalt2 = f.wal.Salt1, f.wal.Salt2
	return nil
}

func (f *File) readMainHeader() error {
	var first [fileHeaderSize]byte
	if _, err := f.main.ReadAt(first[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the database header: %w", err)
	}
	f.mainHead = parseHeader(first[:])
	return nil
}

// newFile builds a File over readers instead of paths; wal may be nil.
func newFile(main io.ReaderAt, size int64, wal io.ReaderAt, walSize int64, opt Options) (*File, error) {
	f := &File{path: "memory", main: main, size: size}
	if err := f.readMainHeader(); err != nil {
		return nil, err
	}
	if wal != nil {
		var err error
		if f.wal, err = newWAL(wal, "memory-wal", walSize); err != nil {
			return nil, err
		}
		if err = f.wal.scan(); err != nil {
			return nil, err
		}
	}
	return f, f.setup(opt)
}

// setup derives everything else from main, size, mainHead and the scanned wal.
func (f *File) setup(opt Options) error {
	if opt.PageSize != 0 && !validPageSize(opt.PageSize) {
		return fmt.Errorf("page size %d is not a power of two from 512 to 65536", opt.PageSize)
	}
	walPageSize := 0
	if f.wal != nil {
		f.walFacts = f.wal.WAL
		f.problems = append(f.problems, f.wal.problems()...)
		if f.wal.HeaderOK {
			walPageSize = f.wal.PageSize
		}
	}
	f.chooseGeometry(opt, walPageSize)
	f.applyWAL()
	f.readMergedHeader()
	f.countPages()
	return nil
}

// chooseGeometry sets page size and usable size and reports an empty file or bad main header.
func (f *File) chooseGeometry(opt Options, walPageSize int) {
	var ps []Problem
	switch {
	case opt.PageSize != 0:
		f.geometry = geometry{opt.PageSize, int(f.mainHead.Reserved)}
	case f.size == 0 && walPageSize != 0:
		f.geometry = geometry{walPageSize, 0}
	case f.size == 0:
		f.geometry = geometry{4096, 0}
	default:
		f.geometry, ps = chooseGeometry(f.main, f.size, &f.mainHead, walPageSize)
	}
	if f.geometry.usable() < minUsable {
		f.reserved = 0
	}
	f.usable = f.geometry.usable()
	if f.size == 0 {
		f.problems = append(f.problems, fileProblem(ProblemEmpty, 0, "the main file has zero length"))
		return
	}
	f.problems = append(append(f.problems, f.mainHead.problems()...), ps...)
}

// applyWAL decides whether the log is part of the view: only a log with good header, matching page size and at least one
// commit is, as in SQLite.
func (f *File) applyWAL() {
	w := f.wal
	if w == nil || !w.HeaderOK || w.LastCommit == 0 {
		f.wal = nil
		return
	}
	if w.PageSize != f.pageSize {
		f.problems = append(f.problems, fileProblem(ProblemWALPageSize, 8,
			"%s has page size %d, the main file %d; the log was not applied", w.Path, w.PageSize, f.pageSize))
		f.wal = nil
		return
	}
	if f.size == 0 {
		f.problems = append(f.problems, fileProblem(ProblemWALOrphan, 0,
			"the main file is empty but %s holds %d committed frames; SQLite deletes such a log when it opens the database",
			w.Path, w.LastCommit))
	}
	w.Applied, f.walFacts.Applied = true, true
}

// readMergedHeader takes the header from the -wal if page 1 is there.
func (f *File) readMergedHeader() {
	f.header = f.mainHead
	if f.wal == nil || !f.wal.pages.Has(1) {
		return
	}
	buf := make([]byte, f.pageSize)
	if err := f.wal.readPage(1, buf); err != nil {
		f.problems = append(f.problems, fileProblem(ProblemHeaderField, 0, "page 1 in the -wal cannot be read: %v", err))
		return
	}
	h := parseHeader(buf)
	if validPageSize(h.PageSize) && h.PageSize == f.pageSize && h.PageSize-int(h.Reserved) >= minUsable {
		f.header, f.reserved = h, int(h.Reserved)
		f.usable = f.geometry.usable()
	}
}

// countPages works out how many pages there are and compares that with what is claimed.
func (f *File) countPages() {
	ps := int64(f.pageSize)
	f.filePages = uint32(min((f.size+ps-1)/ps, int64(^uint32(0))))
	f.pageCount = f.filePages
	far := uint32(0)
	if f.wal != nil {
		f.claimed = f.wal.DBSize
		limit := uint32(min(max(walFarPageFloor, 64*(int64(f.filePages)+int64(f.wal.DistinctPages))), int64(^uint32(0))))
		f.wal.pages.Range(f.filePages+1, f.claimed, func(n uint32) bool {
			if n > limit {
				far++
			} else {
				f.pageCount = n
			}
			return true
		})
	} else if f.header.PagesValid() {
		f.claimed = f.header.Pages
	}
	add := func(kind ProblemKind, off int64, format string, args ...any) {
		f.problems = append(f.problems, fileProblem(kind, off, format, args...))
	}
	if far > 0 {
		add(ProblemWALFarPage, -1, "%d committed pages in the -wal lie far past everything else; they can be read but are not counted", far)
	}
	if rest := f.size % ps; rest != 0 {
		add(ProblemPartialPage, f.size-rest, "the last page of the main file has only %d of %d bytes", rest, ps)
	}
	whole := uint32(min(f.size/ps, int64(^uint32(0))))
	switch {
	case f.claimed > 0 && f.claimed > whole && f.missing(whole) > 0:
		add(ProblemTruncated, f.size, "the database should have %d pages; the main file ends after %d, and %d pages are nowhere",
			f.claimed, whole, f.missing(whole))
	case f.wal == nil && f.claimed > 0 && f.claimed < whole:
		add(ProblemLarger, int64(f.claimed)*ps, "the main file has %d pages, its header says %d", whole, f.claimed)
	}
}

// missing counts the claimed pages past the first whole pages that the -wal does not have either.
func (f *File) missing(whole uint32) uint32 {
	n := f.claimed - whole
	if f.wal != nil {
		f.wal.pages.Range(whole+1, f.claimed, func(uint32) bool { n--; return true })
	}
	return n
}

// readJournal looks for a rollback journal (fileformat2.html, 3).
func (f *File) readJournal(path string) error {
	f.journal.Path = path
	j, size, _, err := openReadOnly(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b [28]byte
	n, err := j.ReadAt(b[:], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	f.journal.Exists, f.journal.Size = true, size
	if n < len(b) || binary.BigEndian.Uint64(b[:]) != 0xd9d505f920a163d7 {
		return nil
	}
	f.journal.Hot = true
	f.journal.Records = int32(binary.BigEndian.Uint32(b[8:]))
	f.journal.InitialPages = binary.BigEndian.Uint32(b[16:])
	f.journal.PageSize = binary.BigEndian.Uint32(b[24:])
	f.problems = append(f.problems, fileProblem(ProblemHotJournal, -1,
		"%s (%d bytes) is a rollback journal; unless the writer still runs, SQLite will roll it back", path, size))
	return nil
}

// Close closes the files.
func (f *File) Close() error {
	var errs []error
	for _, c := range f.closers {
		errs = append(errs, c.Close())
	}
	f.closers = nil
	return errors.Join(errs...)
}
