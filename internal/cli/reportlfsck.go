package cli

import (
	"fmt"
	"io"
	"time"

	"fettle/internal/finding"
	format "fettle/internal/format/lustre"
	"fettle/internal/runs"
	"fettle/internal/systems/lustre"
)

// lfsckReport writes a Lustre run in the words of LFSCK, for scripts that parse lctl's output. What was found counts until a repair
// was applied; from then on only what that repaired does.
func lfsckReport(w io.Writer, r *runs.Run, sum runs.Summary) error {
	if r.Spec().System != (lustre.System{}).Name() {
		return usagef("--lfsck is for checks of lustre: stores", "run %s is of a %s store", r.ID(), r.Spec().System)
	}
	mended, err := appliedTo(r)
	if err != nil {
		return err
	}
	st, err := r.Status()
	if err != nil {
		return err
	}
	out := lustre.LFSCKRun{DryRun: len(mended) == 0, Status: lfsckStatus(st, sum), Missing: sum.Verdict == finding.Incomplete,
		Started: r.Spec().Started.Unix(), Ended: st.Updated.Unix(), Seconds: int64(sum.Seconds)}
	for name, value := range sum.Facts {
		switch n := value.(type) {
		case float64: // as numbers come out of a summary that was read from its file
			out.Fact(name, uint64(max(n, 0)))
		case int64:
			out.Fact(name, uint64(max(n, 0)))
		}
	}
	for f, err := range real(r) {
		if err != nil {
			return err
		}
		if out.DryRun || mended[f.Seq] {
			out.Count(f.Class)
		}
	}
	_, err = fmt.Fprint(w, out.Text(time.Now().Unix()))
	return err
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
		if st.Pass == "sweep" || st.Pass == "" {
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
