package boltfile

import (
	"errors"
	"fmt"
)

// ReadFingerprint gives a text that identifies one state of the database at path: size, modification time in nanoseconds,
// and transaction numbers and checksums of both meta pages. Two equal texts mean that no bbolt transaction and no ordinary
// writer changed the file in between. It reads a few hundred bytes of a sound file and is not a checksum of the contents.
func ReadFingerprint(path string) (print string, err error) {
	r, size, mtime, err := openReadOnly(path)
	if err != nil {
		return "", fmt.Errorf("fingerprint of bolt file: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, err := New(r, size, path)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	print = fmt.Sprintf("size=%d mtime=%d", size, mtime)
	for _, m := range f.metas {
		if m.Valid {
			print += fmt.Sprintf(" meta%d=%d,%016x", m.Page, m.Txid, m.Checksum)
		} else {
			print += fmt.Sprintf(" meta%d=bad", m.Page)
		}
	}
	return print, nil
}
