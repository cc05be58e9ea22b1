package sqliteedit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"
)

// Limits of the file format, https://www.sqlite.org/fileformat2.html.
const (
	minPageSize  = 512
	maxPageSize  = 65536
	maxPageCount = 0xFFFFFFFE
	// lockByteOffset is where the page lies that SQLite never uses for data.
	lockByteOffset = 0x40000000
)

// Source gives the pages of a database as SQLite would see them (the main file
// merged with its WAL). It must not change while an Edit is open.
type Source interface {
	// PageSize is a power of two from 512 to 65536, in bytes.
	PageSize() int
	// PageCount is the number of pages; 0 means that there is no database yet.
	PageCount() uint32
	// ReadPage fills buf, which is PageSize bytes long, with page n (from 1 to
	// PageCount). It must not keep buf.
	ReadPage(n uint32, buf []byte) error
}

// Page is one page that differs between the source and the edited content.
type Page struct {
	// Number counts from 1; the page lies at (Number-1) * page size.
	Number uint32
	// Before is the page as the Source gives it; nil if the page did not exist.
	// If the Source merges a WAL, it need not be what the main file holds there.
	Before []byte
	// After is nil if the page does not exist any more.
	After []byte
}

// Result is the difference that an Edit makes.
type Result struct {
	PageSize int
	// OldPageCount and NewPageCount are the sizes of the database in pages.
	OldPageCount, NewPageCount uint32
	// Pages is sorted by number. Pages with equal bytes are left out.
	Pages []Page
}

// Edit is an open overlay over a Source. Its DB methods run the SQL. Memory use
// follows the pages that are changed, not the size of the source.
type Edit struct {
	*DB
	name string
	over *overlay
	// versions are bytes 18 and 19 of page 1 of the source.
	versions [2]byte
}

// Begin opens src for editing. If src has no pages, a new database is created;
// its header says rollback mode (1). ctx ends every later call when it is done.
// The caller must Close the Edit.
//
// It fails if page 1 is no SQLite header that fits src, if the schema cannot be
// read, or if the pages have 8 reserved bytes (the driver would take them for
// checksums and rewrite them).
func Begin(ctx context.Context, src Source) (_ *Edit, err error) {
	if err := checkPageSize(src.PageSize()); err != nil {
		return nil, err
	}
	if n := src.PageCount(); n > maxPageCount {
		return nil, fmt.Errorf("page count %d is more than SQLite's limit %d", n, uint32(maxPageCount))
	}
	e := &Edit{over: newOverlay(src)}
	if src.PageCount() > 0 {
		if err := e.readHeader(src); err != nil {
			return nil, err
		}
	}
	e.name = overlays.add(e.over)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("start SQLite engine: %v; it needs 256 MiB of address space", r)
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("open the database for editing: %w", err), e.Close())
		}
	}()
	conn, err := sqlite3.OpenContext(ctx, "file:"+e.name+"?vfs="+vfsName)
	if err != nil {
		return nil, err
	}
	e.DB, err = newDB(ctx, conn, editPragmas(src))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	e.cause = func() error { return e.over.err }
	// Nothing has been read so far; this reads the header and the schema.
	if err := e.query("SELECT count(*) FROM sqlite_schema", nil, func([]any) bool { return true }); err != nil {
		return nil, err
	}
	return e, nil
}

// editPragmas returns the settings of an overlay connection. TRUNCATE and
// temp_store=FILE send the journals to the VFS, which keeps them in Go memory:
// the engine's own memory is limited to 256 MiB.
func editPragmas(src Source) []string {
	p := []string{
		"locking_mode=EXCLUSIVE",
		"journal_mode=TRUNCATE",
		"synchronous=OFF",
		"temp_store=FILE",
		"cache_size=-16384", // KiB
	}
	if src.PageCount() == 0 {
		p = append([]string{fmt.Sprintf("page_size=%d", src.PageSize())}, p...)
	}
	return p
}

// readHeader checks that page 1 agrees with src and remembers its version bytes.
func (e *Edit) readHeader(src Source) error {
	buf := make([]byte, src.PageSize())
	if err := src.ReadPage(1, buf); err != nil {
		return fmt.Errorf("read page 1 of the store: %w", err)
	}
	if !bytes.HasPrefix(buf, []byte("SQLite format 3\x00")) {
		return errors.New("page 1, offset 0: no SQLite header; hint: the header is damaged or this is no SQLite database")
	}
	size := int(binary.BigEndian.Uint16(buf[16:]))
	if size == 1 {
		size = maxPageSize
	}
	if size != src.PageSize() {
		return fmt.Errorf("page 1, offset 16: header says page size %d, the store was read with %d", size, src.PageSize())
	}
	if buf[20] == 8 {
		return errors.New("page 1, offset 20: 8 reserved bytes per page (checksums) are not supported for editing")
	}
	e.versions = [2]byte{buf[offWriteVersion], buf[offReadVersion]}
	return nil
}

// Pages commits and returns what the SQL run so far changes. SQL may be run again
// afterwards; a later result always compares with the source.
func (e *Edit) Pages() (Result, error) {
	if err := e.commit(); err != nil {
		return Result{}, err
	}
	src, over := e.over.src, e.over
	r := Result{PageSize: src.PageSize(), OldPageCount: src.PageCount(), NewPageCount: over.count}
	for _, n := range e.touched() {
		p := Page{Number: n}
		if n <= r.OldPageCount {
			p.Before = make([]byte, r.PageSize)
			if err := src.ReadPage(n, p.Before); err != nil {
				return Result{}, fmt.Errorf("read page %d of the store: %w", n, err)
			}
		}
		if n <= r.NewPageCount {
			p.After = make([]byte, r.PageSize)
			if err := over.load(n, p.After); err != nil {
				return Result{}, err
			}
			if n == 1 && r.OldPageCount > 0 {
				p.After[offWriteVersion], p.After[offReadVersion] = e.versions[0], e.versions[1]
			}
		}
		if p.Before == nil || p.After == nil || !bytes.Equal(p.Before, p.After) {
			r.Pages = append(r.Pages, p)
		}
	}
	return r, nil
}

// touched lists in order the pages that may differ: written ones, and all pages
// that were added or cut off, written or not.
func (e *Edit) touched() []uint32 {
	old, limit := e.over.src.PageCount(), e.over.srcLimit
	var list []uint32
	for n := range e.over.pages {
		if n <= limit {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	for n := uint64(limit) + 1; n <= uint64(max(old, e.over.count)); n++ {
		list = append(list, uint32(n))
	}
	return list
}

// Close drops the overlay. It may be called more than once.
func (e *Edit) Close() error {
	overlays.remove(e.name)
	if e.DB == nil {
		return nil
	}
	return e.close()
}

func checkPageSize(n int) error {
	if n < minPageSize || n > maxPageSize || n&(n-1) != 0 {
		return fmt.Errorf("page size %d is not a power of two from %d to %d", n, minPageSize, maxPageSize)
	}
	return nil
}
