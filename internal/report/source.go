package report

import (
	"iter"
	"strings"
	"time"

	"fettle/internal/finding"
)

// Findings is a sequence of findings in the order of their numbers. A non-nil error ends it.
type Findings = iter.Seq2[finding.Finding, error]

// Head is what is known about a run besides its findings.
type Head struct {
	Run     string
	Store   string // the store as the user named it
	System  string // "flux"
	Version string // of fettle
	Started time.Time
	Seconds float64 // of work; 0 when it is not known
	Verdict finding.Verdict
	Partial bool // the check did not come to its end: there may be more findings than were told so far
	Facts   []Fact
	Notes   []string
	Next    []string // commands to try next, the most useful first
}

// Fact is one line of the summary, e.g. {"objects", "1398"}.
type Fact struct{ Name, Value string }

// DefaultMax is the bound of Source.Max when nothing is said.
const DefaultMax = 100

// Source is one run, ready to be rendered.
type Source struct {
	Head
	Classes finding.Classes // of the run's system; findings of unknown classes are rendered all the same
	Each    func() Findings // may be called more than once
	// Max is how many findings of one class text and HTML show in full; 0 means DefaultMax.
	Max int
}

// class returns the row of the class table for id, or a bare one for an unknown id.
func (s *Source) class(id string) finding.Class {
	if c, ok := s.Classes.Lookup(id); ok {
		return c
	}
	return finding.Class{ID: id, Title: id}
}

// took is how long the run took, rounded for people; "" when it is not known.
func (h *Head) took() string {
	d := time.Duration(h.Seconds * float64(time.Second))
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// name is what a finding is called: its path, else its subject; never empty.
func name(f *finding.Finding) string {
	switch {
	case f.Path != nil && *f.Path != "":
		return *f.Path
	case f.Subject != "":
		return f.Subject
	}
	return "(nameless)"
}

// title is the finding's title without the name in front of it, which is shown beside it.
func title(f *finding.Finding) string { return strings.TrimPrefix(f.Title, name(f)+": ") }
