package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// The exit codes are an interface: these are the bits of fsck(8).
func TestExitTable(t *testing.T) {
	want := map[string]int{"clean": 0, "repaired": 1, "unrepaired": 4, "error": 8, "usage": 16, "cancelled": 32}
	got := map[string]int{"clean": exitClean, "repaired": exitRepaired, "unrepaired": exitUnrepaired, "error": exitError, "usage": exitUsage, "cancelled": exitCancelled}
	seen := 0
	for name, code := range want {
		if got[name] != code {
			t.Errorf("%s is %d, want %d", name, got[name], code)
		}
		if seen&code != 0 {
			t.Errorf("%s shares a bit", name)
		}
		seen |= code
	}
	if len(exitTable) != len(want) {
		t.Errorf("the table has %d rows, want %d", len(exitTable), len(want))
	}
	for _, row := range exitTable {
		if row.Means == "" || seen|row.Code != seen {
			t.Errorf("bad row %+v", row)
		}
	}
}

func TestExitOf(t *testing.T) {
	for v, want := range map[finding.Verdict]int{finding.Clean: 0, finding.Repaired: 1, finding.Damaged: 4, finding.Incomplete: 8} {
		if got := exitOf(v); got != want {
			t.Errorf("%s: %d, want %d", v, got, want)
		}
	}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {exit(0), 0}, {exit(5), 5}, {errors.New("x"), 8}, {context.Canceled, 32}, {fmt.Errorf("a: %w", context.Canceled), 32},
		{&fault.Error{Err: context.Canceled, Kind: fault.Unrepaired}, 4}, {usagef("", "x"), 16}, {fmt.Errorf("a: %w", usagef("", "x")), 16},
		{errQuit, 4}, {errors.Join(errors.New("x"), &fault.Error{Kind: fault.Cancelled}), 32},
	} {
		if got := exitOfError(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// Every verb says what it does, how to call it and how it exits.
func TestHelpIsComplete(t *testing.T) {
	n := 0
	walk(New(Env{Systems: []store.System{toySystem{}}}).Root(), func(c *cobra.Command) {
		n++
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if !strings.Contains(c.Example, "fettle") || strings.Contains(c.Example, "\t") {
			t.Errorf("%s: no examples", c.CommandPath())
		}
		if c.Annotations["exit"] == "" {
			t.Errorf("%s: no exit status", c.CommandPath())
		}
		for _, f := range flagsOf(c.LocalFlags()) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no usage", c.CommandPath(), f.Name)
			}
		}
	})
	if n < 18 {
		t.Errorf("only %d commands", n)
	}
}

// Every example in a help text is a command line that parses.
func TestExamplesParse(t *testing.T) {
	a := New(Env{Systems: []store.System{toySystem{}}})
	walk(a.Root(), func(c *cobra.Command) {
		for _, l := range strings.Split(c.Example, "\n") {
			l, _, _ = strings.Cut(strings.TrimSpace(l), " | ")
			l, _, _ = strings.Cut(l, " > ")
			words := exampleWords(l)
			if len(words) == 0 || words[0] != "fettle" {
				t.Errorf("%s: example %q", c.CommandPath(), l)
				continue
			}
			cmd, rest, err := New(Env{}).Root().Find(words[1:])
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil {
				t.Errorf("example %q: %v", l, err)
			}
		}
	})
}

// exampleWords cuts a line at spaces outside of single quotes.
func exampleWords(l string) []string {
	var out []string
	for i, part := range strings.Split(l, "'") {
		switch {
		case i%2 == 0:
			out = append(out, strings.Fields(part)...)
		default:
			out = append(out, part)
		}
	}
	return out
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		bad  bool
	}{
		{in: "0"}, {in: "4096", want: 4096}, {in: "256MiB", want: 256 << 20}, {in: "256M", want: 256 << 20}, {in: "1.5g", want: 3 << 29},
		{in: "20MiB/s", want: 20 << 20}, {in: "1 KB", want: 1024}, {in: "", bad: true}, {in: "lots", bad: true}, {in: "-1", bad: true},
		{in: "9999P", bad: true}, {in: "NaN", bad: true}, {in: "Inf", bad: true},
	} {
		got, err := parseSize(c.in)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("%q: %d, %v", c.in, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := size(rapid.Int64Range(0, 1<<52).Draw(t, "n"))
		var again size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Fatalf("%d -> %s -> %d, %v", s, s.String(), again, err)
		}
	})
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"job.*.eventlog", "job.1.2.eventlog", true}, {"job.*.eventlog", "job.eventlog", false},
		{"*a*b*", "xaxbx", true}, {"*a*b*", "xbxax", false}, {"a*a", "a", false}, {"[x", "[x", true},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestShellName(t *testing.T) {
	for in, want := range map[string]string{"a/b.sqlite": "a/b.sqlite", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "toy:a,b": "toy:a,b", "1%": "1%"} {
		if got := shellName(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestTimesForPeople(t *testing.T) {
	for in, want := range map[float64]string{0: "0 s", 59.4: "59 s", 60: "1 min 0 s", 3725: "1 h 2 min"} {
		if got := durationText(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	for in, bad := range map[string]bool{"12h": false, "30d": false, "0d": false, "d": true, "-1d": true, "1.5d": true, "x": true, "-1h": true, "99999999d": true} {
		if _, err := parseAge(in); (err != nil) != bad {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestProgressLine(t *testing.T) {
	got := progressLine(runs.Progress{Title: "reading\x1b", Records: 12345, TotalRecords: 50000, RecordsPerSecond: 999, BytesPerSecond: 3 << 20, ETA: 61, Findings: 2})
	if want := `reading\x1b  25 %  12.3 k of 50.0 k records  999/s  3.0 MiB/s  ETA 1 min 1 s  2 found`; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := progressLine(runs.Progress{Pass: "p", ETA: -1}); got != "p  0 records" {
		t.Errorf("got %q", got)
	}
}

// On a fake clock: nothing for two seconds, then how far, how fast and how long still; nothing but that on a terminal, one
// line per second as JSON, and nothing at all elsewhere.
func TestMeteredWork(t *testing.T) {
	for name, c := range map[string]struct{ tty, json bool }{"terminal": {tty: true}, "json": {json: true}, "pipe": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				p := &progress{app: &App{Env: Env{Err: &out}}, run: "r1", json: c.json, tty: c.tty, begun: time.Now()}
				ctx, done := p.follow(t.Context())
				part := store.Begin(ctx, "write", "writing the store", 100, 0)
				work := func(n int64) {
					for range n {
						time.Sleep(100 * time.Millisecond)
						part.Did(1, 0)
					}
					synctest.Wait()
				}
				work(19) // 1.9 s
				early := out.String()
				work(31) // 5 s
				part.End()
				done()
				switch got := out.String(); {
				case c.tty:
					if early != "" || !strings.Contains(got, "\r\x1b[Kwriting the store  ") || !strings.Contains(got, " of 100 records  10/s  ETA 6 s") || !strings.HasSuffix(got, "\r\x1b[K") {
						t.Errorf("early %q, then %q", early, got)
					}
				case c.json:
					lines := strings.Split(strings.TrimSpace(got), "\n")
					if len(lines) != 5 || !strings.Contains(lines[1], `{"type":"progress","schema":1,"run":"r1","pass":"write","title":"writing the store","records":1`) ||
						!strings.Contains(lines[1], `"total_records":100`) {
						t.Errorf("%q", lines)
					}
				case got != "":
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestKeyRules(t *testing.T) {
	got := keyRules([]string{"toy/odd=info", "TOY_DANGLING:x=info", "job.*.guest.*=info", "*=info", "toy/*:a=b=info", "nonsense"}, toyClasses)
	want := []string{"toy/odd=info", "TOY_DANGLING:x=info", "*:job.*.guest.*=info", "*=info", "toy/*:a=b=info", "nonsense"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q", got)
	}
}

// Manual pages must not let text become a request.
func TestRoff(t *testing.T) {
	for in, want := range map[string]string{".TH x": `\&.TH x`, "'br": `\&'br`, `a\b`: `a\eb`, "--json": `\-\-json`} {
		if got := roff(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	a := New(Env{Version: "v1"})
	walk(a.Root(), func(c *cobra.Command) {
		var b bytes.Buffer
		if err := a.manPage(&b, c); err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(b.String(), "\n") {
			if strings.HasPrefix(l, ".") && !strings.Contains(" .TH .SH .B .BR .TP .PP .nf .fi ", " "+strings.Fields(l)[0]+" ") {
				t.Errorf("%s: unexpected request %q", c.CommandPath(), l)
			}
		}
	})
}
