package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// Findings reads findings.jsonl in its order. Action and Result are set from outcomes.jsonl, so they say what was last
// done. The findings of a running run may be read. An error ends the sequence; it comes with the zero Finding.
func (r *Run) Findings() iter.Seq2[finding.Finding, error] {
	return func(yield func(finding.Finding, error) bool) {
		last, err := r.lastOutcomes()
		if err != nil {
			yield(finding.Finding{}, err)
			return
		}
		var f finding.Finding
		err = eachLine(r.File(FindingsFile), decodeFinding(&f), func([]byte, int64) bool {
			if o, ok := last[f.Seq]; ok {
				f.Action, f.Result = o.Action, o.Result
			}
			return yield(f, nil)
		})
		if err != nil {
			yield(finding.Finding{}, err)
		}
	}
}

// Finding returns the finding number seq.
func (r *Run) Finding(seq int) (finding.Finding, error) {
	for f, err := range r.Findings() {
		if err != nil {
			return f, err
		}
		if f.Seq == seq {
			return f, nil
		}
	}
	return finding.Finding{}, &fault.Error{Op: "find finding", Where: fmt.Sprintf("%s#%d", r.id, seq), Err: errors.New("there is no such finding"),
		Hint: "fettle findings " + r.id + " lists them", Kind: fault.Usage}
}

// decodeFinding decodes a line into f, forgetting what was there.
func decodeFinding(f *finding.Finding) func([]byte) error {
	return func(line []byte) error {
		*f = finding.Finding{}
		if err := json.Unmarshal(line, f); err != nil {
			return fmt.Errorf("not a finding: %w", err)
		}
		if f.Type != "finding" || f.Seq < 1 {
			return fmt.Errorf("not a finding: type %q, seq %d", f.Type, f.Seq)
		}
		return nil
	}
}

// Summary reads summary.json: the zero Summary and fs.ErrNotExist (wrapped) when the check has not ended.
func (r *Run) Summary() (Summary, error) {
	var s Summary
	err := r.ReadJSON(SummaryFile, &s)
	if errors.Is(err, fs.ErrNotExist) {
		return Summary{}, &fault.Error{Op: "read summary", Where: r.id, Err: err, Hint: "the check has not ended: fettle resume " + r.id}
	}
	return s, err
}
