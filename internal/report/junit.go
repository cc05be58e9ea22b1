package report

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/say"
)

// JUnit writes the run as JUnit XML: one test suite per store; every error and warning is a failed test case named by its
// path, every info a passed one, and every class of which nothing was found is a passed test case of its own. A run that
// did not see everything has one test case in error. Findings are read twice: the counts come first in the format.
func JUnit(w io.Writer, src *Source) error {
	met := map[string]bool{}
	failures, infos := 0, 0
	for f, err := range src.Each() {
		if err != nil {
			return err
		}
		if len(met) < maxDistinct {
			met[f.Class] = true
		}
		if f.Counts() {
			failures++
		} else {
			infos++
		}
	}
	passed := 0
	for _, c := range src.Classes {
		if !met[c.ID] {
			passed++
		}
	}
	failed := 0
	if src.Verdict == finding.Incomplete {
		failed = 1
	}
	b := bufio.NewWriter(w)
	counts := fmt.Sprintf(`tests="%d" failures="%d" errors="%d"`, failures+infos+passed+failed, failures, failed)
	fmt.Fprintf(b, "%s<testsuites name=\"fettle\" %s>\n", xml.Header, counts)
	fmt.Fprintf(b, " <testsuite name=\"%s\" id=\"%s\" %s%s>\n", attr(src.Store), attr(src.Run), counts, suiteTimes(src))
	for _, c := range src.Classes {
		if !met[c.ID] {
			fmt.Fprintf(b, "  <testcase classname=\"%s\" name=\"none found\"/>\n", attr(c.ID))
		}
	}
	if failed > 0 {
		fmt.Fprintf(b, "  <testcase classname=\"fettle\" name=\"complete\"><error message=\"the check did not see everything\"/></testcase>\n")
	}
	for f, err := range src.Each() {
		if err != nil {
			return err
		}
		junitCase(b, &f)
	}
	fmt.Fprintf(b, " </testsuite>\n</testsuites>\n")
	return b.Flush()
}

func suiteTimes(src *Source) string {
	out := ""
	if !src.Started.IsZero() {
		out += fmt.Sprintf(` timestamp="%s"`, src.Started.UTC().Format("2006-01-02T15:04:05"))
	}
	if src.Seconds > 0 {
		out += fmt.Sprintf(` time="%.3f"`, src.Seconds)
	}
	return out
}

func junitCase(b *bufio.Writer, f *finding.Finding) {
	fmt.Fprintf(b, "  <testcase classname=\"%s\" name=\"%s\">", attr(f.Class), attr(fmt.Sprintf("#%d %s", f.Seq, name(f))))
	var text strings.Builder
	for _, e := range f.Evidence {
		fmt.Fprintf(&text, "%s: %s\n", e.Witness, e.Says)
	}
	if f.Suggested != "" {
		fmt.Fprintf(&text, "suggested: %s", f.Suggested)
		if f.Why != "" {
			fmt.Fprintf(&text, " (%s)", f.Why)
		}
		text.WriteByte('\n')
	}
	if f.Counts() {
		fmt.Fprintf(b, "<failure type=\"%s\" message=\"%s\">%s</failure>", attr(string(f.Severity)), attr(message(f)), body(text.String()))
	} else {
		fmt.Fprintf(b, "<system-out>%s</system-out>", body(message(f)+"\n"+text.String()))
	}
	b.WriteString("</testcase>\n")
}

// attr makes s fit for an XML attribute in double quotes: no control characters, everything special escaped.
func attr(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(say.Clean(s))) // a strings.Builder does not fail
	return b.String()
}

// body makes s fit for XML text, line by line.
func body(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = attr(lines[i])
	}
	return strings.Join(lines, "\n")
}
