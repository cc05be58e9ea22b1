package check

import (
	"fmt"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// SeverityRule gives findings another severity than their class has. In both patterns * stands for any characters
// (also for dots and slashes) and ? for one.
type SeverityRule struct {
	Class    string // pattern of class ids
	Key      string // pattern of the path, or of the subject of findings without one; "" matches all
	Severity finding.Severity
}

// ParseSeverities reads rules of the form CLASS=SEVERITY or CLASS:KEY=SEVERITY, e.g.
// "flux/dangling-valref:job.*.guest.output=info". CLASS may be an alias. A rule that fits no class is an error.
func ParseSeverities(rules []string, classes finding.Classes) ([]SeverityRule, error) {
	var out []SeverityRule
	for _, text := range rules {
		// Keys may hold "=" and ":", class ids and severities cannot.
		i := strings.LastIndexByte(text, '=')
		if i < 0 {
			return nil, fault.NewUsage(fmt.Errorf("severity rule %q has no \"=\"", text), "write CLASS[:KEY]=error|warning|info")
		}
		sev, err := finding.ParseSeverity(text[i+1:])
		if err != nil {
			return nil, fault.NewUsage(fmt.Errorf("severity rule %q: %w", text, err), "write CLASS[:KEY]=error|warning|info")
		}
		class, key, _ := strings.Cut(text[:i], ":")
		if c, ok := classes.Lookup(class); ok {
			class = c.ID
		}
		known := false
		for _, c := range classes {
			known = known || glob(class, c.ID)
		}
		if !known {
			return nil, fault.NewUsage(fmt.Errorf("severity rule %q: no class is called %q", text, class), "fettle classes lists them")
		}
		out = append(out, SeverityRule{class, key, sev})
	}
	return out, nil
}

func (r SeverityRule) matches(f *finding.Finding) bool {
	return glob(r.Class, f.Class) && (r.Key == "" || glob(r.Key, f.PathOr(f.Subject)))
}

// glob tells whether s fits pattern, in which * stands for any bytes and ? for one. It takes at most len(pattern)*len(s)
// steps.
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last * seen and where its match ends at least
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
