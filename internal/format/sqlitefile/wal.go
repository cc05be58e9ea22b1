package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes and constants of the write-ahead log (https://www.sqlite.org/fileformat2.html#walformat).
const (
	walHeaderSize   = 32
	walFrameHeader  = 24
	walMagicLittle  = 0x377f0682 // checksums read the log as little-endian words
	walMagicBig     = 0x377f0683
	walVersion      = 3007000
	walReadAtOnce   = 1 << 20
	walFarPageFloor = 1 << 20
)

// WALEnd says what follows the last good frame of a -wal.
type WALEnd string

// Values of WALEnd.
const (
	WALEndClean         WALEnd = "clean"          // the file ends with the last good frame
	WALEndOldGeneration WALEnd = "old generation" // frames with other salts, left from before the last restart: normal
	WALEndBadChecksum   WALEnd = "bad checksum"   // a whole frame with the current salts that fails its checksum: corrupt
	WALEndPartialFrame  WALEnd = "partial frame"  // the file ends inside a frame of this generation: truncated
	WALEndZero          WALEnd = "zero frame"     // a frame header of zeroes: space that was never written, or lost
)

// WAL holds the facts about a write-ahead log. Frames are numbered from 1.
type WAL struct {
	Path      string
	Exists    bool
	Size      int64 // bytes
	HeaderOK  bool  // magic, version, page size and checksum of the header are right
	HeaderBad string
	BigEndian bool // the words of checksums are big-endian
	PageSize  int
	Sequence  uint32 // checkpoint sequence number
	Salt1     uint32
	Salt2     uint32

	TotalFrames   uint32 // whole frames by file size, good or not
	ValidFrames   uint32 // frames from the start with the right salts and cumulative checksum
	LastCommit    uint32 // the last valid frame that ends a transaction, 0 if none
	Commits       uint32 // transactions up to LastCommit
	DBSize        uint32 // pages in the database after LastCommit
	Applied       bool   // the merged view uses this log
	DistinctPages int    // pages that the committed frames replace

	End             WALEnd // what follows frame ValidFrames
	TrailingBytes   int64  // bytes after frame LastCommit
	SameSaltAfter   uint32 // whole frames after frame ValidFrames that carry the current salts, so are of this generation
	CommitsAfterBad uint32 // how many of those end a transaction: commits that SQLite no longer sees
}

// walIndex is the scanned log: the facts, and where the newest committed version of each page lies.
type walIndex struct {
	WAL
	r      io.ReaderAt
	pages  PageSet
	frames map[uint32]uint32 // page number -> frame number

	sum0, sum1 uint32 // checksum of the header, from which that of the frames continues
}

// frameOffset is the file offset of frame n (from 1).
func (w *WAL) frameOffset(n uint32) int64 {
	return walHeaderSize + int64(n-1)*int64(walFrameHeader+w.PageSize)
}

// walChecksum continues the checksum (s0, s1) over b, whose length is a multiple of 8.
func walChecksum(big bool, s0, s1 uint32, b []byte) (uint32, uint32) {
	if big {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.BigEndian.Uint32(b) + s1
			s1 += binary.BigEndian.Uint32(b[4:]) + s0
		}
		return s0, s1
	}
	for ; len(b) >= 8; b = b[8:] {
		s0 += binary.LittleEndian.Uint32(b) + s1
		s1 += binary.LittleEndian.Uint32(b[4:]) + s0
	}
	return s0, s1
}

// readWALHeader fills in the facts of the 32-byte header and the checksum to continue from.
func (w *walIndex) readWALHeader() error {
	var b [walHeaderSize]byte
	n, err := w.r.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read header of %s: %w", w.Path, err)
	}
	if n < walHeaderSize {
		w.HeaderBad = fmt.Sprintf("only %d of 32 header bytes", n)
		return nil
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	w.PageSize, w.Sequence, w.Salt1, w.Salt2 = int(u32(8)), u32(12), u32(16), u32(20)
	w.BigEndian = u32(0) == walMagicBig
	s0, s1 := walChecksum(w.BigEndian, 0, 0, b[:24])
	w.sum0, w.sum1 = s0, s1
	switch {
	case u32(0) != walMagicBig && u32(0) != walMagicLittle:
		w.HeaderBad = fmt.Sprintf("magic is %#08x", u32(0))
	case u32(4) != walVersion:
		w.HeaderBad = fmt.Sprintf("version is %d instead of %d", u32(4), walVersion)
	case !validPageSize(w.PageSize):
		w.HeaderBad = fmt.Sprintf("page size is %d", w.PageSize)
	case s0 != u32(24) || s1 != u32(28):
		w.HeaderBad = "checksum of the header is wrong"
	default:
		w.HeaderOK = true
	}
	return nil
}

// newWAL reads the header of a log of size bytes (0 is normal). The error is for failed reads only.
func newWAL(r io.ReaderAt, path string, size int64) (*walIndex, error) {
	w := &walIndex{WAL: WAL{Path: path, Exists: true, Size: size, End: WALEndClean}, r: r, frames: map[uint32]uint32{}}
	if size == 0 {
		return w, nil
	}
	return w, w.readWALHeader()
}

// scan reads all frames once, if the header is good.
func (w *walIndex) scan() error {
	if !w.HeaderOK {
		return nil
	}
	frame := int64(walFrameHeader + w.PageSize)
	w.TotalFrames = uint32(min((w.Size-walHeaderSize)/frame, int64(^uint32(0)-1)))
	if err := w.scanFrames(); err != nil {
		return err
	}
	w.DistinctPages = w.pages.Count()
	w.TrailingBytes = w.Size - walHeaderSize - int64(w.LastCommit)*frame
	return w.judgeEnd()
}

// scanFrames follows the chain of checksums from the first frame and indexes committed pages.
func (w *walIndex) scanFrames() error {
	s0, s1 := w.sum0, w.sum1
	frame := walFrameHeader + w.PageSize
	perRead := max(1, walReadAtOnce/frame)
	buf := make([]byte, min(int64(perRead*frame), w.Size))
	var pending []uint32 // page numbers of frames LastCommit+1 ...
	for next := uint32(1); next <= w.TotalFrames; {
		count := min(uint32(perRead), w.TotalFrames-next+1)
		b := buf[:int(count)*frame]
		if _, err := w.r.ReadAt(b, w.frameOffset(next)); err != nil {
			return fmt.Errorf("read %s at frame %d, offset %d: %w", w.Path, next, w.frameOffset(next), err)
		}
		for ; len(b) >= frame; b = b[frame:] {
			f := b[:frame]
			page := binary.BigEndian.Uint32(f)
			if page == 0 || !w.sameSalts(f) {
				return nil
			}
			s0, s1 = walChecksum(w.BigEndian, s0, s1, f[:8])
			s0, s1 = walChecksum(w.BigEndian, s0, s1, f[walFrameHeader:])
			if s0 != binary.BigEndian.Uint32(f[16:]) || s1 != binary.BigEndian.Uint32(f[20:]) {
				return nil
			}
			w.ValidFrames = next
			next++
			pending = append(pending, page)
			if dbSize := binary.BigEndian.Uint32(f[4:]); dbSize != 0 {
				w.commit(pending, dbSize)
				pending = pending[:0]
			}
		}
	}
	return nil
}

// commit makes the pending frames, which end with frame ValidFrames, part of the view.
func (w *walIndex) commit(pending []uint32, dbSize uint32) {
	for i, page := range pending {
		w.frames[page] = w.LastCommit + 1 + uint32(i)
		w.pages.Add(page)
	}
	w.LastCommit, w.DBSize = w.ValidFrames, dbSize
	w.Commits++
}

func (w *walIndex) sameSalts(frameHeader []byte) bool {
	return binary.BigEndian.Uint32(frameHeader[8:]) == w.Salt1 && binary.BigEndian.Uint32(frameHeader[12:]) == w.Salt2
}

// judgeEnd looks at what follows the last valid frame.
func (w *walIndex) judgeEnd() error {
	var h [walFrameHeader]byte
	for n := w.ValidFrames + 1; n <= w.TotalFrames; n++ {
		if _, err := w.r.ReadAt(h[:], w.frameOffset(n)); err != nil {
			return fmt.Errorf("read %s, header of frame %d: %w", w.Path, n, err)
		}
		switch {
		case w.sameSalts(h[:]):
			w.SameSaltAfter++
			if binary.BigEndian.Uint32(h[4:]) != 0 {
				w.CommitsAfterBad++
			}
			if w.End != WALEndZero { // also when only the salts of the first bad frame are damaged
				w.End = WALEndBadChecksum
			}
		case n > w.ValidFrames+1:
		case allZero(h[:]):
			w.End = WALEndZero
		default:
			w.End = WALEndOldGeneration
		}
	}
	if w.ValidFrames < w.TotalFrames {
		return nil
	}
	rest := w.Size - w.frameOffset(w.ValidFrames+1)
	if rest <= 0 {
		return nil
	}
	w.End = WALEndPartialFrame
	n, err := w.r.ReadAt(h[:min(rest, walFrameHeader)], w.frameOffset(w.ValidFrames+1))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the end of %s: %w", w.Path, err)
	}
	if n >= 16 && !w.sameSalts(h[:]) {
		w.End = WALEndOldGeneration
	}
	return nil
}

// readPage fills buf (one page) with the newest committed version of page n, which must be in w.pages.
func (w *walIndex) readPage(n uint32, buf []byte) error {
	off := w.frameOffset(w.frames[n]) + walFrameHeader
	if _, err := w.r.ReadAt(buf[:w.PageSize], off); err != nil {
		return fmt.Errorf("read page %d from %s at offset %d: %w", n, w.Path, off, err)
	}
	return nil
}

// problems turns the facts into Problems. Old generations and an empty log are normal and give none.
func (w *walIndex) problems() []Problem {
	var ps []Problem
	bad := func(kind ProblemKind, off int64, format string, args ...any) {
		ps = append(ps, fileProblem(kind, off, format, args...))
	}
	if w.Size > 0 && !w.HeaderOK {
		bad(ProblemWALHeader, 0, "%s (%d bytes) has a bad header (%s); SQLite ignores the whole log", w.Path, w.Size, w.HeaderBad)
		return ps
	}
	next := w.ValidFrames + 1
	switch {
	case w.CommitsAfterBad > 0:
		bad(ProblemWALCorrupt, w.frameOffset(next), "%s: frame %d of %d is damaged (%s); %d frames of the current generation "+
			"from there on, with %d commits, are lost to SQLite", w.Path, next, w.TotalFrames, w.End, w.SameSaltAfter, w.CommitsAfterBad)
	case w.End == WALEndBadChecksum || w.End == WALEndZero:
		bad(ProblemWALLeftover, w.frameOffset(next), "%s: frame %d of %d does not continue the log (%s), and no commit follows: "+
			"remains of a transaction that was rolled back or cut off", w.Path, next, w.TotalFrames, w.End)
	case w.End == WALEndPartialFrame:
		bad(ProblemWALTruncated, w.frameOffset(next), "%s: the file ends inside frame %d", w.Path, next)
	}
	if w.ValidFrames > w.LastCommit {
		bad(ProblemWALUncommitted, w.frameOffset(w.LastCommit+1), "%s: %d good frames after the last commit (frame %d) belong to "+
			"a transaction that was not finished", w.Path, w.ValidFrames-w.LastCommit, w.LastCommit)
	}
	return ps
}
