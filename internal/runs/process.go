package runs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fettle/internal/fault"
)

// process names one life of one process: numbers are reused, so boot and start time belong to it. They are empty where
// the system has no /proc.
type process struct {
	pid   int
	boot  string
	start uint64
}

var thisProcess = sync.OnceValue(func() process {
	p := process{pid: os.Getpid(), boot: bootID()}
	p.start, _ = startTime(p.pid) // 0 means unknown
	return p
})

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// startTime is field 22 of /proc/PID/stat (proc_pid_stat(5)), counted after the command's closing parenthesis, because
// the command may hold anything.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the command", pid, len(fields))
	}
	// A dead process that nobody has waited for does no work any more.
	if fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, fs.ErrNotExist
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// alive tells whether p is still there.
func alive(p process) bool {
	if p.pid <= 0 {
		return false
	}
	if boot := bootID(); boot != "" && p.boot != "" && boot != p.boot {
		return false
	}
	if err := syscall.Kill(p.pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if p.start == 0 {
		return true
	}
	start, err := startTime(p.pid)
	return err == nil && start == p.start
}

// Lock makes this process the one that works on the run; unlock must be called once for every Lock. Calls on the same
// *Run nest. It fails at once, with a hint, when another process (or another *Run of this process) has the lock.
func (r *Run) Lock() (unlock func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locks == 0 {
		f, err := os.OpenFile(r.File(LockFile), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, &fault.Error{Op: "lock run", Where: r.path, Err: err}
		}
		if err := takeLock(f); err != nil {
			f.Close()
			return nil, &fault.Error{Op: "lock run", Where: r.id, Err: fmt.Errorf("another process is working on it: %w", err),
				Hint: "look at it with: fettle runs; stop it with: fettle stop " + r.id}
		}
		r.lock = f
	}
	r.locks++
	return sync.OnceFunc(r.unlock), nil
}

// Bounds of waiting for those who only look at a lock.
const (
	lockTries = 500
	lockPause = 10 * time.Millisecond
)

// takeLock takes the lock, or fails at once when somebody has it. Status looks at a lock by sharing it for a moment. So a refusal proves
// nothing as long as the lock can be shared: then there are only such lookers, and all that has to be done is to wait until they are gone.
func takeLock(f *os.File) error {
	for try := 1; ; try++ {
		err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || try == lockTries || flock(f, syscall.LOCK_SH|syscall.LOCK_NB) != nil {
			return err
		}
		// Not while this process sleeps: two who wait would keep each other from it.
		if err := flock(f, syscall.LOCK_UN); err != nil {
			return err
		}
		time.Sleep(lockPause)
	}
}

func (r *Run) unlock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locks--; r.locks == 0 {
		r.lock.Close() // drops the flock
		r.lock = nil
	}
}

// locked tells whether some process works on the run. It never creates the lock file.
func (r *Run) locked() bool {
	f, err := os.Open(r.File(LockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// flock repeats flock(2) as long as signals interrupt it.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
