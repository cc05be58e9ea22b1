package ext4

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"fettle/internal/format/quietfile"
)

// openReadOnly opens a regular file or block device so that nothing of it changes, and gives its size in bytes.
func openReadOnly(path string) (*os.File, int64, error) { return quietfile.Open(path, 0) }

// isEIO says whether the operating system could not read a sector.
func isEIO(err error) bool { return errors.Is(err, unix.EIO) }
