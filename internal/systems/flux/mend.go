package flux

import (
	"context"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"

	"fettle/internal/format/treeobj"
)

// The name of a blob is the hash of its content, so a guess at the content can be proved. mend guesses what commonly
// happens: a wrong size column, content stored in the other form than the size says, one flipped bit.

// mendRow bounds the bytes that are hashed for one row, mendAll those for all rows of a check.
const (
	mendRow = 512 << 20
	mendAll = 4 << 30
)

// mended is the right content of a row that holds something else, proved by the hash.
type mended struct {
	content []byte
	how     string // what was wrong, for people
}

// mendRows works out the right content of damaged rows, as far as that is affordable, before the tree is walked: what lies
// below a directory that can be mended is there, and damage below it must be found now and not by a second check.
func (u *unit) mendRows(ctx context.Context) error {
	u.mended = map[uint32]mended{}
	if u.counts.Bad == 0 {
		return nil
	}
	b := newBlobReader(u)
	budget, room := int64(mendAll), int64(maxMended)
	for n := 0; n < u.idx.n && budget > 0 && room > 0; n++ {
		e := u.idx.at(n)
		if e.goodContent() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := b.at(e)
		if err != nil {
			return err
		}
		if content, how, ok := mend(row, &budget); ok {
			u.mended[uint32(n)] = mended{content, how}
			room -= int64(len(content))
		}
	}
	return nil
}

// maxMended bounds the memory of mended content in bytes.
const maxMended = 64 << 20

// mend finds the right content of a row whose content is wrong or cannot be decoded. how says what was wrong. budget is
// how many bytes may be hashed; what was used is taken off.
func mend(row *blobRow, budget *int64) (content []byte, how string, ok bool) {
	want, err := treeobj.RefFromHash(row.Hash)
	if err != nil || row.Stored == nil {
		return nil, "", false
	}
	right := func(b []byte) bool { return treeobj.Hash(want.Alg(), b) == want }
	if right(row.Stored) {
		return slices.Clone(row.Stored), "it is stored as it is, only the size column says otherwise", true
	}
	if out, ok := unpackUnknown(row.Stored); ok && right(out) {
		return out, fmt.Sprintf("the size column is wrong: %d, not %d", len(out), row.Size), true
	}
	if out, ok := flipStored(row, right, budget); ok {
		return out, "one bit of the stored bytes was flipped", true
	}
	return nil, "", false
}

// unpackUnknown decodes an LZ4 block whose decoded length is not known.
func unpackUnknown(stored []byte) ([]byte, bool) {
	if len(stored) == 0 || len(stored) > maxContent/256 {
		return nil, false
	}
	for size := max(1024, 4*len(stored)); ; size *= 4 {
		size = min(size, 256*len(stored)+64)
		out := make([]byte, size)
		n, err := lz4.UncompressBlock(stored, out)
		if err == nil {
			return out[:n], true
		}
		if size == 256*len(stored)+64 {
			return nil, false
		}
	}
}

// flipStored tries every single bit of the stored bytes, as long as that is affordable.
func flipStored(row *blobRow, right func([]byte) bool, budget *int64) ([]byte, bool) {
	if len(row.Stored) == 0 || row.Size > int64(len(row.Stored))*255+64 {
		return nil, false // no flipped bit makes it decode to that size
	}
	cost := int64(len(row.Stored)) * 8 * max(int64(len(row.Stored)), row.Size, 1)
	if cost > min(*budget, mendRow) {
		return nil, false
	}
	*budget -= cost
	b := slices.Clone(row.Stored)
	var out []byte
	if row.Size >= 0 {
		out = make([]byte, row.Size)
	}
	for i := range b {
		for bit := byte(1); bit != 0; bit <<= 1 {
			b[i] ^= bit
			if row.Size < 0 {
				if right(b) {
					return b, true
				}
			} else if n, err := lz4.UncompressBlock(b, out); err == nil && int64(n) == row.Size && right(out) {
				return out, true
			}
			b[i] ^= bit
		}
	}
	return nil, false
}
