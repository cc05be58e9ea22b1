package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// emits makes a pass that finds the subjects, each caused by the one before.
func emits(subjects ...string) []store.Pass {
	return []store.Pass{{Name: "p", Title: "P", Run: func(_ context.Context, env store.Env) error {
		cause := 0
		for _, s := range subjects {
			seq, err := env.Emit(finding.Finding{Class: "fake/lost", Subject: s, CausedBy: &cause})
			if err != nil {
				return err
			}
			cause = seq
		}
		return nil
	}}}
}

// gone is a Confirm for which only findings about race-* do not hold.
func gone(f *finding.Finding) error {
	if strings.HasPrefix(f.Subject, "race") {
		return errGone
	}
	return nil
}

func TestFindingsOfLiveAndChangingUnits(t *testing.T) {
	for _, c := range []struct {
		name           string
		subjects       []string
		live, changing bool
		verdict        finding.Verdict
		findings       int // in the summary
		lines          int // in findings.jsonl
		races          int
	}{
		{"live: a race is never recorded", []string{"a", "race", "b"}, true, false, finding.Damaged, 2, 2, 1},
		{"live: nothing but races", []string{"race"}, true, false, finding.Incomplete, 0, 0, 1},
		{"live: nothing at all", nil, true, false, finding.Clean, 0, 0, 0},
		{"changing: a race is marked", []string{"a", "race", "b"}, false, true, finding.Damaged, 2, 3, 1},
		{"changing: nothing but races", []string{"race-1", "race-2"}, false, true, finding.Incomplete, 0, 2, 2},
		{"changing: nothing at all", nil, false, true, finding.Clean, 0, 0, 0},
		{"quiet: nobody asks", []string{"race"}, false, false, finding.Damaged, 1, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var writes atomic.Int64
			u := &fakeUnit{id: "u", passes: emits(c.subjects...), confirm: gone}
			if c.live {
				u.inUse = "process 4711 (broker)"
			}
			if c.changing {
				u.print = func() string { return fmt.Sprint(writes.Add(1)) }
			}
			r := newRun(t)
			sum, err := runOne(t, Config{Run: r, Store: fakeStore{u}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Verdict != c.verdict || sum.Findings != c.findings || sum.Races != c.races || sum.ByClass["fake/lost"] != c.findings {
				t.Errorf("summary: %+v", sum)
			}
			if (len(sum.Notes) > 0) != (c.live || c.changing) {
				t.Errorf("notes: %q", sum.Notes)
			}
			// Why it is incomplete has to be said.
			if strings.Contains(strings.Join(sum.Notes, "\n"), "did not hold when read again") != (c.verdict == finding.Incomplete) {
				t.Errorf("verdict %s, notes: %q", sum.Verdict, sum.Notes)
			}
			marked := 0
			for f, err := range r.Findings() {
				if err != nil {
					t.Fatal(err)
				}
				if f.Result == runs.RaceResult {
					marked++
				}
			}
			if got := found(t, r); len(got) != c.lines || c.changing && marked != c.races {
				t.Errorf("%d findings with %d marked as races: %q", len(got), marked, got)
			}
		})
	}
}

func TestUnconfirmableFindingsStay(t *testing.T) {
	for _, live := range []bool{true, false} {
		var writes atomic.Int64
		u := &fakeUnit{id: "u", passes: emits("a", "b"), confirm: func(*finding.Finding) error { return errors.New("I/O error") },
			print: func() string { return fmt.Sprint(writes.Add(1)) }}
		if live {
			u.inUse = "somebody"
		}
		sum, err := runOne(t, Config{Store: fakeStore{u}}, nil)
		if err != nil || sum.Findings != 2 || sum.Verdict != finding.Damaged || !strings.Contains(strings.Join(sum.Notes, "\n"), "I/O error") {
			t.Errorf("live %v: summary %+v, error %v", live, sum, err)
		}
	}
}
