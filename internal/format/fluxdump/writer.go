package fluxdump

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"
)

// Meta is what all blob-stored values of a dump carry.
type Meta struct {
	Time     int64 // seconds since 1970: the time of the checkpoint
	UID, GID int   // the user who dumps
}

// Writer writes one dump. It is not for concurrent use.
type Writer struct {
	meta Meta
	tw   *tar.Writer
	gz   *gzip.Writer
	keys int
}

// NewWriter starts a dump on w. Bzip2 cannot be written.
func NewWriter(w io.Writer, c Compression, meta Meta) (*Writer, error) {
	d := &Writer{meta: meta}
	switch c {
	case Plain:
	case Gzip:
		d.gz = gzip.NewWriter(w)
		w = d.gz
	default:
		return nil, fmt.Errorf("write dump: %w", ErrFormat)
	}
	d.tw = tar.NewWriter(w)
	return d, nil
}

// entryName is the archive name of a path. Flux lets '/' inside a name pass,
// which makes the key another one when it is restored; so do we, but names that
// would vanish or change the number of keys are refused.
func entryName(path []string) (string, error) {
	if len(path) == 0 {
		return "", fmt.Errorf("the root as a value: %w", ErrAmbiguous)
	}
	for _, n := range path {
		if n == "" || strings.ContainsAny(n, ".\x00") || strings.Trim(n, "/") == "" {
			return "", fmt.Errorf("key %q: name %q: %w", path, n, ErrAmbiguous)
		}
	}
	name := strings.Join(path, "/")
	if len(name) > maxHeaderText {
		return "", fmt.Errorf("key of %d bytes: too long for an archive: %w", len(name), ErrAmbiguous)
	}
	return name, nil
}

// maxHeaderText is the most bytes of a name or link target that is written; archive/tar takes less than 1 MiB for all
// extended fields of an entry, and readers no more.
const maxHeaderText = 400 << 10

// Value writes one value of exactly size bytes. inline tells that the store
// keeps it as val (time 0, no owner) and not as valref.
func (d *Writer) Value(path []string, inline bool, size int64, value io.Reader) error {
	name, err := entryName(path)
	if err != nil {
		return fmt.Errorf("dump value: %w", err)
	}
	if size < 0 || size > MaxValue {
		return fmt.Errorf("dump value %q: %d bytes, Flux can restore at most %d", path, size, int64(MaxValue))
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
	if !inline {
		h.ModTime, h.Uid, h.Gid = time.Unix(d.meta.Time, 0), d.meta.UID, d.meta.GID
	}
	if err := d.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("dump value %q: %w", path, err)
	}
	n, err := io.Copy(d.tw, io.LimitReader(value, size))
	if err != nil {
		return fmt.Errorf("dump value %q: byte %d of %d: %w", path, n, size, err)
	}
	if n < size {
		return fmt.Errorf("dump value %q: only %d of %d bytes: %w", path, n, size, io.ErrUnexpectedEOF)
	}
	d.keys++
	return nil
}

// Symlink writes one symlink. A target or namespace in which "::" would be read
// back at another place is refused with ErrAmbiguous.
func (d *Writer) Symlink(path []string, target, ns string, hasNS bool) error {
	name, err := entryName(path)
	if err != nil {
		return fmt.Errorf("dump symlink: %w", err)
	}
	link := target
	if hasNS {
		link = ns + "::" + target
	}
	if t, n, has := splitLink(link); t != target || n != ns || has != hasNS || link == "" || len(link) > maxHeaderText {
		return fmt.Errorf("dump symlink %q to %.100q: %w", path, link, ErrAmbiguous)
	}
	h := &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: link, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := d.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("dump symlink %q: %w", path, err)
	}
	d.keys++
	return nil
}

// Keys is the number of keys written so far. A dump without keys must not be
// taken for a success.
func (d *Writer) Keys() int { return d.keys }

// Close ends the archive. It does not close the underlying writer.
func (d *Writer) Close() error {
	if err := d.tw.Close(); err != nil {
		return fmt.Errorf("end dump after %d keys: %w", d.keys, err)
	}
	if d.gz != nil {
		if err := d.gz.Close(); err != nil {
			return fmt.Errorf("end dump after %d keys: %w", d.keys, err)
		}
	}
	return nil
}

// splitLink splits a link like flux restore: at the first "::".
func splitLink(link string) (target, ns string, hasNS bool) {
	if ns, target, ok := strings.Cut(link, "::"); ok {
		return target, ns, true
	}
	return link, "", false
}
