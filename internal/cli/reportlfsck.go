package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"fettle/internal/finding"
	format "fettle/internal/format/lustre"
	"fettle/internal/runs"
	"fettle/internal/systems/lustre"
)

// lfsckReport writes a Lustre run in the words of LFSCK, for scripts that parse lctl's output. What was found counts until a repair
// was applied; from then on only what that repaired does.
func lfsckReport(w io.Writer, r *runs.Run) error {
	if r.Spec().System != (lustre.System{}).Name() {
		return usagef("LFSCK's fields are for checks of lustre: stores", "run %s is of a %s store", r.ID(), r.Spec().System)
	}
	st, err := r.Status()
	if err != nil {
		return err
	}
	sum, err := r.Summary()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mended, err := appliedTo(r)
	if err != nil {
		return err
	}
	now := time.Now()
	out := lfsckRun(r, st, sum, now)
	out.DryRun = len(mended) == 0
	var kept map[string]any
	if st.Checkpoint != nil {
		kept = st.Checkpoint.Facts
	}
	if err := out.Facts(st.Facts, kept); err != nil {
		return err
	}
	if st.State != runs.Finished && !reporting(st) {
		out.Judged()
		_, err = fmt.Fprint(w, out.Text(now.Unix()))
		return err
	}
	if err := countLFSCK(&out, r, mended); err != nil {
		return err
	}
	_, err = fmt.Fprint(w, out.Text(now.Unix()))
	return err
}

// countLFSCK counts findings: all, or after a repair those that it mended. What follows from another finding about the same object and
// has the same counter is one repair for LFSCK.
func countLFSCK(out *lustre.LFSCKRun, r *runs.Run, mended map[int]bool) error {
	type cause struct{ class, subject string }
	causes := map[int]cause{}
	for f, err := range real(r) {
		if err != nil {
			return err
		}
		if f.CausedBy == nil {
			causes[f.Seq] = cause{f.Class, f.Subject}
		} else if c := causes[*f.CausedBy]; c.subject == f.Subject && out.Same(c.class, f.Class) {
			continue
		}
		if out.DryRun || mended[f.Seq] {
			out.Finding(f.Class, f.Detail)
		}
	}
	return nil
}

// lfsckRun is what the state of the run says, without counters.
func lfsckRun(r *runs.Run, st runs.Status, sum runs.Summary, now time.Time) lustre.LFSCKRun {
	out := lustre.LFSCKRun{Status: lfsckStatus(st, sum), Missing: st.State == runs.Finished && sum.Verdict == finding.Incomplete,
		FS: st.Unit, Started: st.Began.Unix(), Ended: st.Updated.Unix()}
	if len(sum.ByUnit) > 0 {
		out.FS = sum.ByUnit[0].Unit
	}
	if st.Began.IsZero() {
		out.Started = r.Spec().Started.Unix()
	}
	since := st.Began
	if c := st.Checkpoint; c != nil {
		out.Checkpoint = c.Saved.Unix()
		if c.Saved.After(since) {
			since = c.Saved
		}
	}
	if !since.IsZero() {
		out.Since = int64(st.Updated.Sub(since).Seconds() + 0.5)
	}
	var first, second float64
	for _, p := range st.ByPass {
		if p.Pass == "sweep" {
			first += p.Seconds
			continue
		}
		second += p.Seconds
		out.Phase2 = true
	}
	out.Seconds1, out.Seconds2 = int64(first+0.5), int64(second+0.5)
	return out
}

// reporting tells whether the last pass has begun, which writes the findings.
func reporting(st runs.Status) bool {
	n := len(st.ByPass)
	return n > 0 && st.ByPass[n-1].Pass == "report"
}

// appliedTo tells which findings of a run are repaired now.
func appliedTo(r *runs.Run) (map[int]bool, error) {
	outs, err := r.Outcomes()
	if err != nil {
		return nil, err
	}
	mended := map[int]bool{}
	for _, o := range outs {
		switch o.Stage {
		case "apply":
			mended[o.Seq] = true
		case "undo":
			delete(mended, o.Seq)
		}
	}
	return mended, nil
}

// lfsckStatus is LFSCK's word for the state of a run.
func lfsckStatus(st runs.Status, sum runs.Summary) uint32 {
	switch st.State {
	case runs.Running:
		if st.Pass == "sweep" || st.Pass == "" && len(st.ByPass) == 0 {
			return format.LFSCKPhase1
		}
		return format.LFSCKPhase2
	case runs.Stopped:
		return format.LFSCKStopped
	case runs.Failed:
		return format.LFSCKFailed
	case runs.Interrupted:
		return format.LFSCKCrashed
	}
	if sum.Verdict == finding.Incomplete {
		return format.LFSCKPartial
	}
	return format.LFSCKCompleted
}
