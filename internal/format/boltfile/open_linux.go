package boltfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openReadOnly opens path for reading without changing its access time where that is permitted, and returns its size and
// modification time in nanoseconds. Only regular files and block devices are accepted; a FIFO does not block.
func openReadOnly(path string) (f *os.File, size, mtime int64, err error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner only
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, 0, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f = os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil {
		size, err = sizeOf(f, info)
	}
	if err != nil {
		return nil, 0, 0, errors.Join(err, f.Close())
	}
	return f, size, info.ModTime().UnixNano(), nil
}

// sizeOf gives the size in bytes of a regular file or block device; Stat reports 0 for a device.
func sizeOf(f *os.File, info os.FileInfo) (int64, error) {
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		return info.Size(), nil
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return 0, fmt.Errorf("size of device %s: %w", f.Name(), err)
		}
		return size, nil
	}
	return 0, fmt.Errorf("%s is a %s, not a regular file or block device", f.Name(), mode.Type())
}
