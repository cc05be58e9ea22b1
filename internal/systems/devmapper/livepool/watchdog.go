package livepool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"fettle/internal/fault"
)

// A watchdog is this program once more. It holds the reading end of a pipe and does nothing until the pipe ends: with a word
// that all is well, or without one, because everybody who had the writing end is dead. Then it releases the snapshot.
const (
	watchVerb = "watch-thin-pool" // hidden: PROGRAM watch-thin-pool POOL STATEDIR
	watchEnv  = "FETTLE_WATCHDOG" // is set in its environment, so that the verb means nothing when typed, and none starts another
)

// File descriptors that a watchdog inherits.
const (
	fdLife  = 3 // reading end of the pipe
	fdReady = 4 // it writes a byte when it is on guard
	fdLock  = 5 // keeps other runs away until it has done its work
)

// Times of the two when they wait for each other.
const (
	readyTime   = 30 * time.Second
	dismissTime = 10 * time.Second
)

// Watching tells whether this process was started as a watchdog. A program that uses WithSnapshot, and the test binary of a package
// that does, asks it before it does anything else:
//
//	if livepool.Watching(os.Args) {
//		os.Exit(livepool.Watch(os.Args))
//	}
func Watching(args []string) bool {
	return len(args) == 4 && args[1] == watchVerb && os.Getenv(watchEnv) != ""
}

// Watch is the watchdog; it returns the exit code.
func Watch(args []string) int {
	// Who stops the other one with a signal to the whole group does not mean this one: it ends by itself.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	pool, stateDir := args[2], args[3]
	ready := os.NewFile(fdReady, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return 1 // nobody waits any more: nothing was taken
	}
	if err := ready.Close(); err != nil {
		return 1
	}
	word, err := io.ReadAll(io.LimitReader(os.NewFile(fdLife, "life"), 16))
	if err == nil && len(word) > 0 {
		return 0
	}
	if rescue(pool, stateDir) != nil {
		return 1 // the marker stays, and the next run knows what to do
	}
	return 0
}

// How long a watchdog tries.
const (
	rescueTries = 20
	rescuePause = time.Second
)

// rescue releases what the dead have left.
func rescue(pool, stateDir string) error {
	ctx := context.Background()
	d, p := desk{stateDir, pool}, &Pool{Name: pool}
	var err error
	for range rescueTries {
		if _, err = p.settle(ctx, d); err == nil {
			return nil
		}
		time.Sleep(rescuePause)
	}
	return err
}

// watchdog is the other side: what the one who is watched knows.
type watchdog struct {
	cmd  *exec.Cmd
	life *os.File // writing end
}

// startWatchdog starts one, and returns when it is on guard.
func startWatchdog(pool, stateDir string, lock *os.File) (w *watchdog, err error) {
	fail := func(err error) (*watchdog, error) {
		return nil, &fault.Error{Op: "start the watchdog of a metadata snapshot of pool", Where: pool, Err: err,
			Hint: "without one a snapshot would stay held if this program were killed, so none is taken"}
	}
	lifeEnd, life, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return fail(errors.Join(err, lifeEnd.Close(), life.Close()))
	}
	defer ready.Close() // read to its end, or given up: nothing can be lost
	// The path leads to the running program even if its file was replaced.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0], watchVerb, pool, stateDir}
	cmd.Env = append(os.Environ(), watchEnv+"=1")
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{fdLife - 3: lifeEnd, fdReady - 3: readyEnd, fdLock - 3: lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	err = errors.Join(err, lifeEnd.Close(), readyEnd.Close())
	if err != nil {
		return fail(errors.Join(err, life.Close()))
	}
	w = &watchdog{cmd, life}
	if err := ready.SetReadDeadline(time.Now().Add(readyTime)); err != nil {
		return fail(errors.Join(err, w.dismiss()))
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return fail(errors.Join(fmt.Errorf("it does not report: %w", err), w.dismiss()))
	}
	return w, nil
}

// dismiss tells the watchdog that nothing is left to do, and waits for its end.
func (w *watchdog) dismiss() error {
	_, err := w.life.Write([]byte{1})
	if errors.Is(err, syscall.EPIPE) {
		err = nil // it is gone already
	}
	err = errors.Join(err, w.life.Close())
	ended := make(chan error, 1)
	go func() { ended <- w.cmd.Wait() }()
	select {
	case <-ended: // how does not matter: it had nothing to do
	case <-time.After(dismissTime):
		err = errors.Join(err, w.cmd.Process.Kill())
		<-ended
	}
	return err
}
