package flux

import (
	"bytes"
	"fmt"

	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
)

// blobWindow is how much a reader of single blobs reads at once, in bytes: a few pages, as neighbours are often wanted next.
const blobWindow = 8 << 10

// blobReader reads single rows of the objects table by their place. It belongs to one goroutine.
type blobReader struct {
	u   *unit
	r   *sqlitefile.Reader
	row sqlitefile.Row
	dec rowDecoder
	out blobRow
	key []byte
}

func newBlobReader(u *unit) *blobReader {
	return &blobReader{u: u, r: u.file.NewReader(blobWindow), dec: rowDecoder{cols: u.cols}}
}

// at decodes the row of e. The result is valid until the next call. An error means that the row cannot be read any more
// though the sweep could: the store was written to, or the medium failed.
func (b *blobReader) at(e entry) (*blobRow, error) {
	leaf, err := b.r.Leaf(e.page())
	if err != nil {
		return nil, fmt.Errorf("read blob on page %d: %w", e.page(), err)
	}
	if e.cell() >= leaf.Len() {
		return nil, fmt.Errorf("read blob: page %d has no cell %d any more", e.page(), e.cell())
	}
	err = b.r.Row(leaf, e.cell(), &b.row)
	if err != nil && len(b.row.Cols) == 0 {
		return nil, fmt.Errorf("read blob on page %d, cell %d: %w", e.page(), e.cell(), err)
	}
	if !b.dec.decode(&b.row, err != nil, &b.out) {
		return nil, fmt.Errorf("read blob: the row on page %d, cell %d is another one now", e.page(), e.cell())
	}
	return &b.out, nil
}

// content returns the content of row number n, which the sweep found good or which could be mended.
func (b *blobReader) content(n int) ([]byte, error) {
	if m, ok := b.u.mended[uint32(n)]; ok {
		return m.content, nil
	}
	e := b.u.idx.at(n)
	row, err := b.at(e)
	if err != nil {
		return nil, err
	}
	if row.Status != statusGood {
		return nil, fmt.Errorf("blob on page %d, cell %d is no longer good: %s", e.page(), e.cell(), row.Why)
	}
	return row.Content, nil
}

// get returns the content of ref, and false if it is not in the store or neither good nor mended.
func (b *blobReader) get(ref treeobj.Ref) ([]byte, bool) {
	if len(b.u.mended) > 0 {
		if n := b.u.idx.find(ref.Sum()); n >= 0 {
			if m, ok := b.u.mended[uint32(n)]; ok {
				return m.content, true
			}
		}
	}
	row, ok := b.lookup(ref)
	if !ok || row.Status != statusGood {
		return nil, false
	}
	return row.Content, true
}

// lookup returns the row of ref in whatever state it is, and false if there is none.
func (b *blobReader) lookup(ref treeobj.Ref) (*blobRow, bool) {
	b.key = ref.AppendSum(b.key[:0])
	n := b.u.idx.find(b.key)
	if n < 0 {
		return nil, false
	}
	row, err := b.at(b.u.idx.at(n))
	if err != nil || !bytes.Equal(row.Hash, b.key) {
		return nil, false
	}
	return row, true
}
