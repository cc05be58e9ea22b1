package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"fettle/internal/runs"
)

// killedChild is the life of a child process of TestKillAndResume: it checks the run in dir and kills itself with
// SIGKILL at the step that the environment names, so that nothing of it gets a chance to tidy up.
func killedChild(dir string) {
	at, err := strconv.Atoi(os.Getenv("FETTLE_TEST_KILL_STEP"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	d, err := runs.Open(filepath.Dir(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	r, err := d.Find(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	n := 0
	_, err = Run(context.Background(), Config{Classes: fakeClasses, Run: r, Resume: true, Store: oneUnit(func(string, int) {
		if n++; n == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	})})
	fmt.Fprintln(os.Stderr, "survived:", err)
	os.Exit(3)
}

func TestKillAndResume(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Skip("cannot find the test binary to run it again:", err)
	}
	want, wantSum := uninterrupted(t, oneUnit(nil))
	for _, step := range []int{1, 2, 9, 10, 11, 12, 31, 45, 46, 47, 57} {
		r := newRun(t)
		for life, at := range []int{step, 7} { // killed twice
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "FETTLE_TEST_KILL_DIR="+r.Path(), "FETTLE_TEST_KILL_STEP="+strconv.Itoa(at))
			out, err := cmd.CombinedOutput()
			ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
				t.Fatalf("step %d, life %d: the child was not killed: %v\n%s", step, life, err, out)
			}
			if st, err := r.Status(); err != nil || st.State != runs.Interrupted {
				t.Fatalf("step %d: status %+v, %v", step, st, err)
			}
		}
		sum, err := Run(context.Background(), Config{Classes: fakeClasses, Run: r, Resume: true, Store: oneUnit(nil)})
		if err != nil {
			t.Fatalf("step %d: resume: %v", step, err)
		}
		if got := found(t, r); !slices.Equal(got, want) || gist(t, sum) != wantSum {
			t.Errorf("step %d:\n got %q\nwant %q\n got %s\nwant %s", step, got, want, gist(t, sum), wantSum)
		}
	}
}
