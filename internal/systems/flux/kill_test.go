package flux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/flux/fluxlab"
)

// killEnv names the run directory for the process that is to be killed.
const killEnv = "FETTLE_TEST_FLUX_APPLY"

// TestKilledApply is no test but the other process of TestKill: it applies the plan of a run.
func TestKilledApply(t *testing.T) {
	run := os.Getenv(killEnv)
	if run == "" {
		t.Skip("only for TestKill")
	}
	plan, err := repair.LoadFile(filepath.Join(run, "plan.json"), repair.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, path: plan.Store, run: run, plan: plan}
	if _, err := fmt.Println("it begins"); err != nil {
		t.Fatal(err)
	}
	b.apply()
}

// TestKill kills real processes at random moments of an apply, and then resumes or undoes.
func TestKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	base := newBench(t)
	base.lab(fluxlab.Options{Seed: 3, Jobs: 30})
	base.sql("DELETE FROM objects WHERE rowid % 97 = 5")
	damaged := len(base.check())
	if damaged < 5 {
		t.Fatalf("only %d findings", damaged)
	}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	took := 500 * time.Millisecond // from the start of the apply to its end, as far as is known
	rnd := rand.New(rand.NewPCG(1, 2))
	killed := 0
	for i := range rounds {
		b := newBench(t)
		storetest.CopyTree(t, base.dir, b.dir)
		original := b.digest()
		b.makePlan(b.check())
		b.savePlan()
		cmd := exec.Command(exe, "-test.run=^TestKilledApply$")
		cmd.Env = append(os.Environ(), killEnv+"="+b.run)
		out, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		word := make([]byte, 200)
		n, err := out.Read(word) // the process says when it begins
		if err != nil {
			t.Fatalf("it does not begin: %v, %v", err, cmd.Wait())
		}
		start := time.Now()
		timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(took))), func() { cmd.Process.Kill() })
		rest, rerr := io.ReadAll(out)
		werr := cmd.Wait()
		timer.Stop()
		switch ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); {
		case rerr == nil && werr == nil:
			took = min(took, time.Since(start))
		case rerr == nil && ok && ws.Signal() == syscall.SIGKILL:
			killed++
		default:
			t.Fatalf("it was not killed: %v, %v\n%s%s", rerr, werr, word[:n], rest)
		}
		b.afterKill(i%2 == 0, original, damaged)
	}
	t.Logf("%d of %d processes were killed before their end", killed, rounds)
}

func (b *bench) savePlan() {
	b.t.Helper()
	f, err := os.Create(filepath.Join(b.run, "plan.json"))
	if err == nil {
		err = errors.Join(b.plan.Write(f), f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// afterKill resumes or undoes what a killed process left, then undoes in any case.
func (b *bench) afterKill(resume bool, original storetest.Snapshot, damaged int) {
	b.t.Helper()
	if resume {
		b.goOn()
		if fs := b.check(); len(fs) > 0 {
			b.t.Errorf("killed and resumed: %d findings, %q first", len(fs), brief(&fs[0]))
		}
		accept(b.t, b.path).accepted("after resume")
	}
	u, done := b.open()
	_, err := repair.Undo(context.Background(), repair.UndoConfig{Units: []store.Planner{u}, Dir: b.run})
	done()
	if err != nil && !errors.Is(err, repair.ErrNothingToUndo) {
		b.t.Fatalf("undo: %v", err)
	}
	if b.digest().Content != original.Content {
		b.t.Errorf("undone (resumed before: %v): other bytes or files: %q", resume, listDir(b.t, b.dir))
	}
	if fs := b.check(); len(fs) != damaged {
		b.t.Errorf("undone: %d findings, before the repair %d", len(fs), damaged)
	}
}

// goOn completes an apply that was killed, or makes it if it had not begun.
func (b *bench) goOn() {
	b.t.Helper()
	st, err := repair.StateOf(b.run)
	if err != nil {
		b.t.Fatal(err)
	}
	if st == nil || len(st.Units) == 0 {
		b.apply()
		return
	}
	b.resume()
}
