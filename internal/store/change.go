package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"fettle/internal/finding"
)

// Bytes is the content of a record; nil means that the record does not exist. In JSON it is {"text":..} when it is
// valid UTF-8 and {"base64":..} otherwise, so that plans can be read.
type Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	switch {
	case b == nil:
		return []byte("null"), nil
	case utf8.Valid(b):
		return json.Marshal(struct {
			Text string `json:"text"`
		}{string(b)})
	}
	return json.Marshal(struct {
		Base64 []byte `json:"base64"`
	}{b})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(in []byte) error {
	if bytes.Equal(bytes.TrimSpace(in), []byte("null")) {
		*b = nil
		return nil
	}
	var v struct {
		Text   *string `json:"text"`
		Base64 *[]byte `json:"base64"`
	}
	if err := json.Unmarshal(in, &v); err != nil {
		return err
	}
	switch {
	case v.Text != nil && v.Base64 == nil:
		*b = append([]byte{}, *v.Text...)
	case v.Base64 != nil && v.Text == nil:
		*b = append([]byte{}, *v.Base64...)
	default:
		return fmt.Errorf("record content needs exactly one of \"text\" and \"base64\"")
	}
	return nil
}

// Change makes one record other than it was. Before and After equal is a guard: the record must be so, nothing is written.
type Change struct {
	Target string `json:"target"` // a Target's name
	Addr   string `json:"addr"`   // the record's address in the system's words: "objects/sha1-..", "page/17", "file"
	Before Bytes  `json:"before"`
	After  Bytes  `json:"after"`
	Note   string `json:"note,omitempty"` // what the record is, for the reader of a plan
}

// Guard tells whether the change only asserts.
func (c Change) Guard() bool {
	return (c.Before == nil) == (c.After == nil) && bytes.Equal(c.Before, c.After)
}

// Inverse is the change that takes c back.
func (c Change) Inverse() Change { c.Before, c.After = c.After, c.Before; return c }

// Step is a set of changes that are made together: in one transaction where the system has transactions.
type Step struct {
	ID       int      `json:"id"` // dense, from 1, in the order of execution
	Title    string   `json:"title"`
	Findings []int    `json:"findings"` // sequence numbers it repairs
	Changes  []Change `json:"changes"`
	// Irreversible steps cannot be undone and are refused unless asked for by name.
	Irreversible bool `json:"irreversible,omitempty"`
}

// Decision is a finding and the action chosen for it.
type Decision struct {
	Finding finding.Finding
	Action  finding.Action
}

// Outcome says what a plan means for one finding.
type Outcome struct {
	Seq    int            `json:"seq"`
	Action finding.Action `json:"action"`
	Result string         `json:"result"`          // one line in the user's terms: "kept as lost+found.x, 4 of 5 blobs"
	Loses  string         `json:"loses,omitempty"` // what is gone afterwards
}

// Loss is how much of the unit a plan drops, counted in what its users count (keys, devices, files).
type Loss struct {
	Dropped int64  `json:"dropped"`
	Total   int64  `json:"total"`
	Unit    string `json:"unit"` // "keys"
}

// Proposal is what a Planner makes of the decisions for one unit.
type Proposal struct {
	Steps    []Step    `json:"steps"`
	Outcomes []Outcome `json:"outcomes"`
	Loss     Loss      `json:"loss"`
	Notes    []string  `json:"notes,omitempty"`
}

// Planner is a Unit that can be repaired.
type Planner interface {
	Unit
	// Plan turns decisions into steps without writing anything. work is a scratch directory of the run that outlives the
	// plan: files that a step moves into place (a rebuilt database) may be prepared there or named for the Writer to make.
	// The findings of the decisions have no evidence, and are the planner's to use up: the caller looks at nothing but their numbers later.
	Plan(ctx context.Context, work string, decisions []Decision) (*Proposal, error)
	// OpenWriter locks the unit for writing. It fails with a hint when the unit is in use.
	// work is the same directory that Plan was given.
	OpenWriter(ctx context.Context, work string) (Writer, error)
}

// Writer makes changes true. A change of a plan is about records of the system (a row, a directory entry); Lower turns a
// step into changes of what is really written (a page, a block, a file), and only those are journaled and passed to Write.
type Writer interface {
	// Lower checks every Before of the step against the store and returns the raw changes that make the step true.
	// Nothing of the store is written. Raw changes are applied in the order given and undone in the opposite order. No raw
	// record may occur twice in one step, and Before must be what Read gives; both are checked.
	Lower(ctx context.Context, step Step) ([]Change, error)
	// Read returns the present content of a raw record, nil if it does not exist.
	Read(ctx context.Context, target, addr string) (Bytes, error)
	// Write makes the raw record equal to c.After. It is called only after the journal is safe, may be called again with
	// the same change after a crash, and need not be durable before Sync. A record that a crash left half written must still
	// be readable by Read and writable by Write.
	Write(ctx context.Context, c Change) error
	// Sync makes all writes so far durable, also those of an earlier process that wrote the same records.
	Sync(ctx context.Context) error
	// Close releases the locks. It makes no change: what Write and Sync did not do must not happen here.
	Close() error
}
