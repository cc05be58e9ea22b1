package livepool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"fettle/internal/fault"
)

// Bounds of one call of dmsetup.
const (
	askTime     = 30 * time.Second // a question
	messageTime = 2 * time.Minute  // a message, with which the pool commits its metadata
	deathTime   = 5 * time.Second  // from the kill to the end; a process that hangs in the kernel does not end
	maxOutput   = 64 << 20         // a table of 50,000 devices has 4 MB
	maxText     = 1000             // of standard error, in messages
)

// CommandError is a call of dmsetup that failed.
type CommandError struct {
	Command string // the whole command line
	Code    int    // exit code; -1 when it did not end by itself
	Text    string // what it printed on standard error, in one line
	Err     error  // why there is no exit code; nil otherwise
}

// Error says how it failed; the command is in the error around it.
func (e *CommandError) Error() string {
	switch {
	case e.Err != nil && e.Text != "":
		return e.Err.Error() + ": " + e.Text
	case e.Err != nil:
		return e.Err.Error()
	case e.Text == "":
		return fmt.Sprintf("exit code %d without a word", e.Code)
	}
	return fmt.Sprintf("exit code %d: %s", e.Code, e.Text)
}

// Unwrap gives the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// says tells whether err is a failed call that printed that text: the C library's words for an error of the kernel.
func says(err error, text string) bool {
	var e *CommandError
	return errors.As(err, &e) && strings.Contains(e.Text, text)
}

// The C library's words for errors of the kernel, in the C locale.
const (
	textNoData      = "No data available"
	textBusy        = "Device or resource busy"
	textUnsupported = "Operation not supported"
	textNoAccess    = "Permission denied"
	textNotAllowed  = "Operation not permitted"
	textNoDevice    = "No such device or address"
	textNoDriver    = "control: open failed: No such device"
)

// hintOf is the next thing to try.
func hintOf(err error) string {
	var late *lateError
	switch {
	case says(err, textNoAccess), says(err, textNotAllowed):
		return "run as root: only root may talk to device-mapper"
	case says(err, textUnsupported):
		return "the pool is read-only and takes no messages; dmsetup status says why (needs_check, or no metadata space left)"
	case says(err, textNoDevice), says(err, "not found"), says(err, "does not exist"):
		return "the pool is not active any more; dmsetup ls lists what is"
	case errors.As(err, &late):
		return "device-mapper does not answer: look for suspended devices (dmsetup info) and for hung tasks (dmesg)"
	}
	return ""
}

// lateError says that a call did not end in its time.
type lateError struct{ after time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("no answer after %s", e.after) }

// dmsetup runs dmsetup and gives what it prints. Files of held stay open in it until it ends.
func dmsetup(ctx context.Context, timeout time.Duration, held []*os.File, args ...string) (string, error) {
	line := "dmsetup " + strings.Join(args, " ")
	out, e := call(ctx, timeout, held, args)
	if e == nil {
		return out, nil
	}
	e.Command = line
	return "", &fault.Error{Op: "run", Where: line, Err: e, Hint: hintOf(e)}
}

func call(ctx context.Context, timeout time.Duration, held []*os.File, args []string) (string, *CommandError) {
	if err := ctx.Err(); err != nil {
		return "", &CommandError{Code: -1, Err: err}
	}
	path, err := exec.LookPath("dmsetup")
	if err != nil {
		return "", &CommandError{Code: -1, Err: err}
	}
	var out, text bounded
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.WaitDelay = environ(), &out, &text, held, deathTime
	if err := cmd.Start(); err != nil {
		return "", &CommandError{Code: -1, Err: err}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	why := wait(ctx, timeout, ended)
	if why.end {
		var exit *exec.ExitError
		switch {
		case errors.As(why.err, &exit) && exit.Exited():
			return "", &CommandError{Code: exit.ExitCode(), Text: oneLine(text.String())}
		case why.err != nil:
			return "", &CommandError{Code: -1, Err: why.err, Text: oneLine(text.String())}
		case out.over():
			return "", &CommandError{Code: -1, Err: fmt.Errorf("printed more than %d bytes", maxOutput)}
		}
		return out.String(), nil
	}
	e := &CommandError{Code: -1, Err: why.err, Text: oneLine(text.String())}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		e.Err = errors.Join(e.Err, err)
	}
	select {
	case <-ended:
	case <-time.After(deathTime): // it hangs in the kernel, and no signal reaches it
		e.Err = fmt.Errorf("%w; the process %d hangs", e.Err, cmd.Process.Pid)
	}
	return "", e
}

// ending is why wait returned: the process ended, with err, or it did not, because of err.
type ending struct {
	end bool
	err error
}

func wait(ctx context.Context, timeout time.Duration, ended <-chan error) ending {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return ending{true, err}
	case <-ctx.Done():
		return ending{false, ctx.Err()}
	case <-timer.C:
		return ending{false, &lateError{timeout}}
	}
}

// environ makes dmsetup speak the language that is understood here, and show names as they are usually shown.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "LC_ALL", "LANG", "LANGUAGE", "DM_DEFAULT_NAME_MANGLING_MODE":
		default:
			env = append(env, e)
		}
	}
	return append(env, "LC_ALL=C")
}

// bounded keeps the beginning of what is written to it. It may be read while somebody still writes.
type bounded struct {
	mu   sync.Mutex
	b    bytes.Buffer
	lost bool
}

func (w *bounded) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := maxOutput - w.b.Len()
	w.lost = w.lost || len(p) > room
	w.b.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (w *bounded) String() string { w.mu.Lock(); defer w.mu.Unlock(); return w.b.String() }
func (w *bounded) over() bool     { w.mu.Lock(); defer w.mu.Unlock(); return w.lost }

// oneLine makes what a program printed fit for an error.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " ..."
	}
	return s
}
