package flux

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
)

const (
	drain1   = `{"timestamp":100.5,"name":"drain","context":{"idset":"1","nodelist":"node1","reason":"fan","overwrite":0}}` + "\n"
	drain2   = `{"timestamp":101.5,"name":"drain","context":{"idset":"2","nodelist":"node2","overwrite":0}}` + "\n"
	undrain1 = `{"timestamp":102.5,"name":"undrain","context":{"idset":"1","nodelist":"node1"}}` + "\n"
	resource = `{"timestamp":%v,"drain_state":{"3":{"timestamp":90.0,"reason":"old","nodelist":"node3"}}}`
)

func names(s *State) string {
	out := ""
	for _, n := range s.Drains().Nodes() {
		out += fmt.Sprintf("%s:%s ", n.Host, n.Reason)
	}
	return out
}

// What is known does not depend on the order in which it is met, nor on how often.
func TestStateOrder(t *testing.T) {
	sources := []func(*State){
		func(s *State) { s.AddLog([]byte(drain1)) },
		func(s *State) { s.AddLog([]byte(drain2 + undrain1)) },
		func(s *State) { s.AddLog([]byte("garbage\n" + drain1 + drain2)) },
		func(s *State) { s.AddResource([]byte(fmt.Sprintf(resource, "95.0"))) },
		func(s *State) { s.AddResource([]byte(`{"timestamp":1.0,"drain_state":{}}`)) },
		func(s *State) { s.AddResource([]byte("garbage")) },
		func(s *State) { s.AddJob(77) },
		func(s *State) { s.AddJobManager([]byte(`{"version":1,"max_jobid":99}`)) },
	}
	for range 100 {
		var s State
		for _, i := range rand.Perm(len(sources)) {
			sources[i](&s)
		}
		if got := names(&s); got != "node2: node3:old " || s.HighestJob != 99 || !s.Known() {
			t.Fatalf("%q, highest %d", got, s.HighestJob)
		}
		var told State
		s.TellTo(&told)
		if names(&told) != names(&s) || told.HighestJob != s.HighestJob {
			t.Fatalf("told %q", names(&told))
		}
	}
}

// Events that the newest checkpoint.resource already holds are not replayed, and what is written is behind all of them.
func TestStateBase(t *testing.T) {
	var s State
	s.AddLog([]byte(drain1 + drain2))
	s.AddResource([]byte(fmt.Sprintf(resource, "101.0")))
	if got := names(&s); got != "node2: node3:old " {
		t.Errorf("%q", got)
	}
	value, err := s.resource(50)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := eventlog.ParseDrains(value)
	if err != nil || d.Timestamp <= 101.5 {
		t.Errorf("%s: %v", value, err)
	}
}

// An id that cannot be followed by any other is not believed.
func TestStateBounds(t *testing.T) {
	var s State
	if s.Known() {
		t.Error("nothing is known yet")
	}
	s.AddJobManager([]byte(`{"max_jobid":-1}`))
	if s.HighestJob == 0 || s.HighestJob >= fluid.Max {
		t.Errorf("%d", s.HighestJob)
	}
}
