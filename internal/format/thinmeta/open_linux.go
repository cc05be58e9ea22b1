package thinmeta

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"fettle/internal/format/quietfile"
)

// openReadOnly opens a regular file or block device and gives its size in bytes. A device is opened with O_DIRECT where that is
// possible: dm-thin writes its metadata past the page cache of the device, so that a buffered read may give what was there hours
// ago. Never with O_EXCL: the kernel itself holds a live pool's device.
func openReadOnly(path string) (io.ReaderAt, io.Closer, int64, error) {
	f, size, err := quietfile.Open(path, 0)
	if err != nil {
		return nil, nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	if info.Mode().IsRegular() {
		return f, f, size, nil
	}
	direct, _, err := quietfile.Open(path, unix.O_DIRECT)
	if err != nil {
		return f, f, size, nil
	}
	if _, err := direct.ReadAt(alignedBuffer(BlockSize), 0); errors.Is(err, unix.EINVAL) {
		return f, f, size, direct.Close()
	}
	return direct, direct, size, f.Close()
}
