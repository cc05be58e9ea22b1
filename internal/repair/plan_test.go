package repair_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
)

func TestThreshold(t *testing.T) {
	for _, tc := range []struct {
		text         string
		total, limit int64
		back         string
	}{
		{"5%", 1000, 50, "5%"},
		{"200", 1000, 200, "200"},
		{"1%,100", 5000, 100, "1%,100"},
		{"100, 1%", 50000, 500, "1%,100"},
		{"0", 1 << 40, 0, "0"},
		{"0.5%", 1000, 5, "0.5%"},
		{"100%", 7, 7, "100%"},
	} {
		th, err := repair.ParseThreshold(tc.text)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if got := th.Limit(tc.total); got != tc.limit || th.String() != tc.back {
			t.Errorf("%q: limit %d, text %q; want %d, %q", tc.text, got, th, tc.limit, tc.back)
		}
	}
	for _, bad := range []string{"", "%", "-1", "101%", "1%,2%", "1,2", "1,2,3", "NaN%", "-1%", "x", "1.5"} {
		if _, err := repair.ParseThreshold(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	var def repair.Threshold
	if def.Limit(100) != 100 || def.Limit(100000) != 1000 || def.String() != "1%,100" {
		t.Errorf("the default is %s", def)
	}
}

func TestPlanFile(t *testing.T) {
	plan := damaged().plan(t, finding.Policy{ByClass: map[string]finding.Action{"mem/miscount": finding.Ignore}})
	path := filepath.Join(t.TempDir(), repair.PlanFile)
	if err := plan.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := repair.LoadFile(path, repair.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Checksum != plan.Checksum || got.Steps() != plan.Steps() || len(got.Policy) != 1 || got.Policy[0] != "mem/miscount=ignore" {
		t.Errorf("loaded %+v", got)
	}
	if n := len(got.Units[0].Pending); n != 1 {
		t.Errorf("%d pending findings", n)
	}
	st, err := repair.StateOf(filepath.Dir(path))
	if err != nil || st.State != repair.PlannedState || len(st.Units) != 2 {
		t.Errorf("state %+v, %v", st, err)
	}
	var file bytes.Buffer
	if err := plan.Write(&file); err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(file.String(), `"unlink ref/x"`, `"unlink ref/q"`, 1)
	if edited == file.String() {
		t.Fatal("nothing to edit")
	}
	if _, err := repair.Load(strings.NewReader(edited), repair.LoadOptions{}); !errors.Is(err, repair.ErrEdited) || len(fault.Hints(err)) == 0 {
		t.Errorf("an edited plan: %v", err)
	}
	if p, err := repair.Load(strings.NewReader(edited), repair.LoadOptions{AllowEdited: true}); err != nil || p.Checksum == plan.Checksum {
		t.Errorf("an edited plan, allowed: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "cut": file.String()[:500], "more": file.String() + "{}", "unknown field": strings.Replace(file.String(), `"run"`, `"rum"`, 1),
		"newer": strings.Replace(file.String(), `"schema": 1`, `"schema": 2`, 1), "array": "[]",
	} {
		if _, err := repair.Load(strings.NewReader(text), repair.LoadOptions{AllowEdited: true}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzLoadPlan(f *testing.F) {
	p := repair.Plan{Type: "plan", Schema: 1, Run: "r", Units: []repair.Unit{{Unit: "u", Steps: []store.Step{{ID: 1,
		Changes: []store.Change{{Target: "t", Addr: "a", Before: store.Bytes("\xff"), After: store.Bytes("x\x1b[2J")}}}}}}}
	if err := p.Seal(); err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if err := p.Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(`{"type":"plan","schema":1,"units":[{"unit":"u","steps":null}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := repair.Load(bytes.NewReader(raw), repair.LoadOptions{AllowEdited: true})
		if err != nil {
			return
		}
		var diff, again bytes.Buffer
		if err := p.WriteDiff(&diff); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(diff.String(), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
			t.Fatalf("the diff holds a control character at %d: %q", i, diff.String())
		}
		if err := p.Seal(); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := repair.Load(&again, repair.LoadOptions{}); err != nil {
			t.Fatalf("a sealed plan cannot be read: %v", err)
		}
	})
}

func TestDiff(t *testing.T) {
	lines := "1\n2\n3\n4\n"
	p := repair.Plan{Run: "r1", Store: "mem:x", Created: time.Unix(0, 0).UTC(), Units: []repair.Unit{{
		Unit:     "u",
		Findings: []repair.Planned{{Seq: 7, Class: "mem/x", What: "k\x1b[2Jey", Action: "unlink"}},
		Outcomes: []store.Outcome{{Seq: 7, Action: "unlink", Result: "removed", Loses: "the key"}},
		Gone:     []repair.Planned{{Seq: 8, Class: "mem/y", What: "other"}},
		Loss:     store.Loss{Dropped: 1, Total: 9, Unit: "keys"},
		Steps: []store.Step{{ID: 1, Title: "do it", Findings: []int{7}, Irreversible: true, Changes: []store.Change{
			{Target: "t", Addr: "row/1", Before: store.Bytes(lines), After: store.Bytes("1\n2\nthree\n4\n"), Note: "a row"},
			{Target: "t", Addr: "row/2", Before: store.Bytes("is"), After: store.Bytes("is")},
			{Target: "t", Addr: "row/3", After: store.Bytes{0, 1}},
			{Target: "t", Addr: "row/4", Before: store.Bytes("")},
		}}},
	}}}
	var b bytes.Buffer
	if err := p.WriteDiff(&b); err != nil {
		t.Fatal(err)
	}
	want := `plan of run r1 for mem:x, made 1970-01-01 00:00:00 UTC

unit u: 1 step, 1 finding
  drops 1 of 9 keys
  #7 mem/x k\x1b[2Jey: unlink: removed
      loses the key
  #8 mem/y other: no longer so, nothing to do

step 1: do it (repairs #7) [CANNOT BE UNDONE]
@@ t row/1 @@ a row
- ... 2 lines as before
- 3
- ... 1 line as before
+ ... 2 lines as before
+ three
+ ... 1 line as before
@@ t row/2 @@
  must be: is
@@ t row/3 @@
- (absent)
+ 0001 (2 bytes)
@@ t row/4 @@
- (empty)
+ (absent)
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestSummary(t *testing.T) {
	u := repair.Unit{Unit: "u", Loss: store.Loss{Dropped: 5, Total: 9, Unit: "keys"}}
	step := store.Step{ID: 1, Title: "mend"}
	for i := range 8 {
		u.Findings = append(u.Findings, repair.Planned{Seq: i + 1, Class: "mem/x", What: "k", Action: "unlink"})
		out := store.Outcome{Seq: i + 1, Action: "unlink", Result: "removed"}
		if i >= 4 {
			out.Loses = "the key"
		}
		u.Outcomes = append(u.Outcomes, out)
		u.Pending = append(u.Pending, repair.Planned{Seq: i + 100, Class: "mem/y", What: "p", Action: "ignore"})
		c := store.Change{Target: "t", Addr: "row", Before: store.Bytes("a"), After: store.Bytes("b")}
		switch i {
		case 5:
			c.Before = nil
		case 6:
			c.After = nil
		}
		step.Changes = append(step.Changes, c)
	}
	for i := range 12 {
		s := step
		s.ID = i + 1
		u.Steps = append(u.Steps, s)
	}
	p := repair.Plan{Run: "r1", Units: []repair.Unit{u}}
	var short, full bytes.Buffer
	if err := errors.Join(p.WriteSummary(&short), p.WriteDiff(&full)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text        string
		short, full int // how often it is there
	}{
		{"mem/x k: unlink: removed\n", 3, 8}, {"mem/y p: left as it is (ignore)\n", 3, 8},
		{"  and 5 more mem/x: unlink (4 of them with a loss)\n", 1, 0}, {"  and 5 more mem/y: left as it is (ignore)\n", 1, 0},
		{"\nstep ", 10, 12}, {"and 2 steps more\n", 1, 0}, {"@@ t row @@", 50, 96},
		{"... and 3 more records: 1 made, 1 changed, 1 removed\n", 10, 0}, {"drops 5 of 9 keys", 1, 1},
	} {
		if n, m := strings.Count(short.String(), c.text), strings.Count(full.String(), c.text); n != c.short || m != c.full {
			t.Errorf("%q: %d times in the summary, want %d; %d times in full, want %d", c.text, n, c.short, m, c.full)
		}
	}
}
