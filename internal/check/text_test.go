package check

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b.c", true}, {"fake/*", "fake/lost", true}, {"fake/*", "fak/lost", false},
		{"job.*.guest.output", "job.0000.0016.0400.0000.guest.output", true}, {"job.*.guest.output", "job.guest.output", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*a*b", "xxaxxb", true}, {"*a*b", "xxaxxbx", false},
		{strings.Repeat("*a", 50) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%.20q, %.20q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestGlobIsTheRegexpItStandsFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab.*?]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab.]{0,8}`).Draw(t, "s")
		re := regexp.QuoteMeta(pattern)
		re = strings.ReplaceAll(strings.ReplaceAll(re, `\*`, ".*"), `\?`, ".")
		if want := regexp.MustCompile("^(?:" + re + ")$").MatchString(s); glob(pattern, s) != want {
			t.Fatalf("glob(%q, %q) = %v", pattern, s, !want)
		}
	})
}

func TestParseSeverities(t *testing.T) {
	got, err := ParseSeverities([]string{"fake_lost:a=b:c=info", "fake/*=warning", "*=error"}, fakeClasses)
	want := []SeverityRule{{"fake/lost", "a=b:c", finding.Info}, {"fake/*", "", finding.Warning}, {"*", "", finding.Error}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "fake/lost", "fake/lost=", "fake/lost=grave", "nobody/*=info", ":x=info"} {
		if _, err := ParseSeverities([]string{bad}, fakeClasses); fault.KindOf(err) != fault.Usage || len(fault.Hints(err)) == 0 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseBaselineErrors(t *testing.T) {
	for text, want := range map[string]string{
		"fake/lost a\nfake/new b\n": "base line 2: no class is called \"fake/new\"",
		"fake/lost\n":               "base line 1: nothing after",
		"fake/lost \"a\n":           "base line 1: the quoted key",
		"# fine\nfake/lost " + strings.Repeat("x", 2e6): "base line 2:",
	} {
		if _, err := ParseBaseline(strings.NewReader(text), "base", fakeClasses); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Usage {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := ReadBaseline("/nonexistent/baseline", fakeClasses); fault.KindOf(err) != fault.Usage {
		t.Error(err)
	}
}

// Whatever a finding is about, the line made of it accepts it, and nothing else.
func TestBaselineLineAccepts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.String().Filter(func(s string) bool { return len(s) < 1000 }).Draw(t, "path")
		f := finding.Finding{Class: "fake/lost", Path: &path}
		if path == "" {
			return // a finding about nothing cannot be named
		}
		b, err := ParseBaseline(strings.NewReader("\n"+BaselineLine(&f)+"\n"), "x", fakeClasses)
		if err != nil {
			t.Fatal(err)
		}
		other := path + "x"
		if !b.accepts(&f) || b.accepts(&finding.Finding{Class: "fake/lost", Path: &other}) || b.accepts(&finding.Finding{Class: "fake/odd", Path: &path}) {
			t.Fatalf("%q", BaselineLine(&f))
		}
	})
}

func FuzzParseBaseline(f *testing.F) {
	f.Add("fake/lost a b\n# c\n\nFAKE_LOST \"x\\n\"\n")
	f.Add("fake/odd \"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBaseline(strings.NewReader(text), "x", fakeClasses)
		if err != nil {
			return
		}
		for e := range b.entries {
			if !b.accepts(&finding.Finding{Class: e.class, Subject: e.key}) {
				t.Errorf("entry %q does not accept what it names", e)
			}
		}
		if b.unmet() != 0 {
			t.Error("an entry was not met")
		}
	})
}
