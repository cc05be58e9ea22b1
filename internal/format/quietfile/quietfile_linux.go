// Package quietfile opens files and devices for reading without leaving a trace on them: a check must not change so much as an access
// time, and must not hang at a FIFO that lies where a store should be.
//
// What must hold: nothing is opened for writing, created or locked, and whatever is no regular file and no block device is refused. It must not
// know any format.
package quietfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a regular file or block device and gives its size in bytes. The access time stays as it is where the system permits that: for the
// owner and root. extra are further flags of open(2), 0 for none.
func Open(path string, extra int) (f *os.File, size int64, err error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY | extra
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner only
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f = os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil {
		size, err = sizeOf(f, info)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// sizeOf gives the size in bytes of a regular file or block device; Stat reports 0 for a device. The position is the beginning again.
func sizeOf(f *os.File, info os.FileInfo) (int64, error) {
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		return info.Size(), nil
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		size, err := f.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			return 0, fmt.Errorf("size of device %s: %w", f.Name(), err)
		}
		return size, nil
	}
	return 0, &os.PathError{Op: "open", Path: f.Name(), Err: fmt.Errorf("%s, not a regular file or block device", inWords(mode))}
}

// inWords says what is neither a regular file nor a block device.
func inWords(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&os.ModeCharDevice != 0:
		return "a character device"
	case mode&os.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&os.ModeSocket != 0:
		return "a socket"
	}
	return "something else (" + mode.Type().String() + ")"
}
