package finding

import (
	"encoding/json"
	"time"
)

// Schema is the version of the JSON form of a Finding. It changes only when a field is removed or changes its meaning.
const Schema = 1

// Evidence is one line of the table "who says what" that every finding shows.
type Evidence struct {
	Witness string `json:"witness"` // where it is written: "checkpt_v2 row 9", "directory sha1-.. entry eventlog"
	Says    string `json:"says"`    // what it claims, decoded
}

// Finding is one inconsistency in one unit. Its JSON form is an interface: see Schema.
type Finding struct {
	Type     string    `json:"type"` // always "finding"
	Schema   int       `json:"schema"`
	Run      string    `json:"run"`
	Seq      int       `json:"seq"` // dense, from 1, per run
	Class    string    `json:"class"`
	Severity Severity  `json:"severity"`
	Unit     string    `json:"unit"`
	Subject  string    `json:"subject"`         // what the witnesses disagree about, e.g. a blobref
	Path     *string   `json:"path"`            // the thing in the user's terms (a key as Flux writes it); null if it has none
	Group    string    `json:"group,omitempty"` // the larger thing it belongs to, e.g. a job id in F58
	Title    string    `json:"title"`           // this finding in one line
	Found    time.Time `json:"found"`

	Evidence []Evidence `json:"evidence"`
	Actions  []Action   `json:"actions"` // offered, the suggested one first
	// Suggested is the first of Actions; Why says on what grounds.
	Suggested Action `json:"suggested"`
	Why       string `json:"why,omitempty"`
	// CausedBy is the sequence number of the finding that this one follows from.
	CausedBy *int `json:"caused_by"`
	// Detail holds the system's own machine-readable facts (bad indexes, sizes, alternatives). Its shape belongs to the class.
	Detail json.RawMessage `json:"detail,omitempty"`

	// Accepted findings are known from a baseline: they are shown, but they do not make the verdict other than clean.
	Accepted bool `json:"accepted,omitempty"`

	// Action and Result are set once something was decided and done.
	Action Action `json:"action,omitempty"`
	Result string `json:"result,omitempty"`
}

// PathOr returns the path, or alt when the finding has none.
func (f *Finding) PathOr(alt string) string {
	if f.Path == nil {
		return alt
	}
	return *f.Path
}

// Counts tells whether the finding makes the verdict other than clean.
func (f *Finding) Counts() bool { return f.Severity != Info && !f.Accepted }

// Prefer moves action a to the front of the offered actions and suggests it for the given reason. Actions that the
// finding does not offer are not added.
func (f *Finding) Prefer(a Action, why string) {
	for i, have := range f.Actions {
		if have == a {
			copy(f.Actions[1:i+1], f.Actions[:i])
			f.Actions[0] = a
			f.Suggested, f.Why = a, why
			return
		}
	}
}

// Verdict is the one word a check ends with.
type Verdict string

// The verdicts.
const (
	Clean      Verdict = "clean"      // nothing but infos
	Damaged    Verdict = "damaged"    // errors or warnings are there
	Repaired   Verdict = "repaired"   // everything found was repaired and a second check was clean
	Incomplete Verdict = "incomplete" // the check could not see everything or was stopped
)
