package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"fettle/internal/finding"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var classes = finding.Classes{
	{ID: "toy/gone", Title: "a reference whose object is gone", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "The object was deleted.", Actions: []finding.ActionDoc{{Action: finding.Unlink, Does: "removes it", Loses: "the name"}}},
	{ID: "toy/odd", Title: "an odd <record>", Severity: finding.Warning, Shape: finding.Mismatch, Explain: "It is odd."},
	{ID: "toy/note", Title: "worth knowing", Severity: finding.Info, Shape: finding.Orphan, Explain: "It is harmless."},
	{ID: "toy/never", Title: "never found here", Severity: finding.Error, Shape: finding.Corrupt, Explain: "Not here."},
}

func ref[T any](v T) *T { return &v }

// sample is a run with causes, consequences, groups, hostile names and every severity.
func sample() *Source {
	fs := []finding.Finding{
		{Seq: 1, Class: "toy/gone", Severity: finding.Error, Subject: "sha1-aa", Path: ref("job.1"), Group: "fA", Title: "directory is gone",
			Evidence: []finding.Evidence{{Witness: "directory sha1-cc entry 1", Says: "is a directory at sha1-aa"}, {Witness: "objects", Says: "no such row"}},
			Actions:  []finding.Action{finding.Unlink}, Suggested: finding.Unlink, Why: "no older version is there"},
		{Seq: 2, Class: "toy/odd", Severity: finding.Warning, Subject: "sha1-bb", Path: ref("evil\x1b[31m\nkey\xff"), Group: "fB",
			Title: `says "<script>alert(1)</script>" & more`, Suggested: finding.Rewrite, CausedBy: nil},
		{Seq: 3, Class: "toy/odd", Severity: finding.Warning, Subject: "sha1-bb", Path: ref("job.1.eventlog"), Group: "fA", CausedBy: ref(1)},
		{Seq: 4, Class: "toy/note", Severity: finding.Info, Subject: "row 9"},
		{Seq: 5, Class: "toy/odd", Severity: finding.Warning, Subject: "sha1-dd", Path: ref("job.1.x"), Group: "fA", CausedBy: ref(3)},
		{Seq: 6, Class: "toy/gone", Severity: finding.Error, Subject: "sha1-aa", Path: ref("job.2"), Group: "fB", Suggested: finding.Unlink},
		{Seq: 7, Class: "toy/gone", Severity: finding.Error, Subject: "sha1-aa", Path: ref("job.3"), Suggested: finding.Unlink},
		{Seq: 8, Class: "toy/alien", Severity: finding.Error, Subject: "x", Action: finding.Ignore, Result: "left as it is"},
		{Seq: 9, Class: "toy/gone", Severity: finding.Error, Subject: "sha1-ee", Path: ref("old"), Accepted: true},
	}
	for i := range fs {
		f := &fs[i]
		f.Type, f.Schema, f.Run, f.Unit = "finding", finding.Schema, "run-1", "u"
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &Source{
		Head: Head{Run: "run-1", Store: "toy:/tmp/a b", System: "toy", Version: "v1.2.3", Started: at, Seconds: 1.5,
			Verdict: finding.Damaged, Facts: []Fact{{"objects", "12"}, {"bytes", "345"}}, Notes: []string{"the newest root was skipped"},
			Next: []string{"fettle plan run-1"}},
		Classes: classes, Each: list(fs), Max: 2,
	}
}

func list(fs []finding.Finding) func() Findings {
	return func() Findings {
		return func(yield func(finding.Finding, error) bool) {
			for _, f := range fs {
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

func render(t *testing.T, fn func(io.Writer, *Source) error, src *Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := fn(&b, src); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plainText(w io.Writer, s *Source) error  { return Text(w, s, Style{}) }
func colourText(w io.Writer, s *Source) error { return Text(w, s, Style{Color: true}) }
func lines(w io.Writer, s *Source) error      { return Lines(w, s.Each()) }

var formats = []struct {
	name string
	fn   func(io.Writer, *Source) error
}{
	{"sample.txt", plainText}, {"sample.colour.txt", colourText}, {"sample.jsonl", lines},
	{"sample.sarif", SARIF}, {"sample.junit.xml", JUnit}, {"sample.html", HTML},
}

func TestGolden(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			got := render(t, f.fn, sample())
			file := filepath.Join("testdata", f.name)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs (go test -update rewrites it); got:\n%s", file, got)
			}
		})
	}
}

func TestSARIFShape(t *testing.T) {
	var log struct {
		Version string `json:"version"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID    string `json:"ruleId"`
				RuleIndex *int   `json:"ruleIndex"`
				Level     string
				Message   struct{ Text string }
			}
		}
	}
	if err := json.Unmarshal(render(t, SARIF, sample()), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 9 {
		t.Fatalf("unexpected log: %+v", log)
	}
	run := log.Runs[0]
	for _, r := range run.Results {
		if r.RuleIndex != nil && run.Tool.Driver.Rules[*r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule index %d is not %s", *r.RuleIndex, r.RuleID)
		}
		if r.Message.Text == "" || (r.Level != "error" && r.Level != "warning" && r.Level != "note") {
			t.Errorf("bad result %+v", r)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	for _, verdict := range []finding.Verdict{finding.Damaged, finding.Incomplete} {
		src := sample()
		src.Verdict = verdict
		var doc struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Suite    struct {
				Cases []struct {
					Failure *string `xml:"failure"`
					Error   *string `xml:"error"`
				} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		if err := xml.Unmarshal(render(t, JUnit, src), &doc); err != nil {
			t.Fatal(err)
		}
		failures, errs := 0, 0
		for _, c := range doc.Suite.Cases {
			if c.Failure != nil {
				failures++
			}
			if c.Error != nil {
				errs++
			}
		}
		if doc.Tests != len(doc.Suite.Cases) || doc.Failures != failures || doc.Errors != errs {
			t.Errorf("%s: header says %d/%d/%d, there are %d/%d/%d", verdict, doc.Tests, doc.Failures, doc.Errors,
				len(doc.Suite.Cases), failures, errs)
		}
	}
}

func TestHTMLIsInert(t *testing.T) {
	got := string(render(t, HTML, sample()))
	for _, bad := range []string{"<script", "http://", "https://", "\x1b", "src=", "javascript:"} {
		if strings.Contains(strings.ReplaceAll(got, "default-src", ""), bad) {
			t.Errorf("page holds %q", bad)
		}
	}
}

// Whatever the strings of a finding hold, text has no control characters and every format is well-formed.
func TestHostileStrings(t *testing.T) {
	str := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte("a<>&\"'\\\x00\x07\x1b\x7f\x80\xff\xe2\x80\xae\n\r\t{}]]>")), 0, 24).Draw(t, "s"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		f := finding.Finding{Seq: 1, Class: str.Draw(rt, "class"), Severity: finding.Error, Subject: str.Draw(rt, "subject"),
			Path: ref(str.Draw(rt, "path")), Group: str.Draw(rt, "group"), Title: str.Draw(rt, "title"), Why: str.Draw(rt, "why"),
			Suggested: finding.Action(str.Draw(rt, "action")),
			Evidence:  []finding.Evidence{{Witness: str.Draw(rt, "witness"), Says: str.Draw(rt, "says")}}}
		src := &Source{Head: Head{Run: "r", Store: str.Draw(rt, "store"), Verdict: finding.Damaged, Notes: []string{str.Draw(rt, "note")}}, Each: list([]finding.Finding{f})}
		for _, form := range formats {
			var b bytes.Buffer
			if err := form.fn(&b, src); err != nil {
				rt.Fatalf("%s: %v", form.name, err)
			}
			if !utf8.Valid(b.Bytes()) {
				rt.Fatalf("%s is not UTF-8", form.name)
			}
			switch form.name {
			case "sample.txt", "sample.html":
				for _, r := range b.String() {
					if r != '\n' && unicode.Is(unicode.C, r) {
						rt.Fatalf("%s holds control character %U", form.name, r)
					}
				}
			case "sample.sarif":
				if !json.Valid(b.Bytes()) {
					rt.Fatal("SARIF is not JSON")
				}
			case "sample.junit.xml":
				if err := xml.Unmarshal(b.Bytes(), new(struct{})); err != nil {
					rt.Fatalf("JUnit is not XML: %v", err)
				}
			}
		}
	})
}

func TestReadErrorEndsTheReport(t *testing.T) {
	boom := errors.New("boom")
	src := sample()
	src.Each = func() Findings {
		return func(yield func(finding.Finding, error) bool) { yield(finding.Finding{}, boom) }
	}
	for _, f := range formats {
		if err := f.fn(io.Discard, src); !errors.Is(err, boom) {
			t.Errorf("%s: got %v", f.name, err)
		}
	}
}

// Sequence numbers and causes come from a file and may be anything.
func TestGatherSurvivesAnyNumbers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(rt, "n")
		var fs []finding.Finding
		for range n {
			f := finding.Finding{Class: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "class"), Severity: finding.Warning,
				Seq: rapid.OneOf(rapid.IntRange(-2, 50), rapid.Int()).Draw(rt, "seq")}
			if rapid.Bool().Draw(rt, "caused") {
				f.CausedBy = ref(rapid.OneOf(rapid.IntRange(-2, 50), rapid.Int()).Draw(rt, "cause"))
			}
			fs = append(fs, f)
		}
		d, err := gather(&Source{Each: list(fs), Max: 3})
		if err != nil {
			rt.Fatal(err)
		}
		total := 0
		for _, s := range d.Sections {
			total += s.Follows + len(s.Shown) + s.Hidden()
			if len(s.Shown) > 3 || s.Hidden() < 0 {
				rt.Fatalf("section %+v", s)
			}
		}
		if total != n || d.Total != n {
			rt.Fatalf("%d findings, %d accounted for", n, total)
		}
	})
}

func TestVerdictLine(t *testing.T) {
	h := &Head{Run: "r1", Store: "s", Verdict: finding.Clean}
	for _, c := range []struct {
		t    Tally
		want string
	}{
		{Tally{}, "s: clean: nothing found (run r1)"},
		{Tally{Errors: 27, Roots: 4}, "s: clean: 27 errors from 4 causes (run r1)"},
		{Tally{Errors: 1, Warnings: 1, Infos: 2, Roots: 2}, "s: clean: 1 error, 1 warning, 2 infos (run r1)"},
	} {
		if got := VerdictLine(h, c.t, Style{}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	h = &Head{Run: "r1", Store: "s", Verdict: finding.Incomplete, Partial: true}
	for want, tally := range map[string]Tally{
		"s: incomplete: not finished, no findings yet (run r1)":            {},
		"s: incomplete: not finished, so far 2 errors, 1 warning (run r1)": {Errors: 2, Warnings: 1, Roots: 3},
	} {
		if got := VerdictLine(h, tally, Style{}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func BenchmarkText(b *testing.B) {
	const n = 100_000
	src := sample()
	src.Each = func() Findings {
		return func(yield func(finding.Finding, error) bool) {
			for i := 1; i <= n; i++ {
				if !yield(finding.Finding{Seq: i, Class: "toy/gone", Severity: finding.Error, Subject: fmt.Sprint(i)}, nil) {
					return
				}
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Text(io.Discard, src, Style{}); err != nil {
			b.Fatal(err)
		}
	}
}
