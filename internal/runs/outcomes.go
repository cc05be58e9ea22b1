package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// StageCheck marks what the check itself has to say about its findings.
const StageCheck = "check"

// RaceResult is the Result of a finding that was gone when it was read again at the end of the check.
const RaceResult = "gone when read again: changed during the check, not damage"

// Outcome is one line of outcomes.jsonl: what was decided or done about one finding. The last line about a number holds;
// one with an empty Action and Result takes back the earlier ones.
type Outcome struct {
	Seq    int            `json:"seq"`
	Action finding.Action `json:"action"`
	Result string         `json:"result"`          // one line for people
	Stage  string         `json:"stage,omitempty"` // who says so: StageCheck, "plan", "apply", "undo", "verify"
	At     time.Time      `json:"at"`
}

// AddOutcomes appends to outcomes.jsonl and makes it durable. At is filled in when it is zero. A torn line that a crash
// left behind is cut off first.
func (r *Run) AddOutcomes(outs ...Outcome) error {
	if len(outs) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.File(OutcomesFile)
	whole, err := wholeSize(p, decodeOutcome(new(Outcome)))
	if err != nil {
		return err
	}
	var buf []byte
	for _, o := range outs {
		if o.At.IsZero() {
			o.At = time.Now().UTC().Truncate(time.Millisecond)
		}
		b, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("write outcome of finding %d: %w", o.Seq, err)
		}
		buf = append(append(buf, b...), '\n')
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = appendAt(f, whole, buf)
	}
	if err == nil {
		err = r.syncDir()
	}
	if err != nil {
		return &fault.Error{Op: "write", Where: p, Err: err}
	}
	return nil
}

// appendAt cuts f at off, writes b there, fsyncs and closes.
func appendAt(f *os.File, off int64, b []byte) error {
	err := f.Truncate(off)
	if err == nil {
		_, err = f.WriteAt(b, off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	return err
}

// wholeSize is the size of the file without a torn last line; 0 if there is no file.
func wholeSize(path string, decode func([]byte) error) (int64, error) {
	var size int64
	err := eachLine(path, decode, func(line []byte, off int64) bool {
		size = off + int64(len(line)) + 1
		return true
	})
	return size, err
}

func decodeOutcome(o *Outcome) func([]byte) error {
	return func(line []byte) error {
		*o = Outcome{}
		if err := json.Unmarshal(line, o); err != nil {
			return fmt.Errorf("not an outcome: %w", err)
		}
		if o.Seq < 1 {
			return fmt.Errorf("not an outcome: seq %d", o.Seq)
		}
		return nil
	}
}

// Outcomes reads outcomes.jsonl in its order: the history of what was decided and done.
func (r *Run) Outcomes() ([]Outcome, error) {
	var out []Outcome
	var o Outcome
	err := eachLine(r.File(OutcomesFile), decodeOutcome(&o), func([]byte, int64) bool {
		out = append(out, o)
		return true
	})
	return out, err
}

// lastOutcomes maps sequence numbers to what holds about them.
func (r *Run) lastOutcomes() (map[int]Outcome, error) {
	outs, err := r.Outcomes()
	if err != nil || len(outs) == 0 {
		return nil, err
	}
	last := make(map[int]Outcome, len(outs))
	for _, o := range outs {
		last[o.Seq] = o
	}
	return last, nil
}

// DropOutcomes removes outcomes.jsonl: the findings that it is about are going to be found anew.
func (r *Run) DropOutcomes() error {
	if err := os.Remove(r.File(OutcomesFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Op: "remove", Where: r.File(OutcomesFile), Err: err}
	}
	return nil
}
