package cli

import (
	"bufio"
	"errors"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/check"
	"fettle/internal/finding"
	"fettle/internal/report"
	"fettle/internal/say"
)

// filter selects findings of a run.
type filter struct {
	classes  []string
	severity string
	path     string
	group    string
	action   string
}

func (a *App) newFindings() *cobra.Command {
	var want filter
	var limit int
	var baseline bool
	c := verb(cobra.Command{
		Use:   "findings RUN",
		Short: "List the findings of a run",
		Long: `Lists every finding of a run with its evidence and the suggested action, or those that the flags select.
With --json one finding per line, the same lines that fettle check --json prints. With --baseline the lines of a file that
makes later checks accept these findings (fettle check --baseline FILE).`,
		Example: `  fettle findings last
  fettle findings last --class flux/dangling-valref --limit 10
  fettle findings last --path 'job.*.eventlog'
  fettle findings last --json | jq -r .path
  fettle findings last --baseline > known.txt`,
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.findInForce(args[0])
			if err != nil {
				return err
			}
			keep, err := a.compile(want)
			if err != nil {
				return err
			}
			each := selected(real(r), keep, limit)
			if baseline {
				return a.listBaseline(each)
			}
			return a.listFindings(each)
		},
	}, exitClean, exitError, exitUsage)
	f := c.Flags()
	f.StringArrayVar(&want.classes, "class", nil, "only this `CLASS` or pattern of classes (repeatable)")
	f.StringVar(&want.severity, "severity", "", "only findings at least as serious as `SEVERITY`")
	f.StringVar(&want.path, "path", "", "only findings whose path matches `PATTERN` (* stands for anything)")
	f.StringVar(&want.group, "group", "", "only findings of this `GROUP`, for example a job id")
	f.StringVar(&want.action, "suggested", "", "only findings with this suggested `ACTION`")
	f.IntVar(&limit, "limit", 0, "stop after `N` findings (0: no limit)")
	f.BoolVar(&baseline, "baseline", false, "print lines for a baseline file")
	return c
}

// compile turns the filter into a function.
func (a *App) compile(w filter) (func(*finding.Finding) bool, error) {
	rank := 2
	if w.severity != "" {
		s, err := finding.ParseSeverity(w.severity)
		if err != nil {
			return nil, usagef("", "--severity: %w", err)
		}
		rank = s.Rank()
	}
	for i, name := range w.classes {
		if c, ok := a.lookupClass(name); ok {
			w.classes[i] = c.ID
		} else if !strings.ContainsAny(name, "*?[") {
			return nil, usagef(a.classHint(name), "--class: unknown class %q", name)
		} else if _, err := path.Match(name, ""); err != nil {
			return nil, usagef("", "--class %q: %w", name, err)
		}
	}
	return func(f *finding.Finding) bool {
		if f.Severity.Rank() > rank || w.group != "" && f.Group != w.group || w.action != "" && string(f.Suggested) != w.action {
			return false
		}
		if w.path != "" && !glob(w.path, f.PathOr(f.Subject)) {
			return false
		}
		for _, c := range w.classes {
			if ok, _ := path.Match(c, f.Class); ok || c == "*" {
				return true
			}
		}
		return len(w.classes) == 0
	}, nil
}

// glob matches s against a pattern in which * stands for any text and everything else for itself.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	last := len(parts) - 1
	for _, p := range parts[1:last] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[last])
}

// selected yields the first limit findings that keep wants; 0 is no limit.
func selected(each report.Findings, keep func(*finding.Finding) bool, limit int) report.Findings {
	return func(yield func(finding.Finding, error) bool) {
		n := 0
		for f, err := range each {
			if err == nil && !keep(&f) {
				continue
			}
			if !yield(f, err) || err != nil {
				return
			}
			if n++; limit > 0 && n >= limit {
				return
			}
		}
	}
}

func (a *App) listFindings(each report.Findings) error {
	if a.json {
		return report.Lines(a.Out, each)
	}
	st := a.outStyle()
	w := bufio.NewWriter(a.Out)
	n := 0
	for f, err := range each {
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
		if n++; a.quiet {
			continue
		}
		w.WriteString(st.Severity(f.Severity, string(f.Severity)) + "  " + say.Clean(f.Class) + "\n")
		report.Block(w, &f, st)
		w.WriteString("\n")
	}
	if n == 0 {
		a.say("no findings, or none that the flags select") // an empty answer could also be a mistake
	}
	return w.Flush()
}

// listBaseline prints the lines by which a later check accepts the findings.
func (a *App) listBaseline(each report.Findings) error {
	w := bufio.NewWriter(a.Out)
	for f, err := range each {
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
		w.WriteString(check.BaselineLine(&f) + "\n")
	}
	return w.Flush()
}
