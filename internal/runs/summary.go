package runs

import "fettle/internal/finding"

// Summary is the last line of a check. Its JSON form is an interface: see Schema.
type Summary struct {
	Type    string          `json:"type"` // always "summary"
	Schema  int             `json:"schema"`
	Run     string          `json:"run"`
	State   State           `json:"state"`
	Verdict finding.Verdict `json:"verdict"`

	// Findings counts what was found, without the accepted ones and without races. ByClass and BySeverity add up to it.
	Findings   int                      `json:"findings"`
	ByClass    map[string]int           `json:"by_class"`
	BySeverity map[finding.Severity]int `json:"by_severity"`
	Accepted   int                      `json:"accepted"` // known from the baseline
	Races      int                      `json:"races"`    // gone when they were read again: not damage

	Units   int            `json:"units"`
	ByUnit  []UnitSummary  `json:"by_unit"`
	Facts   map[string]any `json:"facts"` // of all units: numbers are added up, of other values the last wins
	Notes   []string       `json:"notes"`
	Fixed   bool           `json:"fixed,omitempty"` // damage was found in a unit that cannot be repaired as it is; a note says why
	Error   string         `json:"error,omitempty"`
	Seconds float64        `json:"duration_s"` // of all lives of the run
	Records int64          `json:"records"`
	Bytes   int64          `json:"bytes"`
}

// UnitSummary is the part of one unit.
type UnitSummary struct {
	Unit     string          `json:"unit"`
	Verdict  finding.Verdict `json:"verdict"`
	Findings int             `json:"findings"`
	Passes   []PassSummary   `json:"passes,omitempty"` // those that were begun, in their order
	Facts    map[string]any  `json:"facts,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// PassSummary is what one pass took, over all lives of the run; what was lost with a killed process is not part of it.
type PassSummary struct {
	Pass    string  `json:"pass"`
	Seconds float64 `json:"duration_s"`
	CPU     float64 `json:"cpu_s"` // seconds of processor time of the whole process meanwhile, other units included
	Records int64   `json:"records"`
	Bytes   int64   `json:"bytes"`
}
