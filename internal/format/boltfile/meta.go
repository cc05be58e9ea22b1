package boltfile

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/bits"
)

// Sizes and marks of the format (bbolt internal/common: types.go, page.go, meta.go).
const (
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16 // of branch and leaf elements
	bucketHead  = 16 // root u64, sequence u64
	metaSize    = 64 // of the meta structure behind the page header

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	elementIsBucket = 0x01

	magic      = 0xed0cdaed
	version    = 2
	noFreelist = ^uint64(0)

	minPageSize     = 1 << 10
	maxPageSize     = 64 << 10
	defaultPageSize = 4 << 10
	maxKeySize      = 32768
)

// Meta is one of the two meta pages, as it stands in the file.
type Meta struct {
	Page                     uint64 // 0 or 1
	Valid                    bool   // bbolt accepts it, and the page size is where the page is
	Why                      string // why it is not valid
	Version, PageSize, Flags uint32
	Root                     uint64 // page of the root bucket
	RootSequence             uint64
	Freelist                 uint64 // page of the freelist
	HighWater                uint64 // number of the first page that is not part of the database
	Txid, Checksum           uint64
	odd                      bool // not valid for us only: bbolt accepts it
}

// NoFreelist reports whether the transaction was written without its freelist (bbolt's NoFreelistSync).
func (m Meta) NoFreelist() bool { return m.Freelist == noFreelist }

// parseMeta decodes the page at b, which is page number page of a file with pages of pageSize bytes. If pageSize is 0 any
// page size that the meta itself names will do.
func parseMeta(b []byte, page uint64, pageSize int) Meta {
	m := Meta{Page: page}
	if len(b) < pageHeader+metaSize {
		m.Why = "the file ends before or inside it"
		return m
	}
	b = b[pageHeader:]
	le := binary.LittleEndian
	m.Version, m.PageSize, m.Flags = le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	m.Root, m.RootSequence = le.Uint64(b[16:]), le.Uint64(b[24:])
	m.Freelist, m.HighWater = le.Uint64(b[32:]), le.Uint64(b[40:])
	m.Txid, m.Checksum = le.Uint64(b[48:]), le.Uint64(b[56:])
	sum := fnv.New64a()
	sum.Write(b[:56])
	switch {
	case le.Uint32(b) != magic:
		m.Why = fmt.Sprintf("magic %#08x, should be %#08x", le.Uint32(b), uint32(magic))
	case m.Version != version:
		m.Why = fmt.Sprintf("format version %d, should be %d", m.Version, version)
	case m.Checksum != sum.Sum64():
		m.Why = fmt.Sprintf("checksum %016x, should be %016x", m.Checksum, sum.Sum64())
	case !validPageSize(m.PageSize):
		m.odd = true
		m.Why = fmt.Sprintf("page size %d is not a power of two from %d to %d", m.PageSize, minPageSize, maxPageSize)
	case pageSize != 0 && int(m.PageSize) != pageSize:
		m.odd = true
		m.Why = fmt.Sprintf("page size %d, but it lies at the place for a page size of %d", m.PageSize, pageSize)
	default:
		m.Valid = true
	}
	return m
}

func validPageSize(n uint32) bool {
	return n >= minPageSize && n <= maxPageSize && bits.OnesCount32(n) == 1
}

// readMetas finds the page size and both meta pages. The page size comes from the first valid meta; the second one is
// looked for at every possible place. Without any it is guessed from the page headers.
func (f *File) readMetas() error {
	first, err := f.peek(0, pageHeader+metaSize)
	if err != nil {
		return err
	}
	if m := parseMeta(first, 0, 0); m.Valid {
		f.pageSize = int(m.PageSize)
	}
	for ps := int64(minPageSize); f.pageSize == 0 && ps <= maxPageSize; ps *= 2 {
		b, err := f.peek(ps, pageHeader+metaSize)
		if err != nil {
			return err
		}
		if parseMeta(b, 1, int(ps)).Valid {
			f.pageSize = int(ps)
		}
	}
	if f.pageSize == 0 {
		if f.pageSize, err = f.guessPageSize(); err != nil {
			return err
		}
	}
	second, err := f.peek(int64(f.pageSize), pageHeader+metaSize)
	if err != nil {
		return err
	}
	f.metas = [2]Meta{parseMeta(first, 0, f.pageSize), parseMeta(second, 1, f.pageSize)}
	return nil
}

// guessSamples is how many pages are looked at for each page size that is tried.
const guessSamples = 1024

// guessPageSize finds the page size under which most page headers name their own place; 4096 when nothing speaks for any.
func (f *File) guessPageSize() (int, error) {
	best, most := defaultPageSize, 0
	for ps := int64(minPageSize); ps <= maxPageSize; ps *= 2 {
		pages := f.size / ps
		step, hits := max(1, pages/guessSamples), 0
		for n := int64(1); n < pages; n += step {
			b, err := f.peek(n*ps, pageHeader)
			if err != nil {
				return 0, err
			}
			h := parseHeader(b)
			if h.id == uint64(n) && (h.flags == flagBranch || h.flags == flagLeaf || h.flags == flagMeta || h.flags == flagFreelist) {
				hits++
			}
		}
		if hits > most {
			best, most = int(ps), hits
		}
	}
	return best, nil
}

// Metas gives both meta pages. The second is also found when the first is garbage.
func (f *File) Metas() [2]Meta { return f.metas }

// Current is the newest valid meta page: the transaction that bbolt and the readers in here look at. False if none is valid.
func (f *File) Current() (Meta, bool) {
	a, b := f.metas[0], f.metas[1]
	if b.Valid && (!a.Valid || b.Txid > a.Txid) {
		return b, true
	}
	return a, a.Valid
}
