package livepool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fettle/internal/fault"
	"fettle/internal/systems/devmapper/fakedm"
)

// TestHangs: a dmsetup that does not answer is given up, with a hint; so is one whose caller is cancelled.
func TestHangs(t *testing.T) {
	m := newMachine(t)
	hang := func() {
		m.edit(func(s *fakedm.State, _ *fakedm.Pool) {
			s.Faults = []*fakedm.Fault{{Pattern: "dmsetup status*", When: fakedm.Before, How: fakedm.Hang}}
		})
	}
	hang()
	_, err := dmsetup(context.Background(), 100*time.Millisecond, nil, "status", poolName)
	var late *lateError
	if !errors.As(err, &late) || !strings.Contains(strings.Join(fault.Hints(err), ""), "does not answer") {
		t.Errorf("%v, hints %q", err, fault.Hints(err))
	}
	hang()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := dmsetup(ctx, time.Hour, nil, "status", poolName); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// fake puts a dmsetup into PATH that is a shell script.
func fake(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dmsetup"), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestCallEnds(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code         int
		text         string
	}{
		{"silent failure", "exit 3", 3, "exit code 3 without a word"},
		{"lines", "echo a >&2; echo b >&2; exit 1", 1, "exit code 1: a b"},
		{"killed", "kill -9 $$", -1, "signal: killed"},
		{"a long story", "i=0; while [ $i -lt 2000 ]; do echo xxxxxxxx >&2; i=$((i+1)); done; exit 1", 1, "xxxxxxxx xxxxxxxx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake(t, c.script)
			_, err := dmsetup(context.Background(), askTime, nil, "x")
			var e *CommandError
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Error(), c.text) || len(e.Error()) > 2*maxText {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestEnvironment: answers are in one language whatever the user speaks, and names are not mangled in another way.
func TestEnvironment(t *testing.T) {
	for _, name := range []string{"LC_ALL", "LANG", "LANGUAGE", "DM_DEFAULT_NAME_MANGLING_MODE"} {
		t.Setenv(name, "de_DE.UTF-8")
	}
	fake(t, `echo "$LC_ALL,$LANG,$LANGUAGE,$DM_DEFAULT_NAME_MANGLING_MODE"`)
	if out, err := dmsetup(context.Background(), askTime, nil, "x"); err != nil || out != "C,,,\n" {
		t.Errorf("%q, %v", out, err)
	}
	if !slices.Contains(environ(), "LC_ALL=C") {
		t.Error("no LC_ALL=C")
	}
}
