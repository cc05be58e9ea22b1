package fluxdump

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

// DefaultMaxBytes is how much uncompressed archive a Reader takes if no other
// limit is given.
const DefaultMaxBytes = 256 << 30

// ErrTooBig is wrapped when an archive is longer than the limit.
var ErrTooBig = errors.New("archive is too big")

// ErrTruncated is wrapped when an archive lacks its end.
var ErrTruncated = errors.New("archive ends too early")

// Entry is one key of a dump.
type Entry struct {
	Name    string   // as in the archive
	Path    []string // names of the key; a name with '/' cannot be told from two names
	Symlink bool
	Target  string // symlink
	NS      string // symlink
	HasNS   bool   // symlink
	Size    int64  // value, in bytes
	Time    int64  // seconds since 1970, 0 for inline values and symlinks
}

// Reader reads a dump entry by entry. Not for concurrent use.
type Reader struct {
	src  *counter
	tr   *tar.Reader
	open bool // an entry is current, its value may not be read yet
	done bool
	// Skipped counts entries that are neither files nor symlinks: flux restore
	// passes over them without a word.
	Skipped int
	Compression
}

// counter counts and limits what is read.
type counter struct {
	r      io.Reader
	n, max int64
}

func (c *counter) Read(p []byte) (int, error) {
	if c.n >= c.max {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooBig, c.max)
	}
	if int64(len(p)) > c.max-c.n {
		p = p[:c.max-c.n]
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// other formats that libarchive reads and this package does not.
var foreign = []struct{ magic, name string }{
	{"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"PK\x03\x04", "zip"}, {"PK\x05\x06", "zip"},
	{"0707", "cpio"}, {"\x04\x22\x4d\x18", "lz4"}, {"7z\xbc\xaf\x27\x1c", "7zip"}, {"\x1f\x9d", "compress"},
}

// NewReader reads a dump from r; the compression is found by its first bytes.
// maxBytes limits the uncompressed length (0: DefaultMaxBytes).
func NewReader(r io.Reader, maxBytes int64) (*Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	head, err := br.Peek(512)
	if len(head) == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrTruncated
		}
		return nil, fmt.Errorf("open dump: empty: %w", err)
	}
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return nil, fmt.Errorf("open dump: %w: this is %s; convert it to tar, tar.gz or tar.bz2", ErrFormat, f.name)
		}
	}
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	d := &Reader{}
	var in io.Reader = br
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		if in, err = gzip.NewReader(br); err != nil {
			return nil, fmt.Errorf("open dump: gzip header: %w", err)
		}
		d.Compression = Gzip
	case bytes.HasPrefix(head, []byte("BZh")):
		in, d.Compression = bzip2.NewReader(br), Bzip2
	}
	d.src = &counter{r: in, max: maxBytes}
	d.tr = tar.NewReader(d.src)
	return d, nil
}

// Next goes to the next key. At the end it is io.EOF, after the whole stream
// with its checksums has been read. An archive without an end mark (two zero
// blocks) gives ErrTruncated.
func (d *Reader) Next() (*Entry, error) {
	for {
		if d.done {
			return nil, io.EOF
		}
		h, err := d.next()
		if err != nil {
			return nil, err
		}
		e := &Entry{Name: h.Name, Size: h.Size, Time: h.ModTime.Unix()}
		e.Path = strings.FieldsFunc(h.Name, func(r rune) bool { return r == '/' })
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink:
			e.Symlink, e.Size = true, 0
			e.Target, e.NS, e.HasNS = splitLink(h.Linkname)
		default:
			d.Skipped++
			continue
		}
		if len(e.Path) == 0 {
			return nil, fmt.Errorf("read dump: entry name %q holds no key", h.Name)
		}
		return e, nil
	}
}

// next reads one header; it first passes over the rest of the current value, to
// know where the header starts.
func (d *Reader) next() (*tar.Header, error) {
	if d.open {
		if _, err := io.Copy(io.Discard, d.tr); err != nil {
			return nil, d.fail(err)
		}
	}
	start := (d.src.n + 511) &^ 511
	h, err := d.tr.Next()
	if errors.Is(err, io.EOF) {
		d.done = true
		if d.src.n-start < 1024 {
			return nil, fmt.Errorf("read dump: byte %d: no end mark: %w", d.src.n, ErrTruncated)
		}
		if _, err := io.Copy(io.Discard, d.src); err != nil {
			return nil, d.fail(err)
		}
		return nil, io.EOF
	}
	if err != nil {
		return nil, d.fail(err)
	}
	if sparse(h) {
		d.done = true
		return nil, fmt.Errorf("read dump: entry %q: %w: sparse file", h.Name, ErrFormat)
	}
	d.open = true
	return h, nil
}

// sparse tells entries whose length has nothing to do with what the archive
// holds; flux dump never writes them.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (d *Reader) fail(err error) error {
	d.done = true
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrTruncated
	}
	return fmt.Errorf("read dump: byte %d: %w", d.src.n, err)
}

// Read reads the value of the current entry.
func (d *Reader) Read(p []byte) (int, error) {
	n, err := d.tr.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.fail(err)
	}
	return n, err
}
