package runs

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestInterruptedIsDerived(t *testing.T) {
	d := testDir(t)
	me := thisProcess()
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Skip("cannot run the test binary again:", err)
	}
	for name, c := range map[string]struct {
		state State
		proc  process
		host  string
		want  State
	}{
		"alive":             {Running, me, hostname(), Running},
		"gone":              {Running, process{gone.ProcessState.Pid(), me.boot, me.start}, hostname(), Interrupted},
		"nonsense":          {Running, process{-1, me.boot, 0}, hostname(), Interrupted},
		"finished and gone": {Finished, process{-1, me.boot, 0}, hostname(), Finished},
		"on another host":   {Running, process{-1, "", 0}, "elsewhere.example", Running},
	} {
		r := testRun(t, d, "")
		st := Status{State: c.state, PID: c.proc.pid, Boot: c.proc.boot, Start: c.proc.start, Host: c.host}
		if err := r.WriteJSON(StatusFile, st); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Status(); err != nil || got.State != c.want {
			t.Errorf("%s: %s, %v", name, got.State, err)
		}
	}
	if me.start == 0 || me.boot == "" {
		t.Skip("no /proc here: reused process ids cannot be told")
	}
	for name, p := range map[string]process{"reused id": {me.pid, me.boot, me.start + 1}, "another boot": {me.pid, "0000", me.start}} {
		if alive(p) {
			t.Errorf("%s counts as alive", name)
		}
	}
}

// In another PID namespace the number means nothing, but the lock does.
func TestALockedRunIsRunning(t *testing.T) {
	r := testRun(t, testDir(t), "")
	if err := r.WriteJSON(StatusFile, Status{State: Running, PID: -1, Host: hostname()}); err != nil {
		t.Fatal(err)
	}
	unlock, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := r.Status(); err != nil || st.State != Running {
		t.Errorf("%s, %v", st.State, err)
	}
	unlock()
	if st, err := r.Status(); err != nil || st.State != Interrupted || !st.Resumable() {
		t.Errorf("%s, %v", st.State, err)
	}
	if err := os.Remove(r.File(StatusFile)); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Status(); err != nil || st.State != Interrupted {
		t.Errorf("without a status: %s, %v", st.State, err)
	}
	if err := os.WriteFile(r.File(StatusFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Status(); err == nil {
		t.Error("garbage is a status")
	}
}

func TestLockNestsAndExcludes(t *testing.T) {
	d := testDir(t)
	r := testRun(t, d, "")
	other, err := d.Find(r.ID())
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	for _, unlock := range []func(){first, first, second} { // the second call of first must not count
		if _, err := other.Lock(); err == nil {
			t.Fatal("two have the lock")
		}
		unlock()
	}
	unlock, err := other.Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Status shares the lock to look at it. Who wants it waits for such a look however long it takes, but not for one who works.
func TestLookersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := testDir(t)
		r := testRun(t, d, "")
		look, err := os.OpenFile(r.File(LockFile), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := flock(look, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { look.Close() })
		start := time.Now()
		unlock, err := r.Lock()
		if took := time.Since(start); err != nil || took < time.Second || took > 2*time.Second {
			t.Fatalf("after %v: %v", took, err)
		}
		defer unlock()
		other, err := d.Find(r.ID())
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if _, err := other.Lock(); err == nil || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A process that ends between the look at what it wrote and the look at itself was not interrupted.
func TestLastWordIsHeard(t *testing.T) {
	r := testRun(t, testDir(t), "")
	last := r.File("last")
	for path, state := range map[string]State{r.File(StatusFile): Running, last: Stopped} {
		raw, err := json.Marshal(Status{State: state, PID: -1, Host: hostname()})
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	said, err := os.ReadFile(r.File(StatusFile))
	if err == nil {
		err = errors.Join(os.Remove(r.File(StatusFile)), syscall.Mkfifo(r.File(StatusFile), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { // the reader of a pipe sees its end when the file is another one already
		w, err := os.OpenFile(r.File(StatusFile), os.O_WRONLY, 0)
		if err == nil {
			_, err = w.Write(said)
			err = errors.Join(err, os.Rename(last, r.File(StatusFile)), w.Close())
		}
		done <- err
	}()
	st, err := r.Status()
	if err := errors.Join(err, <-done); err != nil || st.State != Stopped {
		t.Errorf("%s, %v", st.State, err)
	}
}

func TestStatusIsWrittenTwiceASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRun(t, testDir(t), "")
		time.Sleep(time.Second)
		writes, last := 0, int64(-1)
		for i := range int64(100) {
			if err := r.WriteStatus(Status{State: Running, Progress: Progress{Records: i}}); err != nil {
				t.Fatal(err)
			}
			st, err := r.Status()
			if err != nil {
				t.Fatal(err)
			}
			if st.Records != last {
				writes, last = writes+1, st.Records
			}
			time.Sleep(100 * time.Millisecond)
		}
		if writes != 20 {
			t.Errorf("%d writes in 10 s", writes)
		}
		if err := r.WriteStatus(Status{State: Stopped}); err != nil {
			t.Fatal(err)
		}
		if st, err := r.Status(); err != nil || st.State != Stopped {
			t.Errorf("a change of the state was left out: %+v, %v", st, err)
		}
	})
}

func TestRequestsAddUp(t *testing.T) {
	r := testRun(t, testDir(t), "")
	n := func(v int64) *int64 { return &v }
	for _, c := range []Control{{Rate: n(5)}, {RateBytes: n(0)}, {Stop: true}, {Rate: n(7)}} {
		if err := r.Request(c); err != nil {
			t.Fatal(err)
		}
	}
	c, err := r.Control()
	if err != nil || !c.Stop || *c.Rate != 7 || *c.RateBytes != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	for range 2 {
		if err := r.ClearStop(); err != nil {
			t.Fatal(err)
		}
	}
	// The stop was for the life that is over; the limits are for the run.
	if c, err := r.Control(); err != nil || c.Stop || *c.Rate != 7 || *c.RateBytes != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(r.File(ControlFile), []byte("{\"st"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Control(); err == nil {
		t.Error("garbage is a request")
	}
	if err := r.Request(Control{Stop: true}); err != nil {
		t.Error(err)
	}
	if c, err := r.Control(); err != nil || !c.Stop {
		t.Errorf("%+v, %v", c, err)
	}
}
