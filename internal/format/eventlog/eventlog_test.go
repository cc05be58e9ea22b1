package eventlog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"fettle/internal/format/fluid"

	"pgregory.net/rapid"
)

func ev(ts, name, context string) string {
	if context != "" {
		context = `,"context":` + context
	}
	return `{"timestamp":` + ts + `,"name":"` + name + `"` + context + "}\n"
}

func TestParseLines(t *testing.T) {
	good := ev("1.5", "a", "")
	cases := []struct {
		in        string
		entries   int
		rules     string
		decodable bool
	}{
		{"", 0, "", true},
		{good, 1, "", true},
		{good + ev("2", "b", `{"x":1}`), 2, "", true},
		{good + `{"timestamp":2,"na`, 1, "truncated@2:29", true},
		{`{"timestamp":2,"name":"a"}`, 0, "truncated@1:0", false},
		{good + "\n" + good, 2, "empty-line@2:29", false},
		{good + "garbage\n" + good, 2, "json@2:29", false},
		{good + "[1]\n" + good, 2, "json@2:29", false},
		{`{"name":"a"}` + "\n", 0, "timestamp@1:0", false},
		{`{"timestamp":"1","name":"a"}` + "\n", 0, "timestamp@1:0", false},
		{`{"timestamp":1e999,"name":"a"}` + "\n", 0, "json@1:0", false},
		{`{"timestamp":1,"name":"a\u0000"}` + "\n", 1, "", true},
		{`{"timestamp":1,"name":"a\ud800"}` + "\n", 0, "json@1:0", false},
		{`{"timestamp":1,"name":"a","x":99999999999999999999}` + "\n", 0, "json@1:0", false},
		{`{"timestamp":1,"Name":"a"}` + "\n", 0, "name@1:0", false},
		{`{"timestamp":1,"name":5}` + "\n", 0, "name@1:0", false},
		{`{"timestamp":1,"name":"a","context":null}` + "\n", 0, "context@1:0", false},
		{`{"timestamp":1,"name":"` + "\xff" + `"}` + "\n", 0, "utf8@1:0", false},
		{`{"timestamp":1,"name":"a"} x` + "\n" + good[:5], 0, "json@1:0 truncated@2:29", false},
	}
	for _, c := range cases {
		l := Parse([]byte(c.in))
		var rules []string
		for _, e := range l.Errors {
			rules = append(rules, fmt.Sprintf("%s@%d:%d", e.Rule, e.Line, e.Offset))
		}
		if len(l.Entries) != c.entries || strings.Join(rules, " ") != c.rules || l.Decodable() != c.decodable {
			t.Errorf("%q: %d entries, %q, decodable %v", c.in, len(l.Entries), rules, l.Decodable())
		}
	}
	e := Parse([]byte(ev("1795225792.9700001", "drain", ` {"a":"é"}`))).Entries[0]
	if e.TimeText != "1795225792.9700001" || e.Timestamp != 1795225792.97 || string(e.Context) != `{"a":"é"}` || e.Line != 1 {
		t.Errorf("%+v", e)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	l := Parse([]byte(strings.Repeat("\n", 5*MaxErrors)))
	if len(l.Errors) != MaxErrors || l.ErrorCount != 5*MaxErrors {
		t.Errorf("%d listed of %d", len(l.Errors), l.ErrorCount)
	}
}

const submit = `{"userid":1000,"urgency":16,"flags":2,"version":1}`

// jobLog makes a log; items are "name" or "name{context}", one second apart.
func jobLog(items ...string) []Entry {
	var sb strings.Builder
	for i, it := range items {
		name, ctx, ok := strings.Cut(it, "{")
		if ok {
			ctx = "{" + ctx
		}
		sb.WriteString(ev(fmt.Sprintf("%d.5", 100+i), name, ctx))
	}
	return Parse([]byte(sb.String())).Entries
}

func TestReplayJob(t *testing.T) {
	sub, prio := "submit"+submit, `priority{"priority":16}`
	fatal, note := `exception{"type":"cancel","severity":0}`, `exception{"type":"x","severity":1}`
	run := []string{sub, "validate", "depend", prio, `alloc{}`, "start"}
	end := []string{`finish{"status":0}`, `release{"ranks":"all","final":true}`, "free", "clean"}
	join := func(a []string, b ...string) []string { return append(a[:len(a):len(a)], b...) }
	cases := []struct {
		name     string
		items    []string
		state    State
		problems string
		loadable bool
	}{
		{"empty", nil, StateNew, "no-events", false},
		{"new", []string{sub}, StateNew, "", true},
		{"depend", []string{sub, "validate"}, StateDepend, "", true},
		{"sched", []string{sub, "validate", "depend", prio}, StateSched, "", true},
		{"urgency", []string{sub, "validate", "depend", prio, `urgency{"urgency":31}`}, StatePriority, "", true},
		{"restart", []string{sub, "validate", "depend", prio, "flux-restart", prio}, StateSched, "", true},
		{"run", run, StateRun, "", true},
		{"exception 1", join(run, note), StateRun, "", true},
		{"cancelled", join(run, fatal), StateCleanup, "", true},
		{"done", join(run, end...), StateInactive, "", true},
		{"cancelled early", []string{sub, "validate", "depend", prio, fatal, "clean"}, StateInactive, "", true},
		{"unversioned", []string{`submit{"userid":1,"urgency":1,"flags":0}`, "depend", prio}, StateSched, "", true},
		{"unknown event", join(run, "memo{}", "x-y{}"), StateRun, "", true},
		{"invalidated", []string{sub, "invalidate"}, StateNew, "", true},
		{"first event lost", run[1:], StateRun, "first-not-submit order", false},
		{"alloc lost", join([]string{sub, "validate", "depend", prio, "start"}, end...), StateSched, "order order order", true},
		{"tail without finish", join(run, "clean"), StateRun, "order", true},
		{"submit twice", join(run, sub), StateRun, "submit-again", false},
		{"version 2", []string{`submit{"userid":1,"urgency":1,"flags":0,"version":2}`}, StateNew, "version", false},
		{"submit empty", []string{"submit"}, StateDepend, "context context context", false},
		{"priority empty", []string{sub, "validate", "depend", "priority{}"}, StateSched, "context", false},
		{"exception empty", join(run, "exception{}"), StateRun, "context", false},
		{"after clean", join(join(run, end...), "start"), StateInactive, "after-clean", true},
		{"early fatal", []string{sub, fatal}, StateNew, "fatal-in-new", true},
	}
	for _, c := range cases {
		j := ReplayJob(jobLog(c.items...))
		var rules []string
		for _, p := range j.Problems {
			rules = append(rules, string(p.Rule))
		}
		if j.State != c.state || strings.Join(rules, " ") != c.problems || j.Loadable() != c.loadable {
			t.Errorf("%s: %s, %+v, loadable %v", c.name, j.State, j.Problems, j.Loadable())
		}
	}
	j := ReplayJob(jobLog(run...))
	if j.UserID != 1000 || j.Urgency != 16 || j.Priority != 16 || j.Flags != 2 || j.Submitted != 100.5 || j.Last != 105.5 || !j.HasResources || !j.Active() {
		t.Errorf("%+v", j)
	}
	if ReplayJob(jobLog(sub, "invalidate")).Active() || ReplayJob(jobLog(join(run, end...)...)).Active() {
		t.Error("a discarded or finished job is active")
	}
	back := Parse([]byte(ev("5.5", "submit", submit) + ev("4.5", "validate", ""))).Entries
	if p := ReplayJob(back).Problems; len(p) != 1 || p[0].Rule != RuleTimeBackwards || p[0].Index != 1 {
		t.Errorf("%+v", p)
	}
}

func TestShutdown(t *testing.T) {
	for in, want := range map[string]Shutdown{"": ShutdownUnknown, "start": ShutdownUnclean, "start finish": ShutdownClean, "start finish start x": ShutdownUnclean} {
		if got, _ := ShutdownOf(jobLog(strings.Fields(in)...)); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func drains(t *testing.T, ckpt string, items ...string) (*Drains, []Problem) {
	t.Helper()
	d := &Drains{}
	var problems []Problem
	if ckpt != "" {
		var err error
		if d, problems, err = ParseDrains([]byte(ckpt)); err != nil {
			t.Fatal(err)
		}
	}
	return d, append(problems, d.Apply(jobLog(items...))...)
}

func TestDrains(t *testing.T) {
	ckpt := `{"timestamp":100.6,"drain_state":{"1-2":{"timestamp":50.0,"reason":"old","nodelist":"n[1-2]"},"3":{"timestamp":60.0,"reason":"","nodelist":"n3"}}}`
	d1 := func(extra string) string { return `drain{"idset":"1","nodelist":"n1"` + extra + `}` }
	cases := []struct {
		name, ckpt string
		items      []string
		want       string
		problems   string
	}{
		{"none", "", nil, "", ""},
		{"checkpoint", ckpt, nil, "n1@50:old n2@50:old n3@60", ""},
		{"older event is ignored", ckpt, []string{d1(`,"reason":"x","overwrite":2`)}, "n1@50:old n2@50:old n3@60", ""},
		{"update keeps a reason", ckpt, []string{"x", d1(`,"reason":"x","overwrite":0`)}, "n1@50:old n2@50:old n3@60", ""},
		{"update sets a reason", ckpt, []string{"x", `drain{"idset":"3","nodelist":"n3","reason":"new","overwrite":0}`}, "n1@50:old n2@50:old n3@60:new", ""},
		{"overwrite keeps the time", ckpt, []string{"x", d1(`,"reason":"x","overwrite":1`)}, "n1@50:x n2@50:old n3@60", ""},
		{"no overwrite means 1", ckpt, []string{"x", d1(``)}, "n1@50 n2@50:old n3@60", ""},
		{"overwrite 2 sets the time", ckpt, []string{"x", d1(`,"reason":"x","overwrite":2`)}, "n1@101.5:x n2@50:old n3@60", ""},
		{"undrain", ckpt, []string{"x", `undrain{"idset":"1-2","nodelist":"n[1-2]"}`, d1(`,"overwrite":0`)}, "n1@102.5 n3@60", ""},
		{"by host", ckpt, []string{"x", `undrain{"idset":"7","nodelist":"n1"}`}, "n2@50:old n3@60", ""},
		{"bad events are skipped", "", []string{`drain{"idset":"1"}`, `drain{"idset":"01","nodelist":"a"}`, `drain{"idset":"1","nodelist":"a["}`, `drain{"idset":"1","nodelist":"a","reason":null}`, `drain{"idset":"1","nodelist":"a","overwrite":"1"}`, `undrain{}`, "drain", d1("")},
			"n1@107.5", "context targets targets context context context context"},
		{"more ranks than hosts", "", []string{`drain{"idset":"0-9","nodelist":"a,b"}`}, "a@100.5 b@100.5", "no-host"},
		{"bad checkpoint entries", `{"timestamp":1,"drain_state":{"x":{"timestamp":1.5,"reason":"","nodelist":"a"},"1":{"timestamp":2,"reason":"r","nodelist":"b"},"2":7,"3":{"timestamp":1.5,"nodelist":"c"}}}`, nil, "b@2:r", "context context context context targets"},
	}
	for _, c := range cases {
		d, problems := drains(t, c.ckpt, c.items...)
		var nodes, rules []string
		for _, n := range d.Nodes() {
			s := fmt.Sprintf("%s@%v", n.Host, n.Timestamp)
			if n.HasReason {
				s += ":" + n.Reason
			}
			nodes = append(nodes, s)
		}
		for _, p := range problems {
			rules = append(rules, string(p.Rule))
		}
		if strings.Join(nodes, " ") != c.want || strings.Join(rules, " ") != c.problems {
			t.Errorf("%s: %q %+v", c.name, nodes, problems)
		}
	}
	for _, in := range []string{"", "7", "{}", `{"timestamp":1.5}`, `{"timestamp":1.5,"drain_state":[]}`, `{"timestamp":"x","drain_state":{}}`} {
		if _, _, err := ParseDrains([]byte(in)); err == nil {
			t.Errorf("ParseDrains(%q) succeeds", in)
		}
	}
}

func TestDrainsEncode(t *testing.T) {
	d, _ := drains(t, "", `drain{"idset":"1-2","nodelist":"n[1-2]","reason":"a\"é"}`, `drain{"idset":"2","nodelist":"n9"}`)
	got, err := d.Encode(200)
	want := `{"drain_state":{"0":{"timestamp":102.0,"reason":"","nodelist":"n9"},"1-2":{"timestamp":101.0,"reason":"a\"é","nodelist":"n[1-2]"}},"timestamp":200.0}`
	if err != nil || string(got) != want {
		t.Errorf("%s %v", got, err)
	}
	for _, n := range []Drained{{Host: "a b"}, {Host: "a", Reason: "\xff"}, {Host: "a", Reason: "\x00"}, {Host: "a", Rank: 1 << 31}} {
		if err := d.Set(n); err == nil {
			t.Errorf("Set(%+v) succeeds", n)
		}
	}
}

func TestDrainsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &Drains{}
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			reason := rapid.SampledFrom([]string{"", "x", "é\"\\\n\x01"}).Draw(t, "reason")
			n := Drained{Host: rapid.StringMatching(`[a-c][0-9]{0,2}`).Draw(t, "host"), Rank: rapid.Uint32Range(0, 5).Draw(t, "rank"),
				Timestamp: float64(rapid.IntRange(0, 3).Draw(t, "at")), Reason: reason, HasReason: reason != ""}
			if err := d.Set(n); err != nil {
				t.Fatal(err)
			}
		}
		text, err := d.Encode(1.5)
		if err != nil {
			t.Fatal(err)
		}
		back, problems, err := ParseDrains(text)
		if err != nil || len(problems) > 0 {
			t.Fatal(string(text), problems, err)
		}
		a, b := d.Nodes(), back.Nodes()
		for i := range a {
			a[i].Rank = 0
		}
		for i := range b {
			b[i].Rank = 0
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%s\n%+v\n%+v", text, a, b)
		}
	})
}

func TestJobManagerCheckpoint(t *testing.T) {
	in := `{"version":1,"max_jobid":239511535616,"queue":[{"name":"a/b", "x":1}],"new":null}`
	c, err := ParseJobManagerCheckpoint([]byte(in))
	if err != nil || c.MaxJobID != 239511535616 || !c.HasQueue() {
		t.Fatal(c, err)
	}
	c.MaxJobID = fluid.Max
	want := `{"max_jobid":-1,"new":null,"queue":[{"name":"a/b","x":1}],"version":1}`
	if got := string(c.Encode()); got != want {
		t.Errorf("%s", got)
	}
	if back, err := ParseJobManagerCheckpoint(c.Encode()); err != nil || back.MaxJobID != fluid.Max {
		t.Error(back, err)
	}
	if got := string(NewJobManagerCheckpoint(5).Encode()); got != `{"max_jobid":5,"version":1}` {
		t.Errorf("%s", got)
	}
	for _, bad := range []string{"", "[]", "{}", `{"version":2,"max_jobid":1}`, `{"version":"1","max_jobid":1}`, `{"max_jobid":1.0}`, `{"max_jobid":"1"}`, `{"max_jobid":1`} {
		if _, err := ParseJobManagerCheckpoint([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestEncodeParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := rapid.Float64Range(0, 4e9).Draw(t, "ts")
		name := rapid.StringN(1, 10, -1).Draw(t, "name")
		var ctx json.RawMessage
		if rapid.Bool().Draw(t, "hasContext") {
			ctx = json.RawMessage(`{"a":[1,"x"]}`)
		}
		line, err := Encode(ts, name, ctx)
		if err != nil {
			t.Fatal(err)
		}
		l := Parse(line)
		if l.ErrorCount > 0 || len(l.Entries) != 1 {
			t.Fatalf("%q: %v", line, l.Errors)
		}
		if e := l.Entries[0]; e.Timestamp != ts || e.Name != name || string(e.Context) != string(ctx) {
			t.Fatalf("%q: %+v", line, e)
		}
	})
	for _, v := range []float64{0, 1, 1e15, 1e300, 1795225430.1269188} {
		if s := Real(v); !isReal(json.RawMessage(s)) {
			t.Errorf("Real(%v) = %s reads as an integer", v, s)
		}
	}
	if _, err := Encode(1, "a", json.RawMessage("[]")); err == nil {
		t.Error("an array is accepted as context")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(ev("1.5", "submit", submit) + ev("2", "validate", "") + "x"))
	f.Add([]byte(ev("1", "drain", `{"idset":"0-3","nodelist":"n[0-3]","reason":"r","overwrite":2}`)))
	f.Add([]byte("\n\n{}"))
	f.Add([]byte("{\"timestamp\":1,\"name\":\"drain\",\"context\":{\"idset\":\"2-888881883\",\"nodelist\":\"n[033-888333,33]-3U\"}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Parse(b)
		ReplayJob(l.Entries)
		ShutdownOf(l.Entries)
		var d Drains
		d.Apply(l.Entries)
		if _, err := d.Encode(1); err != nil {
			t.Fatal(err)
		}
		for _, e := range l.Entries {
			if string(b[e.Offset:e.Offset+len(e.Raw)]) != string(e.Raw) {
				t.Fatalf("offset %d of %q", e.Offset, e.Raw)
			}
		}
	})
}

func FuzzCheckpoints(f *testing.F) {
	f.Add([]byte(`{"timestamp":100.6,"drain_state":{"1-2":{"timestamp":50.0,"reason":"old","nodelist":"n[1-2]"}}}`))
	f.Add([]byte(`{"version":1,"max_jobid":239511535616,"queue":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseJobManagerCheckpoint(b); err == nil {
			if back, err := ParseJobManagerCheckpoint(c.Encode()); err != nil || back.MaxJobID != c.MaxJobID {
				t.Fatalf("%s: %v", c.Encode(), err)
			}
		}
		if d, problems, err := ParseDrains(b); err == nil && len(problems) == 0 {
			text, err := d.Encode(d.Timestamp)
			if err != nil {
				t.Fatal(err)
			}
			if back, problems, err := ParseDrains(text); err != nil || len(problems) > 0 || len(back.Nodes()) != len(d.Nodes()) {
				t.Fatalf("%s: %v %v", text, problems, err)
			}
		}
	})
}

// TestDrainsBounded replays events that name very many nodes: what is left out is told, and the rest costs nothing.
func TestDrainsBounded(t *testing.T) {
	line := `{"timestamp":1.5,"name":"drain","context":{"idset":"0-131071","nodelist":"n[0-131071]"}}` + "\n"
	few := `{"timestamp":1.5,"name":"drain","context":{"idset":"0","nodelist":"n[0-131071]"}}` + "\n"
	var d Drains
	problems := d.Apply(Parse([]byte(strings.Repeat(line, 16) + strings.Repeat(few, 100))).Entries)
	if len(problems) != 1 || problems[0].Index != maxReplayed>>17 || problems[0].Rule != RuleTargets {
		t.Errorf("problems %+v, want one at event %d", problems, maxReplayed>>17)
	}
	if n := len(d.Nodes()); n != 1<<17 {
		t.Errorf("%d nodes, want %d", n, 1<<17)
	}
	over := Parse([]byte(`{"timestamp":1.5,"name":"drain","context":{"idset":"0-131072","nodelist":"n[0-131072]"}}` + "\n"))
	if p := d.Apply(over.Entries); len(p) != 1 || !p[0].Fatal {
		t.Errorf("one node too many: %+v", p)
	}
}
