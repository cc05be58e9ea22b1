package runs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/finding"
)

// writeFindings appends findings with these numbers, each caused by the one given before it.
func writeFindings(t testing.TB, r *Run, keep func(finding.Finding) bool, seqs ...int) {
	t.Helper()
	l, err := r.OpenLog(keep)
	if err != nil {
		t.Fatal(err)
	}
	var before *int
	for _, s := range seqs {
		f := finding.Finding{Type: "finding", Schema: 1, Seq: s, Class: "fake/lost", Subject: fmt.Sprintf("s%d", s), CausedBy: before}
		if err := l.Append(&f); err != nil {
			t.Fatal(err)
		}
		before = &s
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func all(finding.Finding) bool { return true }

// read returns the findings as "seq subject<cause", or the error as the last element.
func read(r *Run) []string {
	var out []string
	for f, err := range r.Findings() {
		if err != nil {
			return append(out, "error: "+err.Error())
		}
		s := fmt.Sprintf("%d %s", f.Seq, f.Subject)
		if f.CausedBy != nil {
			s += fmt.Sprintf("<%d", *f.CausedBy)
		}
		if f.Result != "" {
			s += " " + string(f.Action) + ": " + f.Result
		}
		out = append(out, s)
	}
	return out
}

func TestTornAndDamagedLines(t *testing.T) {
	d := testDir(t)
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   string // findings, joined
	}{
		"nothing":                     {func(b []byte) []byte { return b }, "1 s1,2 s2<1,3 s3<2"},
		"last line torn":              {func(b []byte) []byte { return b[:len(b)-9] }, "1 s1,2 s2<1"},
		"only the newline is missing": {func(b []byte) []byte { return b[:len(b)-1] }, "1 s1,2 s2<1"},
		"last line never written":     {func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, "1 s1,2 s2<1,3 s3<2"},
		"last line is nonsense":       {func(b []byte) []byte { return append(b, "{\"type\":\"fi\n"...) }, "1 s1,2 s2<1,3 s3<2"},
		"empty":                       {func(b []byte) []byte { return nil }, ""},
		"garbage in the midst":        {func(b []byte) []byte { return bytes.Replace(b, []byte("\n{"), []byte("\n["), 1) }, "1 s1,error: line 2"},
		"an empty line in the midst":  {func(b []byte) []byte { return bytes.Replace(b, []byte("\n"), []byte("\n\n"), 1) }, "1 s1,error: line 2"},
		"a line of another kind":      {func(b []byte) []byte { return append([]byte("{\"type\":\"summary\"}\n"), b...) }, "error: line 1"},
	} {
		r := testRun(t, d, "")
		writeFindings(t, r, nil, 1, 2, 3)
		b, err := os.ReadFile(r.File(FindingsFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.File(FindingsFile), c.damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		got := read(r)
		if n := len(got); n > 0 && strings.HasPrefix(got[n-1], "error") {
			_, rest, _ := strings.Cut(got[n-1], FindingsFile)
			line, _, _ := strings.Cut(rest, ":")
			got[n-1] = "error:" + line
		}
		if s := strings.Join(got, ","); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
		if strings.Contains(c.want, "error") {
			continue
		}
		// Appending goes on after the last whole line.
		kept := len(got)
		writeFindings(t, r, all, 9)
		if got := read(r); len(got) != kept+1 || got[kept] != "9 s9" {
			t.Errorf("%s: after appending: %q", name, got)
		}
	}
}

func TestTooLongLine(t *testing.T) {
	r := testRun(t, testDir(t), "")
	f, err := os.Create(r.File(FindingsFile))
	if err != nil {
		t.Fatal(err)
	}
	// Sparse: a hole without a newline.
	if err := f.Truncate(maxLine + 10); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(r); len(got) != 1 || !strings.Contains(got[0], "longer than") {
		t.Errorf("%q", got)
	}
}

// Whatever is kept, the file holds just that, and what is appended follows it.
func TestOpenLogKeeps(tt *testing.T) {
	d := testDir(tt)
	rapid.Check(tt, func(t *rapid.T) {
		keep := rapid.SliceOfN(rapid.Bool(), 0, 12).Draw(t, "keep")
		r, err := d.New(Spec{})
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(r.Path())
		var seqs, want []int
		for i, k := range keep {
			seqs = append(seqs, i+1)
			if k {
				want = append(want, i+1)
			}
		}
		writeFindings(tt, r, nil, seqs...)
		writeFindings(tt, r, func(f finding.Finding) bool { return keep[f.Seq-1] }, 100)
		var got []int
		for f, err := range r.Findings() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Seq)
		}
		if !slices.Equal(got, append(want, 100)) {
			t.Fatalf("got %v, want %v and 100", got, want)
		}
	})
}

func TestTidyFindings(t *testing.T) {
	d := testDir(t)
	for name, c := range map[string]struct {
		seqs  []int
		want  string
		moved int
	}{
		"in order":         {[]int{1, 2, 3}, "1 s1,2 s2<1,3 s3<2", 0},
		"out of order":     {[]int{1, 3, 2}, "1 s1,2 s2<3,3 s3<1", 0},
		"gaps":             {[]int{2, 5, 9}, "1 s2,2 s5<1,3 s9<2", 3},
		"gaps, disordered": {[]int{9, 1, 5}, "1 s1<3,2 s5<1,3 s9", 2},
		"nothing":          {nil, "", 0},
	} {
		r := testRun(t, d, "")
		writeFindings(t, r, nil, c.seqs...)
		moved, err := r.TidyFindings()
		if got := strings.Join(read(r), ","); err != nil || got != c.want || len(moved) != c.moved {
			t.Errorf("%s: %s, want %s; moved %v; %v", name, got, c.want, moved, err)
		}
	}
	if _, err := testRun(t, d, "").TidyFindings(); err != nil {
		t.Errorf("no file at all: %v", err)
	}
}

func TestOutcomesOverlay(t *testing.T) {
	r := testRun(t, testDir(t), "")
	writeFindings(t, r, nil, 1, 2, 3)
	add := func(o ...Outcome) {
		t.Helper()
		if err := r.AddOutcomes(o...); err != nil {
			t.Fatal(err)
		}
	}
	add(Outcome{Seq: 1, Action: finding.Unlink, Result: "planned", Stage: "plan"}, Outcome{Seq: 2, Action: finding.Ignore, Result: "left"})
	add(Outcome{Seq: 1, Action: finding.Unlink, Result: "done", Stage: "apply"})
	add()
	want := "1 s1 unlink: done,2 s2<1 ignore: left,3 s3<2"
	if got := strings.Join(read(r), ","); got != want {
		t.Errorf("%s", got)
	}
	// A crash tore the last line; the next outcome must not be glued to it.
	f, err := os.OpenFile(r.File(OutcomesFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":3,"action":"unl`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(read(r), ","); got != want {
		t.Errorf("torn: %s", got)
	}
	add(Outcome{Seq: 1, Stage: "undo"}, Outcome{Seq: 3, Action: finding.Unlink, Result: "done"})
	if got := strings.Join(read(r), ","); got != "1 s1,2 s2<1 ignore: left,3 s3<2 unlink: done" {
		t.Errorf("after undo: %s", got)
	}
	if outs, err := r.Outcomes(); err != nil || len(outs) != 5 || outs[4].At.IsZero() {
		t.Errorf("%+v, %v", outs, err)
	}
	if f, err := r.Finding(3); err != nil || f.Result != "done" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := r.Finding(4); err == nil {
		t.Error("finding 4 was found")
	}
	for range 2 {
		if err := r.DropOutcomes(); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(read(r), ","); got != "1 s1,2 s2<1,3 s3<2" {
		t.Errorf("dropped: %s", got)
	}
}

// Reading never fails in another way than by an error, sees only what is in the file, and opening the log for append
// leaves what reading saw.
func FuzzFindings(f *testing.F) {
	f.Add([]byte("{\"type\":\"finding\",\"seq\":1}\n{\"type\":\"finding\",\"seq\":2}\n"))
	f.Add([]byte("{\"type\":\"finding\",\"seq\":1}\n{\"type\":\"fin"))
	f.Add([]byte("\n\n\n"))
	f.Add([]byte("{\"type\":\"finding\",\"seq\":9223372036854775807,\"caused_by\":1}\nnull\n"))
	dir := testDir(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dir.New(Spec{})
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(r.Path())
		if err := os.WriteFile(r.File(FindingsFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		before := read(r)
		if n := len(before); n > 0 && strings.HasPrefix(before[n-1], "error: ") {
			if _, err := r.OpenLog(all); err == nil {
				t.Error("a damaged file was opened for appending")
			}
			return
		}
		writeFindings(t, r, all, 1)
		if after := read(r); len(after) != len(before)+1 || !slices.Equal(after[:len(before)], before) {
			t.Errorf("before %q, after %q", before, after)
		}
	})
}
