package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"fettle/internal/fault"
)

// TruthSchema is the version of the truth file. It changes only when a field is removed or changes its meaning.
const TruthSchema = 1

// Injury asks for damage of one class.
type Injury struct {
	Class string `json:"class"` // a Recipe's class
	// Count is how many injuries of the class; with Percent it is that share of everything that can be injured this way.
	// Both 0 means 1.
	Count   int     `json:"count,omitempty"`
	Percent float64 `json:"percent,omitempty"`
}

// Of is how many of n candidates the injury asks for, from 0 to n.
func (i Injury) Of(n int) int {
	want := max(1, i.Count)
	if i.Percent > 0 {
		want = max(1, int(float64(n)*i.Percent/100+0.5))
	}
	return min(want, n)
}

// Done is what became of an Injury.
type Done struct {
	Injury
	What []string `json:"what"` // what was done, in the system's terms
	More int      `json:"more,omitempty"`
}

// MaxWhat bounds how many lines of What are kept; the others are counted in More.
const MaxWhat = 200

// Add notes one injury.
func (d *Done) Add(format string, args ...any) {
	if len(d.What) >= MaxWhat {
		d.More++
		return
	}
	d.What = append(d.What, fmt.Sprintf(format, args...))
}

// Made is how many injuries were made.
func (d *Done) Made() int { return len(d.What) + d.More }

// Expect is one finding: one that a check must report, or (Observe) one that it did report.
type Expect struct {
	Class string `json:"class"`
	// Path is the damaged thing in the user's terms, nil if it has none. With a path the subject is not compared.
	Path *string `json:"path"`
	// Subject is what the finding is about; in a truth "" stands for any.
	Subject string `json:"subject,omitempty"`
	// Index lists the bad parts of the thing in ascending order; nil is not compared.
	Index []int `json:"index,omitempty"`
	// Note says what is wrong, for people.
	Note string `json:"note,omitempty"`
}

// Name is the thing that the expectation is about, for people.
func (e Expect) Name() string {
	switch {
	case e.Path == nil:
		return e.Subject
	case *e.Path == "":
		return "(root)"
	}
	return *e.Path
}

// Line is the expectation as one line of text: class, name, and indexes if there are any.
func (e Expect) Line() string {
	s := e.Class + "\t" + e.Name()
	for i, n := range e.Index {
		sep := ","
		if i == 0 {
			sep = "\t"
		}
		s += fmt.Sprintf("%s%d", sep, n)
	}
	return s
}

// Allowed is a finding that may be reported as a consequence of the damage, but need not be.
type Allowed struct {
	Class   string `json:"class"`
	Subject string `json:"subject,omitempty"` // "" for any
	Why     string `json:"why"`
}

// Truth says what is wrong with an injured store.
type Truth struct {
	Type   string `json:"type"` // always "truth"
	Schema int    `json:"schema"`
	System string `json:"system"`
	Seed   uint64 `json:"seed"`
	Done   []Done `json:"injuries"`
	// Expected is complete: a healthy store has an empty list, and any other finding is false unless Allowed has it.
	Expected []Expect  `json:"expected"`
	Allowed  []Allowed `json:"allowed,omitempty"`
	// Hidden lists things that no check can reach because what leads to them is lost, though they may be whole themselves.
	Hidden      []string `json:"hidden,omitempty"`
	HiddenCount int      `json:"hidden_count"`
	// Unrepairable says why a repair cannot make a second check clean; "" when it must.
	Unrepairable string `json:"unrepairable,omitempty"`
	// Kept are findings that the default actions leave for a person to decide. Whatever else a second check finds is an error.
	Kept []Allowed `json:"kept,omitempty"`
	// Facts are the system's own: from where the expectation was worked out.
	Facts map[string]string `json:"facts,omitempty"`
}

// MaxHidden bounds Hidden; HiddenCount is exact.
const MaxHidden = 100_000

// Hide adds a hidden thing.
func (t *Truth) Hide(path string) {
	t.HiddenCount++
	if len(t.Hidden) < MaxHidden {
		t.Hidden = append(t.Hidden, path)
	}
}

// notKept gives the findings of a second check that must not be there.
func (t *Truth) notKept(seen []Expect) []Expect {
	var out []Expect
	for _, s := range seen {
		if !slices.ContainsFunc(t.Kept, func(k Allowed) bool { return k.meets(s) }) {
			out = append(out, s)
		}
	}
	return out
}

// meets tells whether a finding is the one that is allowed.
func (a Allowed) meets(s Expect) bool {
	return a.Class == s.Class && (a.Subject == "" || a.Subject == s.Subject)
}

// Save writes the truth as indented JSON.
func (t *Truth) Save(path string) error {
	raw, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return fmt.Errorf("save truth: %w", err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return &fault.Error{Op: "save truth", Err: err}
	}
	return nil
}

// LoadTruth reads what Save wrote.
func LoadTruth(path string) (*Truth, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, &fault.Error{Op: "read truth", Err: err, Kind: fault.Usage}
	}
	var t Truth
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, &fault.Error{Op: "read truth", Where: path, Err: err}
	}
	if t.Type != "truth" || t.Schema != TruthSchema {
		return nil, &fault.Error{Op: "read truth", Where: path, Err: fmt.Errorf("not a truth file of schema %d", TruthSchema),
			Hint: "fettle lab damage writes one"}
	}
	return &t, nil
}
