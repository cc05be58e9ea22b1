package eventlog

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"fettle/internal/format/fluid"
	"fettle/internal/format/storefixture"
)

// TestFixtureLogs replays every log of the real stores: none has a fault.
func TestFixtureLogs(t *testing.T) {
	for _, name := range []string{"base-small", "base-medium", "base-sha256"} {
		jobs, logs := 0, 0
		for _, k := range storefixture.Open(t, name).Keys(t) {
			last := k.Path[len(k.Path)-1]
			if !strings.HasSuffix(last, "eventlog") {
				continue
			}
			key := strings.Join(k.Path, ".")
			l := Parse(k.Value)
			if !l.Decodable() || len(l.Tail) > 0 || len(l.Entries) == 0 {
				t.Errorf("%s %s: %v", name, key, l.Errors)
			}
			logs++
			if jk, ok := fluid.FromPath(k.Path); ok && len(jk.Rest) == 1 && last == "eventlog" {
				j := ReplayJob(l.Entries)
				if len(j.Problems) > 0 || j.Active() || j.Submitted == 0 {
					t.Errorf("%s %s: state %s, %+v", name, key, j.State, j.Problems)
				}
				jobs++
			}
		}
		if jobs == 0 {
			t.Errorf("%s: no jobs", name)
		}
		t.Logf("%s: %d logs, %d jobs", name, logs, jobs)
	}
}

// TestFixtureDrains: node1 and node2 are drained with reasons in base-small.
func TestFixtureDrains(t *testing.T) {
	vals := map[string][]byte{}
	for _, k := range storefixture.Open(t, "base-small").Keys(t) {
		vals[strings.Join(k.Path, ".")] = k.Value
	}
	d, problems, err := ParseDrains(vals["checkpoint.resource"])
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	problems = d.Apply(Parse(vals["resource.eventlog"]).Entries)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	nodes := d.Nodes()
	if len(nodes) != 2 || nodes[0].Host != "node1" || nodes[1].Host != "node2" || !nodes[0].HasReason || !nodes[1].HasReason {
		t.Errorf("drained: %+v", nodes)
	}
	out, err := d.Encode(d.Timestamp)
	if err != nil {
		t.Fatal(err)
	}
	again, problems, err := ParseDrains(out)
	if err != nil || len(problems) > 0 || len(again.Nodes()) != 2 {
		t.Errorf("%s: %v %v", out, problems, err)
	}
	c, err := ParseJobManagerCheckpoint(vals["checkpoint.job-manager"])
	if err != nil || c.MaxJobID == 0 || !c.HasQueue() {
		t.Fatalf("%+v %v", c, err)
	}
	// Flux writes the members in the order version, max_jobid, queue; ours are sorted.
	if back, err := ParseJobManagerCheckpoint(c.Encode()); err != nil || back.MaxJobID != c.MaxJobID || !bytes.Equal(back.Encode(), c.Encode()) {
		t.Errorf("%s: %v", c.Encode(), err)
	}
	if s, at := ShutdownOf(Parse(vals["admin.eventlog"]).Entries); s != ShutdownClean || at == 0 {
		t.Errorf("shutdown %s", s)
	}
}

// TestFixtureActive: a broker was killed with one job running, two waiting for
// resources and one waiting for a dependency.
func TestFixtureActive(t *testing.T) {
	states := map[State]int{}
	for _, k := range storefixture.OpenWithWAL(t, "small-crash").Keys(t) {
		jk, ok := fluid.FromPath(k.Path)
		if !ok || len(jk.Rest) != 1 || jk.Rest[0] != "eventlog" {
			continue
		}
		j := ReplayJob(Parse(k.Value).Entries)
		if len(j.Problems) > 0 {
			t.Errorf("%s: %+v", jk.ID, j.Problems)
		}
		states[j.State]++
	}
	want := map[State]int{StateInactive: 15, StateRun: 1, StateSched: 2, StateDepend: 1}
	if !maps.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
}
