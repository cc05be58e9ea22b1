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

// blocks reads the text of several MDTs, by header.
func blocks(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for block := range strings.SplitSeq(text, "mdd.") {
		if head, rest, ok := strings.Cut(block, "=\n"); ok {
			out["mdd."+head] = values(rest)
		}
	}
	return out
}

// lfsckOf is a run over two MDTs.
func lfsckOf(t *testing.T, r LFSCKRun) *LFSCKRun {
	t.Helper()
	now := map[string]any{
		factSwept:   map[string]any{"MDT0000": map[string]any{"checked": 600.0, "inode": 700.0, "start_inode": 5.0}, "MDT0001": map[string]any{"checked": 60.0, "directories": 7.0}},
		factMatched: map[string]any{"MDT0001": map[string]any{"checked": 40.0, "found": map[string]any{BadType: 2.0}}},
		factLast:    map[string]any{"fid": "[0x200000400:0x1:0x0]"},
		"names":     9.0,
	}
	kept := map[string]any{factSwept: map[string]any{"MDT0000": map[string]any{"checked": 500.0, "inode": 550.0}},
		factMatched: map[string]any{"MDT0001": map[string]any{"checked": 10.0}}}
	if err := r.Facts(now, kept); err != nil {
		t.Fatal(err)
	}
	return &r
}

// Every class counts under the name that the table gives it and for the MDT of the finding, as found before a repair and as repaired after it.
func TestLFSCKCounters(t *testing.T) {
	for _, c := range Classes {
		for _, dry := range []bool{true, false} {
			r := LFSCKRun{FS: "lab", DryRun: dry, Status: lustre.LFSCKCompleted, Started: 100, Ended: 160, Seconds1: 60}
			before := blocks(t, lfsckOf(t, r).Text(200))
			after := lfsckOf(t, r)
			after.Finding(c.ID, []byte(`{"mdt":1}`))
			got := blocks(t, after.Text(200))
			if len(got) != 2 || !maps.Equal(got["mdd.lab-MDT0000.lfsck_namespace"], before["mdd.lab-MDT0000.lfsck_namespace"]) {
				t.Fatalf("%s: %v", c.ID, got)
			}
			was, is := before["mdd.lab-MDT0001.lfsck_namespace"], got["mdd.lab-MDT0001.lfsck_namespace"]
			word := map[bool]string{true: "_inconsistent", false: "_repaired"}[dry]
			name := "unknown_inconsistency"
			if counter := lfsckCounter[c.ID]; counter == "linkea_overflow" && !dry {
				name = "linkea_overflow_cleared"
			} else if counter != "" {
				name = counter + word
			}
			if was[name] != "0" || is[name] != "1" {
				t.Errorf("%s, dry run %v: %s was %q and is %q", c.ID, dry, name, was[name], is[name])
			}
			if !slices.Equal(slices.Sorted(maps.Keys(was)), slices.Sorted(maps.Keys(is))) {
				t.Errorf("%s: other fields than without findings", c.ID)
			}
			for name, want := range map[string]string{"status": "completed", "param": map[bool]string{true: "dryrun,all_targets", false: "all_targets"}[dry],
				"flags": map[bool]string{true: "inconsistent"}[dry], "time_since_last_completed": "40 seconds", "average_speed_phase1": "1 items/sec", "success_count": "1"} {
				if is[name] != want {
					t.Errorf("%s, dry run %v: %s is %q, want %q", c.ID, dry, name, is[name], want)
				}
			}
		}
	}
}

// The words for a run that has not ended, with what was counted until now.
func TestLFSCKUnfinished(t *testing.T) {
	base := LFSCKRun{FS: "lab", DryRun: true, Started: 100, Checkpoint: 150, Ended: 160, Seconds1: 30, Seconds2: 20, Since: 10}
	for name, c := range map[string]struct {
		change func(*LFSCKRun)
		mdt    string
		want   map[string]string
	}{
		"an MDT is missing": {func(r *LFSCKRun) { r.Status, r.Missing = lustre.LFSCKPartial, true }, "MDT0000",
			map[string]string{"status": "partial", "flags": "incomplete", "success_count": "1", "last_completed_time": "160"}},
		"stopped": {func(r *LFSCKRun) { r.Status = lustre.LFSCKStopped }, "MDT0000", map[string]string{"status": "stopped", "flags": "", "last_completed_time": "N/A",
			"last_checkpoint_time": "150", "last_checkpoint_position": "550, N/A, N/A", "latest_start_position": "5, N/A, N/A", "current_position": "N/A"}},
		"sweeping": {func(r *LFSCKRun) { r.Status, r.Seconds2 = lustre.LFSCKPhase1, 0 }, "MDT0000", map[string]string{"status": "scanning-phase1", "checked_phase1": "600",
			"run_time_phase1": "30 seconds", "run_time_phase2": "0 seconds", "average_speed_phase1": "20 items/sec", "real_time_speed_phase1": "10 items/sec",
			"current_position": "700, N/A, N/A"}},
		"matching": {func(r *LFSCKRun) { r.Status, r.Phase2 = lustre.LFSCKPhase2, true }, "MDT0001", map[string]string{"status": "scanning-phase2", "flags": "scanned-once,inconsistent",
			"checked_phase1": "60", "checked_phase2": "40", "directories": "7", "bad_file_type_inconsistent": "2", "average_speed_phase2": "2 objs/sec",
			"real_time_speed_phase2": "3 objs/sec", "current_position": "[0x200000400:0x1:0x0]"}},
		"killed": {func(r *LFSCKRun) { r.Status, r.Phase2 = lustre.LFSCKCrashed, true }, "MDT0000", map[string]string{"status": "crashed", "flags": "scanned-once"}},
	} {
		r := base
		c.change(&r)
		run := lfsckOf(t, r)
		run.Judged()
		got := blocks(t, run.Text(200))["mdd.lab-"+c.mdt+".lfsck_namespace"]
		for field, want := range c.want {
			if have, ok := got[field]; !ok || have != want {
				t.Errorf("%s: %s is %q, want %q", name, field, have, want)
			}
		}
	}
	// A run that died before it told anything still has all fields.
	if got := values((&LFSCKRun{Status: lustre.LFSCKCrashed}).Text(200)); got["status"] != "crashed" || len(got) != 59 {
		t.Errorf("%d fields, status %q", len(got), got["status"])
	}
	if err := new(LFSCKRun).Facts(map[string]any{factSwept: "x"}, nil); err == nil {
		t.Error("garbage is taken for facts")
	}
}
