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
	if out, ok := unpackUnknown(row.Stored, budget); ok && right(out) {
		return out, fmt.Sprintf("the size column is wrong: %d, not %d", len(out), row.Size), true
	}
	if out, ok := flipStored(row, right, budget); ok {
		return out, "one bit of the stored bytes was flipped", true
	}
	return nil, "", false
}

// unpackUnknown decodes an LZ4 block whose decoded length is not known. What it decodes to can be 255 times as long, so
// that is found out first, and taken off the budget.
func unpackUnknown(stored []byte, budget *int64) ([]byte, bool) {
	size, cost := unpackedLen(stored), int64(0)
	if size > 16*int64(len(stored))+4096 { // less is no more work than reading the row was
		cost = size
	}
	if size <= 0 || size > maxMended || cost > *budget {
		return nil, false
	}
	*budget -= cost
	out := make([]byte, size)
	n, err := lz4.UncompressBlock(stored, out)
	return out, err == nil && int64(n) == size
}

// unpackedLen adds up the lengths in an LZ4 block without decoding it; -1 if it is none
// (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
func unpackedLen(b []byte) (size int64) {
	// length reads the bytes that go on with a length of 15 in the token.
	length := func(n int64) int64 {
		if n < 15 {
			return n
		}
		for len(b) > 0 {
			c := b[0]
			b = b[1:]
			if n += int64(c); c < 255 {
				return n
			}
		}
		return -1
	}
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		literals := length(int64(token >> 4))
		if literals < 0 || literals > int64(len(b)) {
			return -1
		}
		size += literals
		if b = b[literals:]; len(b) == 0 {
			return size // the last sequence has no match
		}
		if len(b) < 2 {
			return -1
		}
		b = b[2:] // the offset
		match := length(int64(token & 15))
		if match < 0 {
			return -1
		}
		size += match + 4
	}
	return -1 // a block ends with literals
}

// flipStored tries every single bit of the stored bytes, as long as that is affordable.
func flipStored(row *blobRow, right func([]byte) bool, budget *int64) ([]byte, bool) {
	if len(row.Stored) == 0 || row.Size == 0 || row.Size > int64(len(row.Stored))*255+64 {
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
