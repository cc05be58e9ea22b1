package lustrelab_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fettle/internal/cli"
	"fettle/internal/finding"
	"fettle/internal/store"
	"fettle/internal/systems/lustre"
	"fettle/internal/systems/lustre/lustrelab"
)

// asFettle makes this test program a fettle, for runs that have to be stopped or killed from outside.
const asFettle = "FETTLE_LUSTRELAB_IS_FETTLE"

func TestMain(m *testing.M) {
	if os.Getenv(asFettle) != "" {
		os.Exit(cli.Main(cli.Env{Systems: []store.System{lustre.System{}}, Version: "v0.0.0-test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// begin starts fettle as a process of its own. It ends with the test at the latest.
func (w *ward) begin(args ...string) *exec.Cmd {
	w.Helper()
	c := exec.CommandContext(w.Context(), os.Args[0], append([]string{"--state-dir", w.state}, args...)...)
	c.Env = append(os.Environ(), asFettle+"=1")
	c.Stdout, c.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	return c
}

// end waits for a process and gives its exit code.
func (w *ward) end(c *exec.Cmd) int {
	w.Helper()
	var failed *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &failed) {
		w.Fatal(err)
	}
	w.Logf("%s\n%s", strings.Join(c.Args[1:], " "), c.Stderr)
	return c.ProcessState.ExitCode()
}

// words are what "report --lfsck" says of the newest run, by field; nothing as long as there is none. Of several MDTs the first is told.
func (w *ward) words() map[string]string {
	w.Helper()
	var out bytes.Buffer
	env := cli.Env{Systems: []store.System{lustre.System{}}, Version: "v0.0.0-test", In: strings.NewReader(""), Out: &out, Err: &bytes.Buffer{}}
	cli.Main(env, []string{"--state-dir", w.state, "report", "last", "--lfsck"})
	got := map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if _, told := got[name]; ok && !told {
			got[name] = strings.TrimSpace(value)
		}
	}
	return got
}

// await waits until the newest run says so. It gives up when the test's time is over.
func (w *ward) await(what string, so func(map[string]string) bool) {
	w.Helper()
	for !so(w.words()) {
		select {
		case <-w.Context().Done():
			w.Fatalf("never %s: %v", what, w.words())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// timeless takes from findings what differs from run to run.
func timeless(list []finding.Finding) []finding.Finding {
	list = slices.Clone(list)
	for i := range list {
		list[i].Run, list[i].Found = "", time.Time{}
	}
	return list
}

// slow is a rate at which a check of these images takes a minute: it is interrupted in any case, and its limit lifted then.
const slow = "40"

// Tests of how LFSCK runs: what was stopped or killed and resumed has the findings of a check that was left alone.
func TestSanityRuns(t *testing.T) {
	base := filepath.Join(t.TempDir(), "fs")
	if _, err := lustrelab.Make(t.Context(), base, lustrelab.Options{Files: 600, Dirs: 120, Striped: 12, Remote: 200, HardLinks: 100, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	tests := lustrelab.Sanity()
	hurt := tests[slices.IndexFunc(tests, func(s lustrelab.Scenario) bool { return s.Test == "27a" })]
	if _, err := hurt.Make(t.Context(), base, 3); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(*ward, *exec.Cmd) (status string){
		"stopped": func(w *ward, c *exec.Cmd) string {
			w.fettle([]int{0}, "stop", "last")
			if code := w.end(c); code != 8 && code != 32 {
				w.Errorf("the stopped check exits with %d", code)
			}
			return "stopped"
		},
		"killed": func(w *ward, c *exec.Cmd) string {
			w.await("a checkpoint", func(m map[string]string) bool {
				return m["last_checkpoint_time"] != "N/A" && m["last_checkpoint_time"] != ""
			})
			if err := c.Process.Kill(); err != nil {
				w.Fatal(err)
			}
			w.end(c)
			return "crashed"
		},
	}
	for _, b := range lustrelab.Behaviours() {
		if b.Tried != "" && cases[b.Tried] == nil {
			t.Errorf("test %s is tried by %q, which is not there", b.Test, b.Tried)
		}
	}
	for name, interrupt := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, base)
			_, want := w.check([]int{4}, w.paths...)
			whole := w.words()
			check := w.begin("check", "--rate", slow, "--checkpoint-every", "100ms", "lustre:"+strings.Join(w.paths, ","))
			w.await("in phase 1", func(m map[string]string) bool { return m["status"] == "scanning-phase1" && m["checked_phase1"] != "0" })
			status := interrupt(w, check)
			if got := w.words(); got["status"] != status {
				t.Errorf("status %q, want %q", got["status"], status)
			}
			resumed := w.begin("resume", "last")
			w.await("in phase 1 again", func(m map[string]string) bool { return m["status"] == "scanning-phase1" })
			w.fettle([]int{0}, "rate", "last", "0")
			if code := w.end(resumed); code != 4 {
				t.Errorf("the resumed check exits with %d", code)
			}
			got := w.words()
			for _, field := range []string{"status", "flags", "checked_phase1", "checked_phase2", "directories", "lost_dirent_inconsistent"} {
				if got[field] != whole[field] {
					t.Errorf("%s is %q, want %q", field, got[field], whole[field])
				}
			}
			if now := w.findings(w.last()); !reflect.DeepEqual(timeless(now), timeless(want)) {
				t.Errorf("%d findings, want %d, or not the same", len(now), len(want))
			}
		})
	}
}
