package sqlitefile

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Fingerprint identifies one state of a database on disk. It is comparable with ==; two equal values mean that no SQLite
// transaction and no ordinary writer changed the files in between. It is not a checksum of the contents.
type Fingerprint struct {
	Size       int64                // of the main file, bytes
	MTimeNS    int64                // of the main file, nanoseconds since 1970
	Header     [fileHeaderSize]byte // first bytes of the main file
	WALExists  bool
	WALSize    int64
	WALMTimeNS int64
	WALSalt1   uint32
	WALSalt2   uint32
}

// String gives all fields on one line, the header as the first 16 hex digits of its SHA-256.
func (p Fingerprint) String() string {
	sum := sha256.Sum256(p.Header[:])
	s := fmt.Sprintf("size=%d mtime=%d header=%x", p.Size, p.MTimeNS, sum[:8])
	if !p.WALExists {
		return s + " wal=none"
	}
	return s + fmt.Sprintf(" wal=%d,%d,%08x%08x", p.WALSize, p.WALMTimeNS, p.WALSalt1, p.WALSalt2)
}

// Fingerprint is the state that Open saw.
func (f *File) Fingerprint() Fingerprint { return f.print }

// FingerprintOf takes the fingerprint of the database at path as it is now, under the same Options as Open.
func FingerprintOf(path string, opt Options) (p Fingerprint, err error) {
	f := &File{path: path}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.openFiles(opt); err != nil {
		return p, fmt.Errorf("fingerprint of %s: %w", path, err)
	}
	return f.print, nil
}
