package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"fettle/internal/finding"
	"fettle/internal/say"
)

// Style is how text for people looks.
type Style struct {
	Color bool // the reader is a terminal and wants colour
}

// paint wraps s in an SGR sequence when colour is wanted.
func (st Style) paint(code, s string) string {
	if !st.Color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Bold and the others are the few looks used; each is the plain text when there is no colour.
func (st Style) Bold(s string) string { return st.paint("1", s) }

// Dim is for what can be skipped.
func (st Style) Dim(s string) string { return st.paint("2", s) }

// Severity shows s in the colour of its meaning.
func (st Style) Severity(sev finding.Severity, s string) string {
	switch sev {
	case finding.Error:
		return st.paint("1;31", s)
	case finding.Warning:
		return st.paint("33", s)
	}
	return st.paint("36", s)
}

// Verdict shows s in the colour of the verdict.
func (st Style) Verdict(v finding.Verdict, s string) string {
	switch v {
	case finding.Clean, finding.Repaired:
		return st.paint("1;32", s)
	case finding.Damaged:
		return st.paint("1;31", s)
	}
	return st.paint("1;33", s)
}

// Text writes the run for people: one section per class with at most src.Max findings in full, what they touch, facts,
// notes, and at the end the verdict in one line and the next command.
func Text(w io.Writer, src *Source, st Style) error {
	d, err := gather(src)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	for _, s := range d.Sections {
		textSection(b, src, s, st)
	}
	textGroups(b, d)
	textFoot(b, src, d, st)
	return b.Flush()
}

func textSection(b *bufio.Writer, src *Source, s *section, st Style) {
	fmt.Fprintf(b, "%s  %s  %s\n", st.Severity(s.Severity, strings.ToUpper(string(s.Severity))),
		st.Bold(say.Clean(s.Class.ID)), say.Clean(s.Class.Title))
	fmt.Fprintf(b, "  %s\n\n", sectionCount(s))
	for _, f := range s.Shown {
		one := *f.Finding
		if one.Title == s.Class.Title { // said above
			one.Title = ""
		}
		Block(b, &one, st)
		if f.Consequences > 0 {
			fmt.Fprintf(b, "      %s from it%s\n", follows(f.Consequences), samples(f))
		}
		b.WriteByte('\n')
	}
	if n := s.Hidden(); n > 0 {
		fmt.Fprintf(b, "  and %d more: fettle findings %s --class %s\n\n", n, src.Run, say.Clean(s.Class.ID))
	}
}

// sectionCount says how many findings about how many things: "27 findings about 4 subjects, 12 of them consequences of others".
func sectionCount(s *section) string {
	out := say.Count(s.Count, "finding")
	roots := s.Count - s.Follows
	if n, over := s.Subjects(); n > 0 && (over || n < roots) {
		more := ""
		if over {
			more = "more than "
		}
		out += fmt.Sprintf(" about %s%s", more, say.Count(n, "subject"))
	}
	switch {
	case s.Follows == 0:
	case s.Follows == 1 && s.Count == 1:
		out += ", a consequence of one in another section"
	case s.Follows == s.Count:
		out += ", all of them consequences of findings in other sections"
	default:
		out += fmt.Sprintf(", %d of them consequences of others", s.Follows)
	}
	return out
}

func follows(n int) string {
	if n == 1 {
		return "1 finding follows"
	}
	return fmt.Sprintf("%d findings follow", n)
}

func samples(f *shown) string {
	names := make([]string, 0, len(f.Samples))
	for _, c := range f.Samples {
		names = append(names, say.Short(say.Clean(name(c)), 60))
	}
	out := ": " + strings.Join(names, ", ")
	if n := f.Consequences - len(f.Samples); n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// Block writes one finding in full: what, who says what, the suggested action and why. It ends with a newline.
func Block(w io.Writer, f *finding.Finding, st Style) {
	head := st.Bold(say.Clean(name(f)))
	if f.Group != "" {
		head += "  " + say.Clean(f.Group)
	}
	fmt.Fprintf(w, "  %s  %s\n", st.Dim(fmt.Sprintf("#%d", f.Seq)), head)
	if t := title(f); t != "" {
		fmt.Fprintf(w, "      %s\n", say.Clean(t))
	}
	width := 0
	for _, e := range f.Evidence {
		width = max(width, utf8.RuneCountInString(say.Clean(e.Witness)))
	}
	width = min(width, 64)
	for _, e := range f.Evidence {
		fmt.Fprintf(w, "      %s  %s\n", st.Dim(fmt.Sprintf("%-*s", width, say.Clean(e.Witness))), say.Clean(e.Says))
	}
	switch {
	case f.Result != "":
		fmt.Fprintf(w, "      %s: %s\n", say.Clean(string(f.Action)), say.Clean(f.Result))
	case f.Suggested != "":
		why := ""
		if f.Why != "" {
			why = " (" + say.Clean(f.Why) + ")"
		}
		fmt.Fprintf(w, "      suggested: %s%s\n", st.Bold(say.Clean(string(f.Suggested))), why)
	}
}

func textGroups(b *bufio.Writer, d *digest) {
	if len(d.Groups) < 2 {
		return
	}
	const show = 8
	names := make([]string, 0, show)
	for i, g := range d.Groups {
		if i == show {
			break
		}
		names = append(names, fmt.Sprintf("%s (%d)", say.Clean(g.Name), g.Count))
	}
	more := ""
	if len(d.Groups) > show {
		more = fmt.Sprintf(" and %d more", len(d.Groups)-show)
	}
	if d.More {
		more += ", and others not counted"
	}
	fmt.Fprintf(b, "Touched: %s%s\n\n", strings.Join(names, ", "), more)
}

func textFoot(b *bufio.Writer, src *Source, d *digest, st Style) {
	if len(src.Facts) > 0 {
		parts := make([]string, 0, len(src.Facts)+1)
		for _, f := range src.Facts {
			parts = append(parts, say.Clean(f.Name)+" "+say.Clean(f.Value))
		}
		fmt.Fprintf(b, "%s\n", strings.Join(parts, ", "))
	}
	for _, n := range src.Notes {
		fmt.Fprintf(b, "note: %s\n", say.Clean(n))
	}
	fmt.Fprintf(b, "%s\n", VerdictLine(&src.Head, d.Tally(), st))
	for _, n := range src.Next {
		fmt.Fprintf(b, "  %s\n", say.Clean(n))
	}
}

// Tally is how many findings there are of each severity and how many things caused them.
type Tally struct {
	Errors, Warnings, Infos int
	Accepted                int // known from a baseline, not counted above
	Roots                   int // errors and warnings that follow from no other finding
}

// Tally counts the digest.
func (d *digest) Tally() Tally {
	t := Tally{Roots: d.Roots, Accepted: d.Accepted}
	for _, s := range d.Sections {
		t.Errors += s.bySeverity[0]
		t.Warnings += s.bySeverity[1]
		t.Infos += s.bySeverity[2]
	}
	return t
}

// VerdictLine is the last line of a report: the store, the verdict, and the counts behind it.
func VerdictLine(h *Head, t Tally, st Style) string {
	var parts []string
	if t.Errors > 0 {
		parts = append(parts, say.Count(t.Errors, "error"))
	}
	if t.Warnings > 0 {
		parts = append(parts, say.Count(t.Warnings, "warning"))
	}
	if n := t.Errors + t.Warnings; n > t.Roots && t.Roots > 0 {
		parts[len(parts)-1] += " from " + say.Count(t.Roots, "cause")
	}
	if t.Infos > 0 {
		parts = append(parts, say.Count(t.Infos, "info"))
	}
	switch {
	case len(parts) == 0 && h.Partial:
		parts = append(parts, "not finished, no findings yet")
	case len(parts) == 0:
		parts = append(parts, "nothing found")
	case h.Partial:
		parts = append([]string{"not finished, so far " + parts[0]}, parts[1:]...)
	}
	if t.Accepted > 0 {
		parts = append(parts, fmt.Sprintf("%d accepted by the baseline", t.Accepted))
	}
	line := fmt.Sprintf("%s: %s: %s", strings.TrimSuffix(say.Clean(h.Store), ":"), st.Verdict(h.Verdict, string(h.Verdict)), strings.Join(parts, ", "))
	tail := "run " + h.Run
	if t := h.took(); t != "" {
		tail += ", " + t
	}
	return line + st.Dim(" ("+tail+")")
}
