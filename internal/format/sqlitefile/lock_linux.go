package sqlitefile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The byte ranges SQLite locks on the main file (os.h of SQLite, "PENDING_BYTE").
const (
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
	sharedFirst  = pendingByte + 2
	sharedSize   = 510
)

// LockKind is the strongest SQLite lock that another process holds.
type LockKind string

// Values of LockKind, from weak to strong.
const (
	NoLock        LockKind = "none"
	SharedLock    LockKind = "shared"    // an open reader; in WAL mode any open connection
	ReservedLock  LockKind = "reserved"  // a writer that has not reached the file yet
	PendingLock   LockKind = "pending"   // a writer that waits for readers to leave
	ExclusiveLock LockKind = "exclusive" // a writer, or a connection with locking_mode=EXCLUSIVE
)

// Lock is the answer of InUse. PID is the process that holds the lock; -1 if it is an open-file-description lock, which has
// no owner, 0 if the holder is in another PID namespace (or Kind is NoLock).
type Lock struct {
	Kind LockKind
	PID  int
}

func (l Lock) String() string {
	switch {
	case l.Kind == NoLock:
		return "not locked"
	case l.PID > 0:
		return fmt.Sprintf("%s lock of process %d", l.Kind, l.PID)
	}
	return fmt.Sprintf("%s lock of an unknown process", l.Kind)
}

// InUse asks whether somebody holds SQLite locks on the database at path. It only queries: it takes no lock and does not
// write. Locks that this process holds through POSIX record locks are seen only where the kernel has
// open-file-description locks. Note: closing any descriptor of a file drops all POSIX record locks this process has on it,
// so do not mix this with a SQLite library that uses those in the same process.
func InUse(path string) (l Lock, err error) {
	f, _, _, err := openReadOnly(path)
	if err != nil {
		return Lock{}, fmt.Errorf("look for locks: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	shared, err := queryLock(f, sharedFirst, sharedSize)
	if err != nil {
		return Lock{}, err
	}
	pending, err := queryLock(f, pendingByte, 1)
	if err != nil {
		return Lock{}, err
	}
	reserved, err := queryLock(f, reservedByte, 1)
	if err != nil {
		return Lock{}, err
	}
	switch {
	case shared.Type == unix.F_WRLCK:
		return Lock{ExclusiveLock, int(shared.Pid)}, nil
	case pending.Type != unix.F_UNLCK:
		return Lock{PendingLock, int(pending.Pid)}, nil
	case reserved.Type != unix.F_UNLCK:
		return Lock{ReservedLock, int(reserved.Pid)}, nil
	case shared.Type != unix.F_UNLCK:
		return Lock{SharedLock, int(shared.Pid)}, nil
	}
	return Lock{Kind: NoLock}, nil
}

// queryLock returns a lock that stands against a write lock on the range; Type is F_UNLCK if there is none.
func queryLock(f *os.File, start, length int64) (unix.Flock_t, error) {
	q := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: start, Len: length}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &q)
	if errors.Is(err, unix.EINVAL) { // a kernel or file system without open-file-description locks
		q = unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: start, Len: length}
		err = unix.FcntlFlock(f.Fd(), unix.F_GETLK, &q)
	}
	if err != nil {
		return q, fmt.Errorf("query locks on %s: %w", f.Name(), err)
	}
	return q, nil
}

// ErrLocked is wrapped by the error of LockExclusive when somebody else holds a lock.
var ErrLocked = errors.New("database is in use")

// LockExclusive takes, without waiting, a write lock over all of SQLite's lock bytes of the database at path, so that no
// SQLite connection can read or write until unlock is called or the process ends. It opens the file read-write but writes
// nothing. The lock is an open-file-description lock: it also stands against connections of this same process.
func LockExclusive(path string) (unlock func() error, err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	q := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: pendingByte, Len: 2 + sharedSize}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &q)
	if err == nil {
		return f.Close, nil // closing the only descriptor releases the lock
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		holder, qerr := InUse(path)
		err = fmt.Errorf("%w: %s (stop the program that uses it and try again)", ErrLocked, holder)
		err = errors.Join(err, qerr)
	}
	return nil, errors.Join(fmt.Errorf("lock database %s: %w", path, err), f.Close())
}
