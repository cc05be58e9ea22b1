package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/runs"
	"fettle/internal/systems/lustre/lustrelab"
)

// killsEnv says how many processes TestKilledLustreCheck kills, if not killsUsual.
const (
	killsEnv   = "FETTLE_TEST_KILLS"
	killsUsual = 15
)

// longCheck is a damaged pair of MDTs and a state directory for checks of it. The checks are slow, by a limit, and take checkpoints often.
type longCheck struct {
	t     *testing.T
	store string
	dir   *runs.Dir
	want  []string // findings of a check that nobody disturbed
	took  time.Duration
}

// TestKilledLustreCheck kills real checks at random moments, with SIGKILL and now and then with SIGTERM, and resumes them until they
// are done. The findings have to be those of a check that was left alone, byte for byte.
func TestKilledLustreCheck(t *testing.T) {
	kills := killsUsual
	if text := os.Getenv(killsEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", killsEnv, err)
		}
		kills = n
	} else if testing.Short() {
		kills = 3
	}
	c := newLongCheck(t)
	rnd := rand.New(rand.NewPCG(11, uint64(kills)))
	in := map[string]int{} // kills by pass
	checks := 0
	for left := kills; left > 0; checks++ {
		left -= c.disturbed(rnd, left, in)
	}
	t.Logf("%d kills in %d checks that take %v, by pass: %v", kills, checks, c.took.Round(time.Millisecond), in)
}

func newLongCheck(t *testing.T) *longCheck {
	t.Helper()
	mdts := filepath.Join(t.TempDir(), "mdts")
	if _, err := lustrelab.Make(t.Context(), mdts, lustrelab.Options{Seed: 21, Files: 20_000, HardLinks: 300, Extents: true}); err != nil {
		t.Fatal(err)
	}
	var injuries []lab.Injury
	for _, class := range []string{"lustre/dangling-name", "lustre/orphan-object", "lustre/bad-type", "lustre/linkea-missing", "lustre/lost-name",
		"lustre/unmatched-parent", "lustre/oi-missing", "lustre/agent-missing"} {
		injuries = append(injuries, lab.Injury{Class: class, Count: 12})
	}
	if _, err := lustrelab.Damage(t.Context(), mdts, 22, injuries); err != nil {
		t.Fatal(err)
	}
	dir, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &longCheck{t: t, store: lustreLocation(mdts), dir: dir}
	start := time.Now()
	cmd, said := c.command("check")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitUnrepaired {
		t.Fatalf("the undisturbed check: %v\n%s", err, said)
	}
	c.took = time.Since(start)
	if c.want = c.findings(c.last()); len(c.want) < 80 {
		t.Fatalf("only %d findings", len(c.want))
	}
	return c
}

// command is a check or the resumption of one. Little memory makes claims go to files.
func (c *longCheck) command(verb string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	all := []string{"--state-dir", c.dir.Path(), "--quiet", "--memory", "16MiB", verb}
	if verb == "check" {
		args = []string{"--checkpoint-every", "50ms", "--rate", "60000", c.store}
	}
	cmd := exec.Command("mdtfettle", append(all, args...)...)
	said := new(bytes.Buffer)
	cmd.Stderr = said
	return cmd, said
}

func (c *longCheck) last() *runs.Run {
	c.t.Helper()
	r, err := c.dir.Find("last")
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// done tells whether a run has come to its end.
func (c *longCheck) done(r *runs.Run) bool {
	c.t.Helper()
	st, err := r.Status()
	if err != nil {
		c.t.Fatal(err)
	}
	return st.State == runs.Finished
}

// findings are the lines of a finished run without what differs from run to run.
func (c *longCheck) findings(r *runs.Run) []string {
	c.t.Helper()
	var out []string
	for f, err := range r.Findings() {
		if err != nil {
			c.t.Fatal(err)
		}
		f.Run, f.Found = "", time.Time{}
		b, err := json.Marshal(f)
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	if sum, err := r.Summary(); err != nil || sum.State != runs.Finished || sum.Verdict != finding.Damaged || sum.Findings != len(out) {
		c.t.Fatalf("%d findings, summary %+v, error %v", len(out), sum, err)
	}
	return out
}

// disturbed leads one check to its end through up to most kills, and tells how many there were.
func (c *longCheck) disturbed(rnd *rand.Rand, most int, in map[string]int) (kills int) {
	c.t.Helper()
	old := c.last().ID()
	cmd, said := c.command("check")
	for {
		sig := os.Signal(syscall.SIGKILL)
		if rnd.IntN(4) == 0 {
			sig = syscall.SIGTERM
		}
		killed, err := c.killLater(cmd, sig, time.Duration(rnd.Int64N(int64(c.took))), kills < most)
		r := c.last()
		if r.ID() == old {
			if !killed {
				c.t.Fatalf("no run: %v\n%s", err, said)
			}
			return kills // it was killed before there was a run
		}
		if killed = killed && !c.done(r); !killed { // one that was killed after its last word is done as well
			if got := c.findings(r); !slices.Equal(got, c.want) {
				c.t.Errorf("after %d kills there are other findings than without:\n got %s\nwant %s", kills, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			return kills
		}
		kills++
		in[c.afterKill(r, sig, said)]++
		cmd, said = c.command("resume", r.ID())
	}
}

// killLater runs a command and sends a signal after a while, if it should. It tells whether the process ended by it.
func (c *longCheck) killLater(cmd *exec.Cmd, sig os.Signal, after time.Duration, should bool) (bool, error) {
	c.t.Helper()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if should {
		defer time.AfterFunc(after, func() {
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				c.t.Error(err)
			}
		}).Stop()
	}
	err := cmd.Wait()
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() || cmd.ProcessState.ExitCode() == exitCancelled, err
}

// afterKill looks at what the process left: a run that says what became of it, in LFSCK's words too. It returns the pass that was at work.
func (c *longCheck) afterKill(r *runs.Run, sig os.Signal, said *bytes.Buffer) string {
	c.t.Helper()
	st, err := r.Status()
	if err != nil || !st.Resumable() {
		c.t.Fatalf("killed by %v: %+v, %v\n%s", sig, st, err, said)
	}
	word := map[runs.State]string{runs.Interrupted: "crashed", runs.Stopped: "stopped"}[st.State]
	out, err := exec.Command("mdtfettle", "--state-dir", c.dir.Path(), "status", r.ID(), "--format", "lfsck").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nstatus: "+word+"\n") {
		c.t.Fatalf("killed by %v, %s: status says %v\n%s", sig, st.State, err, out)
	}
	if st.State == runs.Stopped && st.Checkpoint == nil && st.Pass != "" {
		c.t.Errorf("stopped in pass %s without a checkpoint", st.Pass)
	}
	if n := len(st.ByPass); n > 0 {
		return st.ByPass[n-1].Pass
	}
	return "none"
}
