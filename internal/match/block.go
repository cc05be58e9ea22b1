package match

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"syscall"

	"fettle/internal/claim"
)

const (
	blockMagic  = "fmb1"
	blockHeader = 16
	// maxBlock bounds the length of any block, header included. Blocks are at
	// most maxPooled long, or hold a single claim that is longer.
	maxBlock  = blockHeader + claim.MaxEncoded
	maxPooled = 32 << 10
	// windowSize is the buffer a reader of blocks needs: any block fits, and most
	// reads bring several.
	windowSize = 4 * maxPooled
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptError says that a spill file does not hold what was written to it.
type CorruptError struct {
	Path   string // the spill file
	Offset int64  // of the block in it, in bytes
	Reason string // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("spill file %s is damaged at offset %d: %s (it is scratch data: remove it and start the scan again, and check the disk it is on)", e.Path, e.Offset, e.Reason)
}

// block is encoded claims on their way to a partition. The first blockHeader
// bytes of buf are left for the header.
type block struct {
	buf    []byte
	claims uint32
	pooled bool // of the pool's size, to be given back to it
}

func (b *block) reset()       { b.buf, b.claims = b.buf[:blockHeader], 0 }
func (b *block) bytes() int64 { return int64(len(b.buf) - blockHeader) }

// file is what a spill file needs of *os.File; tests put failing ones in its place.
type file interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// openFile opens a spill file for reading and writing.
type openFile func(path string, create bool) (file, error)

func openOSFile(path string, create bool) (file, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE | os.O_EXCL
	}
	return os.OpenFile(path, flag, 0o600)
}

// spillFile is an append-only file of blocks. Its owner serialises appends.
type spillFile struct {
	path   string
	f      file
	seed   uint64
	number uint64 // tells files of one run apart in checksums
	size   int64  // bytes, headers included
	claims int64
	bytes  int64 // of encoded claims
}

// checksum covers a block's payload and the place it belongs to.
func (s *spillFile) checksum(payload []byte, offset int64, claims uint32) uint32 {
	var ctx [32]byte
	binary.LittleEndian.PutUint64(ctx[0:], s.seed)
	binary.LittleEndian.PutUint64(ctx[8:], s.number)
	binary.LittleEndian.PutUint64(ctx[16:], uint64(offset))
	binary.LittleEndian.PutUint32(ctx[24:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(ctx[28:], claims)
	return crc32.Update(crc32.Update(0, castagnoli, payload), castagnoli, ctx[:])
}

// append writes b at the end. When that fails the file still ends, as far as
// anyone is concerned, where it did before.
func (s *spillFile) append(b *block) error {
	payload := b.buf[blockHeader:]
	copy(b.buf, blockMagic)
	binary.LittleEndian.PutUint32(b.buf[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b.buf[8:], b.claims)
	binary.LittleEndian.PutUint32(b.buf[12:], s.checksum(payload, s.size, b.claims))
	if _, err := s.f.WriteAt(b.buf, s.size); err != nil {
		hint := ""
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			hint = " (hint: make room there, or give a directory on another disk)"
		}
		return fmt.Errorf("write %d bytes at offset %d of spill file %s: %w%s", len(b.buf), s.size, s.path, bare(err), hint)
	}
	s.size += int64(len(b.buf))
	s.claims += int64(b.claims)
	s.bytes += b.bytes()
	return nil
}

func (s *spillFile) corrupt(offset int64, format string, args ...any) error {
	return &CorruptError{Path: s.path, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// parse checks the block at the start of data, which was read from offset, and
// returns its payload, which is never empty. It returns need > 0 instead when
// data is too short to tell: the block takes at least need bytes.
func (s *spillFile) parse(data []byte, offset int64) (payload []byte, claims uint32, need int, err error) {
	if len(data) < blockHeader {
		return nil, 0, blockHeader, nil
	}
	if string(data[:4]) != blockMagic {
		return nil, 0, 0, s.corrupt(offset, "no block starts here")
	}
	n := binary.LittleEndian.Uint32(data[4:])
	if n < claim.MinEncoded || n > maxBlock-blockHeader {
		return nil, 0, 0, s.corrupt(offset, "a block of %d bytes is not possible", n)
	}
	end := blockHeader + int(n)
	if len(data) < end {
		return nil, 0, end, nil
	}
	claims = binary.LittleEndian.Uint32(data[8:])
	payload = data[blockHeader:end:end]
	if got, want := s.checksum(payload, offset, claims), binary.LittleEndian.Uint32(data[12:]); got != want {
		return nil, 0, 0, s.corrupt(offset, "checksum is %08x, should be %08x", got, want)
	}
	return payload, claims, 0, nil
}

// readAt fills buf from the file. All of it was written, so that a file that ends
// before is damaged.
func (s *spillFile) readAt(buf []byte, offset int64) error {
	n, err := s.f.ReadAt(buf, offset)
	if n == len(buf) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return s.corrupt(offset+int64(n), "the file ends here, but %d bytes were written to it", s.size)
	}
	return fmt.Errorf("read %d bytes at offset %d of spill file %s: %w", len(buf), offset, s.path, bare(err))
}

// each calls fn for every claim in file order, with its subject and its encoding,
// both valid during the call. window must be at least maxBlock long. It stops at
// the first error, and silently when fn returns errStop.
func (s *spillFile) each(window []byte, fn func(subject claim.Subject, enc []byte) error) error {
	var offset, total int64 // of window[0] in the file; claims seen
	have := window[:0]
	for offset < s.size {
		payload, claims, need, err := s.parse(have, offset)
		if err != nil {
			return err
		}
		if need > 0 {
			if offset+int64(need) > s.size {
				return s.corrupt(offset, "a block of %d bytes does not fit before the end of the file at %d", need, s.size)
			}
			copy(window, have)
			more := window[len(have):]
			if rest := s.size - offset - int64(len(have)); int64(len(more)) > rest {
				more = more[:rest]
			}
			if err := s.readAt(more, offset+int64(len(have))); err != nil {
				return err
			}
			have = window[:len(have)+len(more)]
			continue
		}
		if err := s.eachInBlock(payload, offset, claims, fn); err != nil {
			if err == errStop {
				return nil
			}
			return err
		}
		total += int64(claims)
		offset += blockHeader + int64(len(payload))
		have = have[blockHeader+len(payload):]
	}
	return s.checkTotal(total)
}

func (s *spillFile) eachInBlock(payload []byte, offset int64, claims uint32, fn func(claim.Subject, []byte) error) error {
	var seen uint32
	for len(payload) > 0 {
		subject, n, err := claim.Peek(payload)
		if err != nil {
			return s.corrupt(offset, "claim %d of the block: %v", seen, err)
		}
		if err := fn(subject, payload[:n:n]); err != nil {
			return err
		}
		payload = payload[n:]
		seen++
	}
	if seen != claims {
		return s.corrupt(offset, "the block holds %d claims, should be %d", seen, claims)
	}
	return nil
}

func (s *spillFile) checkTotal(claims int64) error {
	if claims != s.claims {
		return s.corrupt(s.size, "the file holds %d claims, should be %d", claims, s.claims)
	}
	return nil
}

// errStop ends each early without an error.
var errStop = errors.New("stop")

// bare strips the path from an *fs.PathError, which our messages already name.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
