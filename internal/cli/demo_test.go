package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/store"
	"fettle/internal/systems/devmapper"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/lustre"
)

// The demos of the other systems find what was injured too.
func TestDemoSystems(t *testing.T) {
	for name, sys := range map[string]store.System{"devmapper": devmapper.System{}, "lustre": lustre.System{}} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			env := Env{Systems: []store.System{sys}, Version: "v0.0.0-test", In: strings.NewReader(""), Out: &out, Err: &errs}
			args := []string{"--state-dir", t.TempDir(), "demo", "--system", name, "--check", filepath.Join(t.TempDir(), "demo")}
			if got := Main(env, args); got != exitClean || !strings.Contains(out.String(), "it reported 0 that are not there") {
				t.Errorf("exit code %d\n%s%s", got, &out, &errs)
			}
		})
	}
}

// The lab scores the other systems.
func TestScoreSystems(t *testing.T) {
	for name, sys := range map[string]store.System{"devmapper": devmapper.System{}, "lustre": lustre.System{}} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			env := Env{Systems: []store.System{sys}, Version: "v0.0.0-test", In: strings.NewReader(""), Out: &out, Err: &errs}
			args := []string{"--state-dir", t.TempDir(), "lab", "score", "--system", name, "--classes", "healthy", "--containers", "8", "--files", "200", "--dir", t.TempDir()}
			if got := Main(env, args); got != exitClean || !strings.Contains(out.String(), "1/1") {
				t.Errorf("exit code %d\n%s%s", got, &out, &errs)
			}
		})
	}
}

// The demo is the first thing that anybody tries: its check must find what was injured, and its next commands must work.
func TestDemoCheck(t *testing.T) {
	state := t.TempDir()
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		env := Env{Systems: []store.System{flux.System{}}, Version: "v0.0.0-test", In: strings.NewReader(""), Out: &out, Err: &errs}
		if got := Main(env, append([]string{"--state-dir", state}, args...)); got != want {
			t.Fatalf("fettle %v: exit code %d, want %d\n%s%s", args, got, want, &out, &errs)
		}
		return out.String()
	}
	dir := filepath.Join(t.TempDir(), "demo")
	text := run(exitClean, "demo", "--check", dir)
	if !strings.Contains(text, "found 6 of 6; it reported 0") {
		t.Errorf("the check did not find what was injured:\n%s", text)
	}
	_, next, ok := strings.Cut(text, "Try next:\n")
	if !ok {
		t.Fatalf("no next commands:\n%s", text)
	}
	done := 0
	for _, l := range strings.Split(next, "\n") {
		words := strings.Fields(strings.ReplaceAll(l, "'", ""))
		if len(words) < 4 || words[0] != "fettle" || words[1] != "--state-dir" {
			continue
		}
		args, want := words[3:], exitClean
		if args[0] == "apply" {
			args, want = append(args, "--yes"), exitRepaired
		}
		run(want, args...)
		done++
	}
	if done != 3 {
		t.Errorf("%d of the next commands were tried, want 3:\n%s", done, next)
	}
	run(exitUsage, "demo", "--nonsense")
	run(exitError, "demo", dir)
}
