package recover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockDir takes a lock on a directory that ends with the process, without leaving a file behind.
func lockDir(path string) (unlock func() error, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("somebody else holds the lock: %w", err), d.Close())
	}
	return d.Close, nil
}
