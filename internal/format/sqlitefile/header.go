package sqlitefile

import (
	"bytes"
	"encoding/binary"
)

// magic is how every SQLite 3 database starts.
const magic = "SQLite format 3\x00"

// Limits of the format (https://www.sqlite.org/fileformat2.html, 1.3).
const (
	minPageSize = 512
	maxPageSize = 65536
	minUsable   = 480
)

// TextEncoding is the encoding of all text in a database.
type TextEncoding uint32

// Text encodings. 0 stands in a database without tables.
const (
	UTF8    TextEncoding = 1
	UTF16LE TextEncoding = 2
	UTF16BE TextEncoding = 3
)

// Header is the decoded database header. Fields are as stored, whether possible or not.
type Header struct {
	Raw             [fileHeaderSize]byte
	MagicOK         bool
	PageSize        int    // bytes; 65536 is stored as 1
	WriteVersion    uint8  // 1 rollback journal, 2 WAL
	ReadVersion     uint8  // the same
	Reserved        uint8  // unused bytes at the end of each page
	ChangeCounter   uint32 // counts transactions (not in WAL mode)
	Pages           uint32 // size of the database in pages; see PagesValid
	FreelistTrunk   uint32 // first freelist trunk page, 0 if none
	FreelistCount   uint32
	SchemaCookie    uint32
	SchemaFormat    uint32
	LargestRoot     uint32 // not 0: auto-vacuum is on and there are pointer map pages
	Encoding        TextEncoding
	UserVersion     uint32
	ApplicationID   uint32
	VersionValidFor uint32 // value of ChangeCounter when Pages was written
	SQLiteVersion   uint32 // e.g. 3040001
}

// PagesValid reports whether the Pages field may be believed: SQLite uses it only when it was written together with the
// change counter.
func (h Header) PagesValid() bool {
	return h.MagicOK && h.Pages != 0 && h.ChangeCounter == h.VersionValidFor
}

// parseHeader decodes the header from the first 100 bytes of page 1; missing bytes count as 0.
func parseHeader(b []byte) Header {
	var h Header
	copy(h.Raw[:], b)
	r := h.Raw[:]
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(r[off:]) }
	h.MagicOK = bytes.HasPrefix(r, []byte(magic))
	h.PageSize = int(binary.BigEndian.Uint16(r[16:]))
	if h.PageSize == 1 {
		h.PageSize = maxPageSize
	}
	h.WriteVersion, h.ReadVersion, h.Reserved = r[18], r[19], r[20]
	h.ChangeCounter, h.Pages = u32(24), u32(28)
	h.FreelistTrunk, h.FreelistCount = u32(32), u32(36)
	h.SchemaCookie, h.SchemaFormat = u32(40), u32(44)
	h.LargestRoot, h.Encoding = u32(52), TextEncoding(u32(56))
	h.UserVersion, h.ApplicationID = u32(60), u32(68)
	h.VersionValidFor, h.SQLiteVersion = u32(92), u32(96)
	return h
}

// validPageSize reports whether n is a page size of the format.
func validPageSize(n int) bool {
	return n >= minPageSize && n <= maxPageSize && n&(n-1) == 0
}

// shape reports whether the parts of the header that fix the page geometry agree with the format. The payload fractions
// are constants, so they tell a header with a lost magic from no header at all.
func (h *Header) shape() bool {
	return validPageSize(h.PageSize) && h.PageSize-int(h.Reserved) >= minUsable &&
		h.Raw[21] == 64 && h.Raw[22] == 32 && h.Raw[23] == 32
}

// problems lists the fields that have values SQLite never writes.
func (h *Header) problems() []Problem {
	if allZero(h.Raw[:]) {
		return []Problem{fileProblem(ProblemHeaderMagic, 0, "the first 100 bytes (the database header) are all zero")}
	}
	var ps []Problem
	bad := func(kind ProblemKind, off int64, format string, args ...any) {
		ps = append(ps, fileProblem(kind, off, format, args...))
	}
	if !h.MagicOK {
		bad(ProblemHeaderMagic, 0, "the file starts with %q instead of %q", h.Raw[:16], magic)
	}
	if !validPageSize(h.PageSize) {
		bad(ProblemHeaderField, 16, "header: page size %d is not a power of two from 512 to 65536", h.PageSize)
	}
	if h.WriteVersion < 1 || h.WriteVersion > 2 || h.ReadVersion < 1 || h.ReadVersion > 2 {
		bad(ProblemHeaderField, 18, "header: write version %d and read version %d; both can only be 1 or 2",
			h.WriteVersion, h.ReadVersion)
	}
	if validPageSize(h.PageSize) && h.PageSize-int(h.Reserved) < minUsable {
		bad(ProblemHeaderField, 20, "header: %d reserved bytes leave less than 480 of %d", h.Reserved, h.PageSize)
	}
	if h.Raw[21] != 64 || h.Raw[22] != 32 || h.Raw[23] != 32 {
		bad(ProblemHeaderField, 21, "header: payload fractions are %d, %d, %d instead of 64, 32, 32",
			h.Raw[21], h.Raw[22], h.Raw[23])
	}
	if h.SchemaFormat > 4 {
		bad(ProblemHeaderField, 44, "header: schema format %d; the highest known is 4", h.SchemaFormat)
	}
	if h.Encoding > UTF16BE {
		bad(ProblemHeaderField, 56, "header: text encoding %d; the highest known is 3", h.Encoding)
	}
	return ps
}
