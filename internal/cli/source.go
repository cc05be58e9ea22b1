package cli

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/report"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// How many findings of a class text shows in full: few on a terminal, where people read them, more in a file.
const (
	showOnTerminal = 5
	showInFile     = 100
)

// source makes a run ready to be rendered.
func (a *App) source(r *runs.Run, sum runs.Summary, sys store.System) *report.Source {
	spec := r.Spec()
	src := &report.Source{Classes: sys.Classes(), Each: func() report.Findings { return real(r) }, Max: showInFile}
	if isTerminal(a.Out) {
		src.Max = showOnTerminal
	}
	src.Head = report.Head{Run: r.ID(), Store: spec.Store, System: spec.System, Version: a.Version, Started: spec.Started,
		Seconds: sum.Seconds, Verdict: sum.Verdict, Partial: sum.State != runs.Finished, Facts: facts(sum), Notes: sum.Notes, Next: a.next(r, sum)}
	return src
}

// real yields the findings of a run without those that turned out to be races.
func real(r *runs.Run) report.Findings {
	return func(yield func(finding.Finding, error) bool) {
		for f, err := range r.Findings() {
			if err == nil && f.Result == runs.RaceResult {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// next is the exact command to type after a check.
func (a *App) next(r *runs.Run, sum runs.Summary) []string {
	switch {
	case sum.State == runs.Stopped || sum.State == runs.Running || sum.State == runs.Interrupted:
		return []string{a.commandLine("resume", r.ID())}
	case sum.Verdict == finding.Damaged && !sum.Fixed:
		return []string{a.commandLine("plan", r.ID())}
	}
	return nil
}

// facts lists what the passes had to say, by name.
func facts(sum runs.Summary) []report.Fact {
	names := make([]string, 0, len(sum.Facts))
	for n, v := range sum.Facts {
		if _, nested := v.(map[string]any); !nested { // those are for programs
			names = append(names, n)
		}
	}
	sort.Strings(names)
	out := make([]report.Fact, 0, len(names))
	for _, n := range names {
		out = append(out, report.Fact{Name: strings.ReplaceAll(n, "_", " "), Value: factText(sum.Facts[n])})
	}
	return out
}

func factText(v any) string {
	switch x := v.(type) {
	case float64: // as numbers come out of a summary that was read from its file
		return strconv.FormatFloat(x, 'f', -1, 64)
	case string:
		return x
	}
	return fmt.Sprint(v)
}
