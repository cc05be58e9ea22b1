package check

import "fettle/internal/finding"

// tally counts findings as the summary shows them.
type tally struct {
	findings   int // without the accepted ones
	counting   int // those that make a verdict other than clean
	accepted   int
	byClass    map[string]int
	bySeverity map[finding.Severity]int
}

func newTally() *tally {
	return &tally{byClass: map[string]int{}, bySeverity: map[finding.Severity]int{}}
}

// add counts f n times; n is -1 to take it back.
func (t *tally) add(f *finding.Finding, n int) {
	if f.Accepted {
		t.accepted += n
		return
	}
	t.findings += n
	if f.Counts() {
		t.counting += n
	}
	if t.byClass[f.Class] += n; t.byClass[f.Class] == 0 {
		delete(t.byClass, f.Class)
	}
	t.bySeverity[f.Severity] += n
}

// verdict is clean or damaged; whether everything was seen is for the caller to say.
func (t *tally) verdict() finding.Verdict {
	if t.counting > 0 {
		return finding.Damaged
	}
	return finding.Clean
}
