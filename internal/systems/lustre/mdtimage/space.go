package mdtimage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoSpace is for a backup that would leave too little room where temporary files lie.
var ErrNoSpace = errors.New("too little room is left for temporary files")

// What is left to others at the place of the image: a twentieth of it, at most maxReserve.
const (
	reservePart = 20
	maxReserve  = 1 << 30
)

// spaceEvery is after how many bytes the room is looked at again.
const spaceEvery = 8 << 20

// space sees to it that an image does not fill the place where it lies: a small archive can unpack to an image without end.
type space struct {
	left  func() (free, size int64, err error)
	due   int64 // bytes since the room was looked at
	total int64
}

// take is told of bytes before they are written.
func (s *space) take(n int64) error {
	s.total += n
	if s.due += n; s.due < spaceEvery {
		return nil
	}
	s.due = 0
	free, size, err := s.left()
	if err != nil {
		return fmt.Errorf("lay out a backup: %w", err)
	}
	if reserve := min(size/reservePart, maxReserve); free < reserve+spaceEvery {
		return fmt.Errorf("the image of the backup takes more than %d MiB, and %d MiB are free, of which %d stay for others: %w", s.total>>20, free>>20, reserve>>20, ErrNoSpace)
	}
	return nil
}

// freeAt gives the free bytes, and all bytes, of the file system that a file lies on.
func freeAt(f *os.File) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", f.Name(), err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}
