package lustre

import (
	"fmt"
	"strings"
)

// What LFSCK's numbers are called, from lustre_lfsck_user.h and lfsck_lib.c. An empty name is never printed.
var (
	lfsckStatusNames = [...]string{
		"init", "scanning-phase1", "scanning-phase2", "completed", "failed", "stopped", "paused", "crashed", "partial",
		"co-failed", "co-stopped", "co-paused",
	}
	lfsckFlagNames  = []string{"scanned-once", "inconsistent", "upgrade", "incomplete", "crashed_lastid"}
	lfsckParamNames = []string{"", "failout", "dryrun", "all_targets", "broadcast", "orphan", "create_ostobj", "create_mdtobj", "", "delay_create_ostobj"}
)

// Statuses of LFSCK that others speak of.
const (
	LFSCKInit      = 0
	LFSCKPhase1    = 1
	LFSCKPhase2    = 2
	LFSCKCompleted = 3
	LFSCKFailed    = 4
	LFSCKStopped   = 5
	LFSCKPaused    = 6
	LFSCKCrashed   = 7
	LFSCKPartial   = 8
)

// lfsckStatus gives the word for a status.
func lfsckStatus(status uint32) string {
	if status < uint32(len(lfsckStatusNames)) {
		return lfsckStatusNames[status]
	}
	return "unknown"
}

// lfsckFlags and lfsckParams give the set bits in words, separated by commas; bits without a word are left out.
func lfsckFlags(flags uint32) string { return lfsckBits(flags, lfsckFlagNames) }

// lfsckParams gives the bits of LFSCKBookmark.Param in words.
func lfsckParams(param uint16) string { return lfsckBits(uint32(param), lfsckParamNames) }

func lfsckBits(v uint32, names []string) string {
	var out []string
	for i, n := range names {
		if v&(1<<i) != 0 && n != "" {
			out = append(out, n)
		}
	}
	return strings.Join(out, ",")
}

// LFSCKLive is what LFSCK knows beside what it keeps while it scans.
type LFSCKLive struct {
	Current LFSCKPosition // in phase 1
	New     uint64        // what was checked since the last checkpoint, in the phase at work
	Seconds int64         // since that
}

// Text gives state and counters in the form of "lctl get_param -n mdd.*.lfsck_namespace", which scripts parse. now is in seconds
// since 1970. Average speeds are over the run times, those of real time since the last checkpoint; live is used while it scans only.
func (n LFSCKNamespace) Text(mark LFSCKBookmark, live LFSCKLive, now int64) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	bits := func(name, words string) { line("%s", strings.TrimRight(name+": "+words, " ")) }
	line("name: lfsck_namespace")
	line("magic: %#x", n.Magic)
	line("version: %d", mark.Version)
	line("status: %s", lfsckStatus(n.Status))
	bits("flags", lfsckFlags(n.Flags))
	bits("param", lfsckParams(mark.Param))
	for _, t := range []struct {
		name string
		at   int64
	}{{"last_completed", n.LastCompleted}, {"latest_start", n.LatestStart}, {"last_checkpoint", n.LastCheckpoint}} {
		if t.at == 0 {
			line("%s_time: N/A\ntime_since_%s: N/A", t.name, t.name)
		} else {
			line("%s_time: %d\ntime_since_%s: %d seconds", t.name, t.at, t.name, now-t.at)
		}
	}
	line("latest_start_position: %v", n.LatestStartPos)
	line("last_checkpoint_position: %v", n.LastCheckpointPos)
	line("first_failure_position: %v", n.FirstBadPos)
	n.textCounters(mark.Param&LFSCKDryRun != 0, line)
	n.textSpeeds(live, line)
	return b.String()
}

// textCounters prints the counters under the names that LFSCK gives them, which differ in a dry run.
func (n LFSCKNamespace) textCounters(dry bool, line func(string, ...any)) {
	repaired, updated, cleared := "repaired", "updated", "cleared"
	if dry {
		repaired, updated, cleared = "inconsistent", "inconsistent", "inconsistent"
	}
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"checked_phase1", n.Checked1}, {"checked_phase2", n.Checked2},
		{updated + "_phase1", n.Repaired1}, {updated + "_phase2", n.Repaired2},
		{"failed_phase1", n.Failed1}, {"failed_phase2", n.Failed2}, {"directories", n.Dirs},
		{"dirent_" + repaired, n.Dirent}, {"linkea_" + repaired, n.LinkEA}, {"nlinks_" + repaired, n.Nlinks},
		{"multiple_linked_checked", n.MulLinkedChecked}, {"multiple_linked_" + repaired, n.MulLinked},
		{"unknown_inconsistency", n.Unknown}, {"unmatched_pairs_" + repaired, n.Unmatched}, {"dangling_" + repaired, n.Dangling},
		{"multiple_referenced_" + repaired, n.MulRef}, {"bad_file_type_" + repaired, n.BadType},
		{"lost_dirent_" + repaired, n.LostDirent},
		{"local_lost_found_scanned", n.LostScanned}, {"local_lost_found_moved", n.LostMoved},
		{"local_lost_found_skipped", n.LostSkipped}, {"local_lost_found_failed", n.LostFailed},
		{"striped_dirs_scanned", n.DirsScanned}, {"striped_dirs_" + repaired, n.DirsRepaired},
		{"striped_dirs_failed", n.DirsFailed}, {"striped_dirs_disabled", n.DirsDisabled}, {"striped_dirs_skipped", n.DirsSkipped},
		{"striped_shards_scanned", n.ShardsScanned}, {"striped_shards_" + repaired, n.ShardsRepaired},
		{"striped_shards_failed", n.ShardsFailed}, {"striped_shards_skipped", n.ShardsSkipped},
		{"name_hash_" + repaired, n.NameHash}, {"linkea_overflow_" + cleared, n.LinkEAOverflow},
		{"agent_entries_" + repaired, n.AgentEntries}, {"success_count", uint64(n.SuccessCount)},
	} {
		line("%s: %d", c.name, c.value)
	}
	line("run_time_phase1: %d seconds\nrun_time_phase2: %d seconds", n.RunTime1, n.RunTime2)
}

// textSpeeds prints speeds and the position. A phase that took no whole second counts as one second in the total.
func (n LFSCKNamespace) textSpeeds(live LFSCKLive, line func(string, ...any)) {
	per := func(count uint64, seconds int64) uint64 {
		if seconds <= 0 {
			return count
		}
		return count / uint64(seconds)
	}
	total := max(n.RunTime1, 0) + max(n.RunTime2, 0)
	if n.RunTime1 <= 0 && n.Checked1 > 0 {
		total++
	}
	if n.RunTime2 <= 0 && n.Checked2 > 0 {
		total++
	}
	line("average_speed_phase1: %d items/sec", per(n.Checked1, n.RunTime1))
	if n.Status == LFSCKPhase1 {
		line("average_speed_phase2: N/A")
		line("average_speed_total: %d items/sec", per(n.Checked1, n.RunTime1))
		line("real_time_speed_phase1: %d items/sec\nreal_time_speed_phase2: N/A", per(live.New, live.Seconds))
		line("current_position: %v", live.Current)
		return
	}
	line("average_speed_phase2: %d objs/sec", per(n.Checked2, n.RunTime2))
	line("average_speed_total: %d items/sec", per(n.Checked1+n.Checked2, total))
	line("real_time_speed_phase1: N/A")
	if n.Status == LFSCKPhase2 {
		line("real_time_speed_phase2: %d objs/sec\ncurrent_position: %v", per(live.New, live.Seconds), n.LastScanned2)
		return
	}
	line("real_time_speed_phase2: N/A\ncurrent_position: N/A")
}
