package boltedit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by the error of Lock when another program holds the lock.
var ErrLocked = errors.New("database is in use")

// openRegular opens a file that is neither a device nor a pipe, without waiting.
func openRegular(path string, flag int) (*os.File, os.FileInfo, error) {
	fd, err := unix.Open(path, flag|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, fi, nil
}

// Lock takes, without waiting, the lock that bbolt takes on a database it opens
// for writing (flock LOCK_EX). Until unlock is called or the process ends every
// program that opens the database with bbolt waits, this one included. The file
// is opened read-write, as bbolt does, but nothing is written. The lock is on the
// file and not on the name: a file that is renamed over it is not locked.
func Lock(path string) (unlock func() error, err error) {
	f, fi, err := openRegular(path, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var named os.FileInfo
		if named, err = os.Stat(path); err == nil && os.SameFile(fi, named) {
			return f.Close, nil // closing the only descriptor releases the lock
		}
		if err == nil {
			err = errors.New("it was replaced by another file at this moment; hint: try again")
		}
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		holder, herr := InUse(path)
		if holder == "" {
			holder = "a process that cannot be seen from here"
		}
		err = errors.Join(fmt.Errorf("%w by %s (stop the program that uses it and try again)", ErrLocked, holder), herr)
	}
	return nil, errors.Join(fmt.Errorf("lock database %s: %w", path, err), f.Close())
}

// InUse says who holds a lock of bbolt's kind (flock) on the file, "" if nobody
// can be seen to: "process 812 (containerd)". It reads /proc only: no lock is
// taken, and the file is not opened. A holder in another PID namespace is not
// seen; Lock is what decides.
func InUse(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("look for locks: %w", err)
	}
	f, err := os.Open("/proc/locks")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for locks on %s: %w", path, err)
	}
	defer f.Close()
	pids, err := flockHolders(f, fi)
	if err != nil {
		return "", fmt.Errorf("look for locks on %s: %w", path, err)
	}
	var who []string
	for _, p := range pids {
		who = append(who, processName(p))
	}
	return strings.Join(who, ", "), nil
}

// maxHolders bounds the list: many may hold the shared lock of a reader.
const maxHolders = 8

// flockHolders reads a list of locks in the form of /proc/locks (proc_locks(5)):
//
//	1: FLOCK  ADVISORY  WRITE 812 fd:01:1048602 0 EOF
//
// and returns who holds one on the file. A lock that is waited for has "->" before its class.
func flockHolders(locks io.Reader, file os.FileInfo) ([]int, error) {
	st, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("the file has no inode number")
	}
	var pids []int
	sc := bufio.NewScanner(locks)
	for sc.Scan() && len(pids) < maxHolders {
		w := strings.Fields(sc.Text())
		if len(w) < 6 || w[1] != "FLOCK" {
			continue
		}
		place := strings.Split(w[5], ":")
		pid, err := strconv.Atoi(w[4])
		if err != nil || len(place) != 3 {
			continue
		}
		major, err1 := strconv.ParseUint(place[0], 16, 32)
		minor, err2 := strconv.ParseUint(place[1], 16, 32)
		n, err3 := strconv.ParseUint(place[2], 10, 64)
		if errors.Join(err1, err2, err3) != nil || n != st.Ino {
			continue
		}
		// Some file systems (btrfs, overlay) show another device number here than in stat.
		if unix.Mkdev(uint32(major), uint32(minor)) == uint64(st.Dev) || holdsOpen(pid, file) {
			pids = append(pids, pid)
		}
	}
	return pids, sc.Err()
}

// holdsOpen tells whether a process has the file open, as far as we may look.
func holdsOpen(pid int, file os.FileInfo) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range fds {
		if fi, err := os.Stat(dir + "/" + e.Name()); err == nil && os.SameFile(fi, file) {
			return true
		}
	}
	return false
}

// processName names a process for people. A program chooses its own name, so it is not trusted.
func processName(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	name := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(comm))
	if err != nil || name == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, name)
}
