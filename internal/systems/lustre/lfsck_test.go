package lustre

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"fettle/internal/format/lustre"
)

// values reads the text as scripts do.
func values(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		out[name] = strings.TrimSpace(value)
	}
	return out
}

// Every class counts under the name that the table gives it, as found before a repair and as repaired after it.
func TestLFSCKCounters(t *testing.T) {
	for _, c := range Classes {
		for _, dry := range []bool{true, false} {
			r := LFSCKRun{DryRun: dry, Status: lustre.LFSCKCompleted, Started: 100, Ended: 160, Seconds: 60}
			before := values(r.Text(200))
			r.Fact("checked_phase1", 600)
			r.Count(c.ID)
			got := values(r.Text(200))
			word := map[bool]string{true: "_inconsistent", false: "_repaired"}[dry]
			name := "unknown_inconsistency"
			if counter := lfsckCounter[c.ID]; counter == "linkea_overflow" && !dry {
				name = "linkea_overflow_cleared"
			} else if counter != "" {
				name = counter + word
			}
			if before[name] != "0" || got[name] != "1" {
				t.Errorf("%s, dry run %v: %s was %q and is %q", c.ID, dry, name, before[name], got[name])
			}
			if !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(got))) {
				t.Errorf("%s: other fields than without findings", c.ID)
			}
			for name, want := range map[string]string{"status": "completed", "param": map[bool]string{true: "dryrun,all_targets", false: "all_targets"}[dry],
				"flags": map[bool]string{true: "scanned-once,inconsistent"}[dry], "time_since_last_completed": "40 seconds", "average_speed_phase1": "10 items/sec"} {
				if got[name] != want {
					t.Errorf("%s, dry run %v: %s is %q, want %q", c.ID, dry, name, got[name], want)
				}
			}
		}
	}
}

func TestLFSCKUnfinished(t *testing.T) {
	r := LFSCKRun{DryRun: true, Status: lustre.LFSCKPartial, Missing: true, Started: 100, Ended: 160}
	got := values(r.Text(200))
	if got["status"] != "partial" || got["flags"] != "incomplete" || got["success_count"] != "0" {
		t.Errorf("an MDT is missing: %v", got)
	}
	r = LFSCKRun{DryRun: true, Status: lustre.LFSCKStopped, Started: 100, Ended: 160}
	if got := values(r.Text(200)); got["status"] != "stopped" || got["last_completed_time"] != "N/A" {
		t.Errorf("stopped: %v", got)
	}
}
