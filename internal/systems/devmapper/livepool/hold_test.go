package livepool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/fakedm"
)

// pair is what a snapshot costs in messages.
var pair = []string{"reserve_metadata_snap", "release_metadata_snap"}

func TestWithSnapshot(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	err := p.WithSnapshot(context.Background(), m.desk, func(f *thinmeta.File) error {
		if m.held() == 0 || !m.marked() {
			t.Error("nothing is held, or there is no marker")
		}
		devices, err := f.Devices()
		if len(devices) != 3 || devices[1].ID != 2 {
			t.Errorf("devices %+v", devices)
		}
		if err := m.pairTaken(t, p); !errors.Is(err, ErrHeld) && err == nil {
			t.Error("a second snapshot was taken")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.held() != 0 || m.marked() {
		t.Errorf("held at %d, marked %v", m.held(), m.marked())
	}
	if got := m.messages(); !slices.Equal(got, pair) {
		t.Errorf("messages %q", got)
	}
}

// pairTaken tries to take a second snapshot from another state directory.
func (m *machine) pairTaken(t *testing.T, p *Pool) error {
	return p.WithSnapshot(context.Background(), t.TempDir(), func(*thinmeta.File) error { return nil })
}

// TestReleased: however the work ends, the snapshot is released.
func TestReleased(t *testing.T) {
	mine := errors.New("mine")
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		name string
		fn   func(*thinmeta.File) error
		want error
	}{
		{"error", func(*thinmeta.File) error { return mine }, mine},
		{"panic", func(*thinmeta.File) error { panic(mine) }, mine},
		{"cancelled", func(*thinmeta.File) error { cancel(); return ctx.Err() }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			p := m.find()
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil {
						err = r.(error)
					}
				}()
				return p.WithSnapshot(ctx, m.desk, c.fn)
			}()
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if m.held() != 0 || m.marked() || !slices.Equal(m.messages(), pair) {
				t.Errorf("held at %d, marked %v, messages %q", m.held(), m.marked(), m.messages())
			}
		})
	}
	m := newMachine(t)
	p := m.find()
	if err := p.WithSnapshot(ctx, m.desk, func(*thinmeta.File) error { t.Error("called"); return nil }); !errors.Is(err, context.Canceled) || len(m.messages()) != 0 {
		t.Errorf("cancelled before: %v, messages %q", err, m.messages())
	}
}

// TestOthers: what is held without our marker is not touched.
func TestOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		marker uint64 // block that a marker of ours names, if there is one
		write  bool
		ours   bool
	}{
		{"no marker", 0, false, false},
		{"marker of another block", 17, true, false},
		{"marker of this block", 1023, true, true},
		{"marker from before the answer", 0, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			p := m.find()
			if c.write {
				d, err := newDesk(m.desk, poolName)
				if err := errors.Join(err, d.write(c.marker)); err != nil {
					t.Fatal(err)
				}
			}
			m.edit(func(_ *fakedm.State, p *fakedm.Pool) {
				p.HeldRoot = 1023
				if err := fakedm.WriteThinMeta(p, p.Metadata); err != nil {
					t.Error(err)
				}
			})
			err := p.WithSnapshot(context.Background(), m.desk, func(f *thinmeta.File) error { _, err := f.Devices(); return err })
			if c.ours {
				if err != nil || m.held() != 0 || m.marked() || len(m.messages()) != 3 {
					t.Errorf("%v; held at %d, marked %v, messages %q", err, m.held(), m.marked(), m.messages())
				}
				return
			}
			hint := strings.Join(fault.Hints(err), " ")
			if !errors.Is(err, ErrHeld) || !strings.Contains(hint, "dmsetup message test-pool 0 release_metadata_snap") {
				t.Errorf("%v, hint %q", err, hint)
			}
			if m.held() != 1023 || m.marked() || len(m.messages()) != 0 {
				t.Errorf("held at %d, marked %v, messages %q", m.held(), m.marked(), m.messages())
			}
		})
	}
}

// TestTakenInBetween: somebody takes the snapshot after the look and before our message.
func TestTakenInBetween(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
		s.Faults = []*fakedm.Fault{{Pattern: "dmsetup message * reserve*", When: fakedm.Before, How: fakedm.Fail, Text: "device-mapper: message ioctl on test-pool  failed: Device or resource busy"}}
	})
	if err := p.WithSnapshot(context.Background(), m.desk, func(*thinmeta.File) error { t.Error("called"); return nil }); err == nil || m.marked() {
		t.Errorf("%v, marked %v", err, m.marked())
	}
	if got := m.messages(); !slices.Equal(got, pair[:1]) {
		t.Errorf("messages %q: what somebody else holds was released", got)
	}
}

// TestReadOnlyPool: no message can be sent, and none is needed.
func TestReadOnlyPool(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.ReadOnly = true })
	read := func(during func()) error {
		return p.WithSnapshot(context.Background(), m.desk, func(f *thinmeta.File) error {
			devices, err := f.Devices()
			if len(devices) != 3 {
				t.Errorf("devices %+v", devices)
			}
			during()
			return err
		})
	}
	if err := read(func() {}); err != nil || len(m.messages()) != 0 {
		t.Errorf("%v, messages %q", err, m.messages())
	}
	err := read(func() { m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.ReadOnly = false }) })
	if !errors.Is(err, ErrChanged) {
		t.Errorf("made writable meanwhile: %v", err)
	}
}

func TestSuspendedPool(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.Suspended = true })
	if err := m.pairTaken(t, p); !errors.Is(err, ErrUnreadable) || len(m.messages()) != 0 {
		t.Errorf("%v, messages %q", err, m.messages())
	}
}

// child holds a snapshot and does what the word says: "hold" waits to be killed, "read" reads and ends.
func child(text string) int {
	word, dir, _ := strings.Cut(text, " ")
	p, ok, err := Find(context.Background(), poolName)
	if err == nil && ok {
		err = p.WithSnapshot(context.Background(), dir, func(f *thinmeta.File) error {
			fmt.Println("held")
			if word == "hold" {
				time.Sleep(time.Minute)
			}
			_, err := f.Devices()
			return err
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (m *machine) child(word string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), jobEnv+"="+word+" "+m.desk)
	return cmd
}

// TestKilled kills the process that holds the snapshot; its watchdog releases it.
func TestKilled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		m := newMachine(t)
		cmd := m.child("hold")
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 16)); err != nil || m.held() == 0 {
			t.Fatalf("nothing held: %v", err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
		m.clean()
		if got := m.messages(); !slices.Equal(got, pair) {
			t.Errorf("messages %q", got)
		}
	}
}

// TestKilledAnywhere kills the process before and after each of its calls.
func TestKilledAnywhere(t *testing.T) {
	for _, when := range []fakedm.When{fakedm.Before, fakedm.After} {
		for n := 1; ; n++ {
			m := newMachine(t)
			m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
				s.Faults = []*fakedm.Fault{{Pattern: "dmsetup *", Nth: n, When: when, How: fakedm.Kill}}
			})
			var text bytes.Buffer
			cmd := m.child("read")
			cmd.Stderr = &text
			err := cmd.Run()
			m.clean()
			if msgs := m.messages(); len(msgs)%2 != 0 && msgs[0] != pair[0] {
				t.Errorf("killed %s call %d: messages %q", when, n, msgs)
			}
			if err == nil {
				if n < 8 {
					t.Errorf("only %d calls", n-1)
				}
				break
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("killed %s call %d: %v: %s", when, n, err, text.String())
			}
			if err := m.child("read").Run(); err != nil {
				t.Errorf("killed %s call %d: the next one: %v", when, n, err)
			}
		}
	}
}

// TestPowerLoss: both processes die, and the snapshot stays; the next run releases it and goes on.
func TestPowerLoss(t *testing.T) {
	for _, when := range []fakedm.When{fakedm.Before, fakedm.After} {
		m := newMachine(t)
		m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
			s.Faults = []*fakedm.Fault{{Pattern: "dmsetup message * reserve*", When: fakedm.After, How: fakedm.Kill},
				{Pattern: "dmsetup message * release*", When: when, How: fakedm.Kill}} // the caller is the watchdog
		})
		if err := m.child("read").Run(); err == nil {
			t.Fatal("it was not killed")
		}
		// The lock is free when the watchdog is dead as well.
		lock, err := desk{m.desk, poolName}.lock(context.Background())
		if err == nil {
			err = lock.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if !m.marked() || (m.held() == 0) != (when == fakedm.After) {
			t.Fatalf("held at %d, marked %v", m.held(), m.marked())
		}
		if err := m.child("read").Run(); err != nil {
			t.Errorf("the next one: %v", err)
		}
		if m.held() != 0 || m.marked() {
			t.Errorf("held at %d, marked %v", m.held(), m.marked())
		}
	}
}

// TestReleaseFails: the answer is an error with the command to type, and the next run tries again.
func TestReleaseFails(t *testing.T) {
	m := newMachine(t)
	var faults []*fakedm.Fault
	for n := range 200 {
		faults = append(faults, &fakedm.Fault{Nth: n + 1, Pattern: "dmsetup message * release*", When: fakedm.Before, How: fakedm.Fail, Text: "device-mapper: message ioctl on test-pool  failed: Input/output error"})
	}
	m.edit(func(s *fakedm.State, _ *fakedm.Pool) { s.Faults = faults })
	p := m.find()
	err := p.WithSnapshot(context.Background(), m.desk, func(*thinmeta.File) error { return nil })
	if err == nil || !strings.Contains(strings.Join(fault.Hints(err), " "), "release_metadata_snap") {
		t.Errorf("%v, hints %q", err, fault.Hints(err))
	}
	if m.held() == 0 || !m.marked() {
		t.Errorf("held at %d, marked %v", m.held(), m.marked())
	}
	m.edit(func(s *fakedm.State, _ *fakedm.Pool) { s.Faults = nil })
	m.clean() // the watchdog goes on trying
}

func TestBadMarker(t *testing.T) {
	m := newMachine(t)
	p := m.find()
	d, err := newDesk(m.desk, poolName)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"pool":"other","held_root":3}`, `{"pool":"test-pool","held_root":-3}`, strings.Repeat(" ", 5000)} {
		if err := os.WriteFile(d.path("held"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.WithSnapshot(context.Background(), m.desk, func(*thinmeta.File) error { return nil }); err == nil || len(m.messages()) > 0 {
			t.Errorf("%.20q: %v, messages %q", text, err, m.messages())
		}
	}
	if err := p.WithSnapshot(context.Background(), "relative", func(*thinmeta.File) error { return nil }); fault.KindOf(err) != fault.Usage {
		t.Errorf("relative directory: %v", err)
	}
}
