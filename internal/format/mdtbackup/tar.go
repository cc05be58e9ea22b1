package mdtbackup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/format/quietfile"
)

// xattrPrefix is the begin of a pax record with an attribute of a target: "SCHILY.xattr.", as star and GNU tar write it, and the namespace.
const xattrPrefix = "SCHILY.xattr.trusted."

// maxWindow is the largest window of a zstd stream that is accepted, as of zstd -22 or --long: 128 MiB.
const maxWindow = 128 << 20

// Types of tar members that archive/tar has no names for.
const (
	typeDumpDir = 'D' // a directory in an incremental archive of GNU tar
	typeVolume  = 'V' // label of the archive
	typeMulti   = 'M' // rest of a file that began on another volume
)

// tarReader reads an archive.
type tarReader struct {
	oddities
	f      *os.File
	unpack io.Closer // of the compression, nil if there is none
	in     *stream
	tr     *tar.Reader
	name   string
	last   string // path of the member before, for errors
	packed bool
	count  int64 // members so far
}

// openTar opens an archive.
func openTar(path string) (*tarReader, error) {
	f, _, err := quietfile.Open(path, 0)
	if err != nil {
		return nil, err
	}
	r := &tarReader{f: f, name: path}
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// begin finds out about the compression and whether what it holds is an archive.
func (r *tarReader) begin() error {
	head := make([]byte, 6)
	n, err := r.f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", r.name, err)
	}
	raw := bufio.NewReaderSize(r.f, 1<<18)
	var unpacked io.Reader
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(raw)
		if err != nil {
			return fmt.Errorf("%s: %w: gzip: %w", r.name, ErrNotBackup, err)
		}
		unpacked, r.unpack = z, z
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("%s: %w: zstd: %w", r.name, ErrNotBackup, err)
		}
		unpacked, r.unpack = z, z.IOReadCloser()
	case bytes.HasPrefix(head, []byte("BZh")):
		unpacked = bzip2.NewReader(raw)
	case bytes.Equal(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return fmt.Errorf("%s: %w: xz", r.name, ErrPacked)
	}
	if unpacked == nil {
		r.in = newStream(r.f, r.f)
	} else {
		r.packed = true
		r.in = newStream(unpacked, nil)
	}
	block, err := r.in.b.Peek(512)
	if err == nil && !isHeader(block) {
		return fmt.Errorf("%s: %w", r.name, ErrNotBackup)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: no header of a tar archive: %w", r.name, ErrNotBackup, err)
	}
	r.tr = tar.NewReader(r.in)
	return nil
}

// isHeader tells whether a block is the header of a member: its checksum, the sum of all bytes with its own field taken for blanks, is right.
func isHeader(b []byte) bool {
	sum, field := int64(0), strings.Trim(string(b[148:156]), " \x00")
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	want := int64(0)
	for _, c := range field {
		if c < '0' || c > '7' {
			return false
		}
		want = want<<3 | int64(c-'0')
	}
	return field != "" && want == sum
}

// Next implements Reader.
func (r *tarReader) Next() (*Member, error) {
	for {
		h, err := r.tr.Next()
		if err == io.EOF {
			if r.in.short() {
				return nil, r.fail(io.ErrUnexpectedEOF)
			}
			return nil, io.EOF
		}
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // paths are judged here
		}
		if err != nil {
			return nil, r.fail(err)
		}
		r.last = h.Name
		if r.count++; r.count >= minBomb && r.packed && r.Done() < r.count {
			return nil, fmt.Errorf("%s: %d members from %d bytes: %w", r.name, r.count, r.Done(), ErrBomb)
		}
		m, why := r.member(h)
		switch {
		case h.Typeflag == typeMulti:
			return nil, fmt.Errorf("%s: member %.200q is the rest of a file from another volume: %w", r.name, h.Name, ErrCutOff)
		case m != nil:
			return m, nil
		case why != "":
			r.add(h.Name, why)
		}
	}
}

// fail says where reading ended.
func (r *tarReader) fail(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrCutOff
	}
	after := ""
	if r.last != "" {
		after = fmt.Sprintf(", after the member %.200q", r.last)
	}
	return fmt.Errorf("%s: byte %d of the archive%s: %w", r.name, r.in.at, after, err)
}

// member makes a member of a header. Without one and without a reason the header means nothing.
func (r *tarReader) member(h *tar.Header) (m *Member, why string) {
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == typeVolume || h.Typeflag == typeMulti {
		return nil, ""
	}
	parts, why := split(h.Name)
	if why != "" {
		return nil, why
	}
	m = &Member{Parts: parts, Mode: uint16(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid)}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		m.Mode |= ModeRegular
		m.Size = h.Size
	case tar.TypeDir, typeDumpDir:
		m.Mode |= ModeDirectory
	case tar.TypeSymlink:
		m.Mode |= ModeSymlink
		m.Target = h.Linkname
	case tar.TypeChar:
		m.Mode |= ModeChar
	case tar.TypeBlock:
		m.Mode |= ModeBlock
	case tar.TypeFifo:
		m.Mode |= ModeFIFO
	case tar.TypeLink:
		m.Mode |= ModeRegular
		if m.Same, why = split(h.Linkname); why != "" || len(m.Same) == 0 {
			return nil, "a further name of nothing that can be: " + why
		}
		return m, ""
	default:
		return nil, fmt.Sprintf("a member of type %q", h.Typeflag)
	}
	if len(parts) == 0 && !m.IsDir() {
		return nil, "it has no name"
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrPrefix); ok && name != "" && len(name) <= maxName {
			m.Xattrs = append(m.Xattrs, Xattr{name, []byte(value)})
		}
	}
	slices.SortFunc(m.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return m, ""
}

// Content implements Reader.
func (r *tarReader) Content(most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.tr, most))
	r.in.zero = false
	if err != nil {
		return nil, r.fail(err)
	}
	return b, nil
}

// Done implements Reader: how far the file was read, compressed as it is.
func (r *tarReader) Done() int64 {
	at, err := r.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return at
}

// minBomb is from how many members on a compressed archive must have a byte for each. What differs between members, names and FIDs, takes more.
const minBomb = 1 << 18

// Stop implements Reader. What is unpacked to be skipped can be without end.
func (r *tarReader) Stop() {
	r.in.stopped.Store(true)
	r.f.Close() // reading from it fails then; Close is told that it was closed
}

// Close implements Reader.
func (r *tarReader) Close() error {
	if r.unpack != nil {
		r.unpack.Close() // it only gives memory back
	}
	if err := r.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// stream is what archive/tar reads from. It can skip, and it knows whether the end came without an end mark.
type stream struct {
	r       io.Reader
	seek    io.Seeker // nil for one that has to be read
	b       *bufio.Reader
	at      int64
	ended   bool
	stopped atomic.Bool
	zero    bool // the last thing that was read is a block of zeros where a header should be
}

// skipPiece is how much is skipped before it is asked whether to stop.
const skipPiece = 64 << 20

func newStream(r io.Reader, seek io.Seeker) *stream {
	return &stream{r: r, seek: seek, b: bufio.NewReaderSize(r, 1<<18)}
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.b.Read(p)
	s.at += int64(n)
	if n > 0 {
		s.zero = n == 512 && len(p) == 512 && len(bytes.Trim(p, "\x00")) == 0
	}
	if err == io.EOF {
		s.ended = true
	}
	return n, err
}

// short tells whether the archive ended without two blocks of zeros; one is accepted, as by tar.
func (s *stream) short() bool { return s.ended && !s.zero }

// Seek implements io.Seeker, forward from the current position only: that is how archive/tar skips.
func (s *stream) Seek(off int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || off < 0 {
		return s.at, errors.New("a stream can only be skipped")
	}
	if off == 0 {
		return s.at, nil
	}
	s.zero = false
	if ready := int64(s.b.Buffered()); s.seek != nil && off > ready {
		if _, err := s.seek.Seek(off-ready, io.SeekCurrent); err != nil {
			return s.at, err
		}
		s.b.Reset(s.r)
		s.at += off
		return s.at, nil
	}
	for off > 0 {
		if s.stopped.Load() {
			return s.at, os.ErrClosed
		}
		n, err := io.CopyN(io.Discard, s.b, min(off, skipPiece))
		s.at += n
		off -= n
		if err != nil {
			return s.at, notEOF(err)
		}
	}
	return s.at, nil
}
