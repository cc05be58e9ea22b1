// Package fluxdump writes and reads the archives of flux dump and flux restore.
//
// A dump is a tar archive (ustar headers, pax records where needed), plain or
// compressed. Every key is one entry: '.' in the key becomes '/', values are
// regular files of mode 0644, symlinks are symlinks with target "ns::target" or
// "target". Directories have no entries, so empty ones are lost. A blob-stored
// value carries the time of the dump and an owner; an inline value and a symlink
// carry time 0 and no owner (this is what flux dump does, not what its manual
// says). flux restore takes the greatest time as the time of the checkpoint.
//
// Invariants: values stream through; memory does not grow with the archive.
// Entry order means nothing.
//
// The room must NOT decide what goes into a dump or read a store.
package fluxdump

import (
	"errors"
	"fmt"
	"strings"
)

// Compression of an archive.
type Compression uint8

// The compressions. Bzip2 can only be read.
const (
	Plain Compression = iota
	Gzip
	Bzip2
)

// ErrFormat is wrapped by errors about an archive of another kind.
var ErrFormat = errors.New("archive format is not supported")

// ErrAmbiguous is wrapped when a key has no faithful form in an archive.
var ErrAmbiguous = errors.New("key cannot be told apart in an archive")

// CompressionFor is the compression flux dump would choose for a file name that
// we can write: .tar, .tgz, .tar.gz. "-" is a plain tar.
func CompressionFor(name string) (Compression, error) {
	lower := strings.ToLower(name)
	switch {
	case name == "-" || strings.HasSuffix(lower, ".tar"):
		return Plain, nil
	case strings.HasSuffix(lower, ".tgz") || strings.HasSuffix(lower, ".tar.gz"):
		return Gzip, nil
	}
	return Plain, fmt.Errorf("write dump %q: %w: use a name that ends in .tar, .tgz or .tar.gz", name, ErrFormat)
}

// RestoreSizeLimit is the size in bytes above which Flux's start script skips
// values when it restores a dump (flux restore --size-limit=100M).
const RestoreSizeLimit = 100 << 20

// MaxValue is the greatest value size that flux dump and flux restore can
// handle: they count in a C int.
const MaxValue = 1<<31 - 1
