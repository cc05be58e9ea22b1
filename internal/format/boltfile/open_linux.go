package boltfile

import (
	"errors"
	"os"

	"fettle/internal/format/quietfile"
)

// openReadOnly opens path so that nothing of it changes, and gives its size and modification time in nanoseconds.
func openReadOnly(path string) (f *os.File, size, mtime int64, err error) {
	f, size, err = quietfile.Open(path, 0)
	if err != nil {
		return nil, 0, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, 0, errors.Join(err, f.Close())
	}
	return f, size, info.ModTime().UnixNano(), nil
}
