package ext4

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openReadOnly opens a regular file or block device for reading, without changing its access time where that is permitted, and
// gives its size in bytes. A FIFO does not block.
func openReadOnly(path string) (*os.File, int64, error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner only
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	size := info.Size()
	switch mode := info.Mode(); {
	case mode.IsRegular():
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		if size, err = f.Seek(0, io.SeekEnd); err != nil { // Stat reports 0 for a device
			return nil, 0, errors.Join(fmt.Errorf("size of device %s: %w", path, err), f.Close())
		}
	default:
		return nil, 0, errors.Join(fmt.Errorf("%s is a %s, not a regular file or block device", path, mode.Type()), f.Close())
	}
	return f, size, nil
}

// isEIO says whether the operating system could not read a sector.
func isEIO(err error) bool { return errors.Is(err, unix.EIO) }
