package boltedit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// Layout of a page (bbolt internal/common/page.go).
const (
	headerSize = 16 // id u64, flags u16, count u16, overflow u32

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	elementSize      = 16   // of branch and leaf pages alike
	flagBucket       = 0x01 // of a leaf element: the value is a bucket
	bucketHeaderSize = 16   // root u64, sequence u64
)

// Layout of a meta page behind its header (bbolt internal/common/meta.go).
const (
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = math.MaxUint64 // "freelist" of a file whose free list is not kept
)

// Page sizes: bbolt takes the page size of the machine, which is from 4 to 64
// KiB, or what its user asks for.
const (
	minPageSize = 1024
	maxPageSize = 65536
)

// meta is what one meta page says.
type meta struct {
	slot     int // 0 or 1: the page it was read from
	pageSize int
	root     uint64 // page of the root bucket
	freelist uint64 // page of the free list, or noFreelist
	high     uint64 // number of pages in use and free; pages behind do not count
	txid     uint64
}

// sameContent tells whether two meta pages describe the same database.
func (m meta) sameContent(o meta) bool {
	return m.root == o.root && m.freelist == o.freelist && m.high == o.high && m.pageSize == o.pageSize
}

// errPageSize is the error of a meta page that bbolt takes for valid and then dies on: it believes the page size.
var errPageSize = errors.New("impossible page size")

// parseMeta decodes a meta page of which b holds at least the first 80 bytes.
func parseMeta(b []byte, slot int) (meta, error) {
	b = b[headerSize : headerSize+metaSize]
	le := binary.LittleEndian
	h := fnv.New64a()
	h.Write(b[:56])
	m := meta{slot: slot, pageSize: int(le.Uint32(b[8:])), root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]),
		high: le.Uint64(b[40:]), txid: le.Uint64(b[48:])}
	switch {
	case le.Uint32(b) != metaMagic:
		return meta{}, fmt.Errorf("meta page %d: no bbolt magic number", slot)
	case le.Uint32(b[4:]) != metaVersion:
		return meta{}, fmt.Errorf("meta page %d: version %d, not %d", slot, le.Uint32(b[4:]), metaVersion)
	case h.Sum64() != le.Uint64(b[56:]):
		return meta{}, fmt.Errorf("meta page %d: wrong checksum", slot)
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("meta page %d: %w: %d", slot, errPageSize, m.pageSize)
	}
	return m, nil
}

// metas are the two meta pages. The one in force is that with the higher
// transaction number among the valid ones.
type metas struct {
	current meta
	other   meta
	both    bool // other is valid
}

// readMetas reads the meta pages of a file. The second one lies one page into
// the file, at an unknown place if the first is damaged: it is looked for where
// bbolt would.
func readMetas(r io.ReaderAt) (metas, error) {
	first, err0 := readMeta(r, 0, 0)
	if errors.Is(err0, errPageSize) {
		return metas{}, err0
	}
	if err0 != nil {
		for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
			m, err := readMeta(r, size, 1)
			if err == nil && int64(m.pageSize) == size {
				return metas{current: m}, nil
			} else if err == nil || errors.Is(err, errPageSize) {
				break // bbolt would believe it
			}
		}
		return metas{}, fmt.Errorf("no valid meta page (%w)", err0)
	}
	second, err1 := readMeta(r, int64(first.pageSize), 1)
	switch {
	case errors.Is(err1, errPageSize):
		return metas{}, err1
	case err1 != nil:
		return metas{current: first}, nil
	case second.pageSize != first.pageSize:
		return metas{}, fmt.Errorf("the meta pages give different page sizes, %d and %d", first.pageSize, second.pageSize)
	case second.txid > first.txid:
		return metas{current: second, other: first, both: true}, nil
	}
	return metas{current: first, other: second, both: true}, nil
}

func readMeta(r io.ReaderAt, at int64, slot int) (meta, error) {
	var b [headerSize + metaSize]byte
	if _, err := r.ReadAt(b[:], at); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return meta{}, fmt.Errorf("meta page %d: %w", slot, err)
	}
	return parseMeta(b[:], slot)
}

// next is the slot of the meta page that the next transaction writes.
func (m metas) next() int { return int((m.current.txid + 1) % 2) }

// safeToCommit tells whether the next transaction leaves the meta page in force
// alone. It always does in files that bbolt wrote; in those made by its WriteTo
// the meta page in force may lie in the other place, and then there are two
// that say the same.
func (m metas) safeToCommit() error {
	if m.current.txid == math.MaxUint64 {
		return errors.New("the transaction number has reached its end")
	}
	if m.next() == m.current.slot && !(m.both && m.other.sameContent(m.current)) {
		return fmt.Errorf("meta page %d with transaction %d lies in the wrong place, so that a change would overwrite the only good one; hint: let bbolt compact write the database anew", m.current.slot, m.current.txid)
	}
	return nil
}
