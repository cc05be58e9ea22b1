package thinmeta

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openReadOnly opens a regular file or block device and gives its size in bytes. A device is opened with O_DIRECT where that is
// possible: dm-thin writes its metadata past the page cache of the device, so that a buffered read may give what was there hours
// ago. Never with O_EXCL: the kernel itself holds a live pool's device.
func openReadOnly(path string) (io.ReaderAt, io.Closer, int64, error) {
	f, err := openWith(path, 0)
	if err != nil {
		return nil, nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	mode := info.Mode()
	if mode.IsRegular() {
		return f, f, info.Size(), nil
	}
	if mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0 {
		return nil, nil, 0, errors.Join(fmt.Errorf("%s is a %s, not a regular file or block device", path, mode.Type()), f.Close())
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, nil, 0, errors.Join(fmt.Errorf("size of device %s: %w", path, err), f.Close())
	}
	direct, err := openWith(path, unix.O_DIRECT)
	if err != nil {
		return f, f, size, nil
	}
	if _, err := direct.ReadAt(alignedBuffer(BlockSize), 0); errors.Is(err, unix.EINVAL) {
		return f, f, size, direct.Close()
	}
	return direct, direct, size, f.Close()
}

func openWith(path string, extra int) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY | extra
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner only
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
