package flux

import (
	"fmt"

	"github.com/pierrec/lz4/v4"

	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
)

// Slots of columns; where each stands in a row, columns says.
const (
	colHash = iota
	colSize
	colObject
	colEpoch
)

// maxContent is the largest blob Flux can store (content.blob-size-limit is at most 1 GiB in practice).
const maxContent = 1 << 30

// blobRow is one decoded row of the objects table. Slices belong to the decoder and are valid until its next row.
type blobRow struct {
	Hash    []byte // 20 or 32 raw bytes
	BlobKey bool   // storage class BLOB, which Flux cannot find
	Size    int64  // the size column
	Stored  []byte // the object column
	Content []byte // decoded, whatever its hash; nil when undecodable
	Status  status
	Why     string // for people, when Status is not good
	Epoch   int64
	HasEp   bool
}

// rowDecoder decodes rows of the objects table and verifies their content. It keeps its buffer between rows.
type rowDecoder struct {
	cols columns
	buf  []byte
	// hashed counts the bytes of content that were hashed.
	hashed int64
}

// decode fills out from row. It returns false when the row has no usable key, so that nobody can know what it is.
// short tells that the row's overflow chain is broken.
func (d *rowDecoder) decode(row *sqlitefile.Row, short bool, out *blobRow) bool {
	*out = blobRow{}
	if len(row.Cols) <= d.cols[colHash] {
		return false
	}
	key := row.Cols[d.cols[colHash]]
	switch key.Kind {
	case sqlitefile.Text:
	case sqlitefile.Blob:
		out.BlobKey = true
	default:
		return false
	}
	if n := len(key.B); n != treeobj.SHA1Size && n != treeobj.SHA256Size {
		return false
	}
	out.Hash = key.B
	if short || len(row.Cols) <= max(d.cols[colObject], d.cols[colSize]) {
		out.Status, out.Why = statusUndecodable, "part of the row lies on an unreadable page"
		return true
	}
	if ep := d.cols[colEpoch]; ep >= 0 && len(row.Cols) > ep && row.Cols[ep].Kind == sqlitefile.Int {
		out.Epoch, out.HasEp = row.Cols[ep].I, true
	}
	d.content(row.Cols[d.cols[colSize]], row.Cols[d.cols[colObject]], out)
	if out.Status != statusGood {
		return true
	}
	d.hashed += int64(len(out.Content))
	want, err := treeobj.RefFromHash(out.Hash)
	if got := treeobj.Hash(algOf(out.Hash), out.Content); err != nil || got != want {
		out.Status, out.Why = statusMismatch, fmt.Sprintf("content (%d bytes) hashes to %s", len(out.Content), got)
	}
	return true
}

// content undoes the storage form: size -1 is the content itself, anything else is the exact length of one raw LZ4 block.
func (d *rowDecoder) content(size, object sqlitefile.Value, out *blobRow) {
	bad := func(format string, args ...any) {
		out.Status, out.Why = statusUndecodable, fmt.Sprintf(format, args...)
	}
	if size.Kind == sqlitefile.Int {
		out.Size = size.I
	}
	switch object.Kind {
	case sqlitefile.Blob, sqlitefile.Text:
		out.Stored = object.B
	case sqlitefile.Null:
		bad("object is NULL")
		return
	default:
		bad("object is a number")
		return
	}
	if size.Kind != sqlitefile.Int {
		bad("size is not a number")
		return
	}
	switch {
	case size.I == -1:
		out.Content = object.B
		return
	case size.I < 0 || size.I > maxContent:
		bad("size is %d", size.I)
		return
	case size.I > int64(len(object.B))*255+64:
		// No LZ4 block can grow more than 255-fold, so this size is not worth an allocation.
		bad("size is %d, but %d stored bytes cannot hold so much", size.I, len(object.B))
		return
	}
	if size.I == 0 {
		// The library must not be given an empty buffer. Of no content LZ4 makes a single zero token.
		if len(object.B) != 1 || object.B[0] != 0 {
			bad("LZ4 block of %d bytes does not decode to nothing", len(object.B))
			return
		}
		out.Content = []byte{}
		return
	}
	d.buf = grow(d.buf, int(size.I))
	n, err := lz4.UncompressBlock(object.B, d.buf)
	switch {
	case err != nil:
		bad("LZ4 block of %d bytes does not decode to %d bytes", len(object.B), size.I)
	case int64(n) != size.I:
		bad("LZ4 block decodes to %d bytes, size says %d", n, size.I)
	default:
		out.Content = d.buf[:n]
	}
}

func algOf(hash []byte) treeobj.Alg {
	if len(hash) == treeobj.SHA256Size {
		return treeobj.SHA256
	}
	return treeobj.SHA1
}

// grow returns a slice of length n, reusing b where it is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n, n+n/4)
}
