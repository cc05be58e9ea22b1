package eventlog

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"fettle/internal/format/hostlist"
)

// Faults of drain events.
const (
	RuleTargets Rule = "targets" // idset or nodelist is malformed
	RuleNoHost  Rule = "no-host" // a rank without a host name: cannot be kept
)

// Drained is one drained node.
type Drained struct {
	Host      string
	Rank      uint32  // the rank it had when it was last drained; may have moved since
	Timestamp float64 // when it was drained, seconds since 1970
	Reason    string
	HasReason bool // false: drained without a reason
}

// Drains is the set of drained nodes by host name. The zero value is empty.
// Several brokers on one host count as one node: ranks may change between
// sessions, names do not.
type Drains struct {
	// Timestamp of checkpoint.resource; older events are already in it.
	Timestamp float64
	nodes     map[string]*Drained
}

// MaxTargets bounds how many nodes one event or checkpoint entry may name.
const MaxTargets = 1 << 17

// ParseDrains reads checkpoint.resource:
// {"timestamp":T,"drain_state":{"<idset>":{"timestamp":t,"reason":"..","nodelist":".."}}}.
// Entries that are malformed are told as problems (Flux refuses the whole value
// for one of them) and the others are kept. The error is for a value of which
// nothing can be used.
func ParseDrains(b []byte) (*Drains, []Problem, error) {
	m, err := object(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read checkpoint.resource: %w", err)
	}
	d := &Drains{}
	var ok bool
	if d.Timestamp, ok = number(m["timestamp"]); !ok {
		return nil, nil, fmt.Errorf("read checkpoint.resource: timestamp is missing or not a number")
	}
	state, err := object(m["drain_state"])
	if err != nil {
		return nil, nil, fmt.Errorf("read checkpoint.resource: drain_state: %w", err)
	}
	var problems []Problem
	if !isReal(m["timestamp"]) {
		problems = append(problems, Problem{Rule: RuleContext, Fatal: true, Detail: "timestamp is an integer, Flux wants a real"})
	}
	room := maxReplayed
	for i, ids := range slices.Sorted(maps.Keys(state)) {
		if room <= 0 {
			problems = append(problems, Problem{Rule: RuleTargets, Index: i, Detail: "the entries before this one name more nodes than are believed; the rest is left out"})
			break
		}
		p, named := d.load(ids, state[ids])
		room -= named
		if p != nil {
			p.Index = i
			problems = append(problems, *p)
		}
	}
	return d, problems, nil
}

// isReal reports whether jansson holds the number as a real. Flux unpacks the
// checkpoint with "f", which refuses integers.
func isReal(raw json.RawMessage) bool { return strings.ContainsAny(string(raw), ".eE") }

func (d *Drains) load(ids string, raw json.RawMessage) (p *Problem, named int) {
	m, err := object(raw)
	if err != nil {
		return &Problem{Rule: RuleContext, Fatal: true, Detail: fmt.Sprintf("drain_state %q is not an object", ids)}, 0
	}
	at, ok1 := number(m["timestamp"])
	reason, ok2 := str(m["reason"])
	list, ok3 := str(m["nodelist"])
	if !ok1 || !ok2 || !ok3 {
		return &Problem{Rule: RuleContext, Fatal: true, Detail: fmt.Sprintf("drain_state %q lacks timestamp, reason or nodelist", ids)}, 0
	}
	t, named, p := targets(ids, list)
	if t != nil {
		d.drain(t, at, reason, reason != "", 0)
	}
	if p == nil && !isReal(m["timestamp"]) {
		p = &Problem{Rule: RuleContext, Fatal: true, Detail: fmt.Sprintf("timestamp of drain_state %q is an integer, Flux wants a real", ids)}
	}
	return p, named
}

// target is one node of an event.
type target struct {
	host string
	rank uint32
}

// targets pairs the n-th id with the n-th host, as Flux does. work is how many hosts were expanded for it.
func targets(ids, list string) (out []target, work int, p *Problem) {
	set, err := hostlist.ParseIDSet(ids)
	if err != nil {
		return nil, 0, &Problem{Rule: RuleTargets, Fatal: true, Detail: err.Error()}
	}
	if set.Count() > MaxTargets {
		return nil, 0, &Problem{Rule: RuleTargets, Fatal: true, Detail: fmt.Sprintf("idset names %d nodes, at most %d are believed", set.Count(), MaxTargets)}
	}
	hosts, err := hostlist.ParseMax(list, MaxTargets)
	if err != nil {
		return nil, MaxTargets, &Problem{Rule: RuleTargets, Fatal: true, Detail: err.Error()}
	}
	ranks := set.IDs(min(len(hosts), MaxTargets))
	for i, r := range ranks {
		out = append(out, target{hosts[i], r})
	}
	if set.Count() > uint64(len(hosts)) {
		return out, len(hosts), &Problem{Rule: RuleNoHost, Detail: fmt.Sprintf("idset %q has %d ranks, nodelist %d hosts", ids, set.Count(), len(hosts))}
	}
	return out, len(hosts), nil
}

// drain is draininfo_drain_rank of Flux for each node: without overwrite a node
// that has a reason stays as it is; the time is kept unless the node was not
// drained or overwrite is 2.
func (d *Drains) drain(nodes []target, at float64, reason string, hasReason bool, overwrite int64) {
	if d.nodes == nil {
		d.nodes = map[string]*Drained{}
	}
	for _, t := range nodes {
		n := d.nodes[t.host]
		if overwrite == 0 && n != nil && n.HasReason {
			continue
		}
		if n == nil {
			n = &Drained{Host: t.host, Timestamp: at}
			d.nodes[t.host] = n
		} else if overwrite == 2 {
			n.Timestamp = at
		}
		n.Rank, n.Reason, n.HasReason = t.rank, reason, hasReason
	}
}

// Apply replays the drain and undrain events of resource.eventlog that are not
// older than the checkpoint. Faulty events are told and skipped.
func (d *Drains) Apply(entries []Entry) []Problem {
	var problems []Problem
	room := maxReplayed
	for i := range entries {
		e := &entries[i]
		if e.Timestamp < d.Timestamp || e.Name != "drain" && e.Name != "undrain" {
			continue
		}
		if room <= 0 {
			return append(problems, Problem{Rule: RuleTargets, Index: i, Detail: "the events before this one name more nodes than are replayed; the rest is left out"})
		}
		p, named := d.event(e)
		room -= named
		if p != nil {
			p.Index = i
			problems = append(problems, *p)
		}
	}
	return problems
}

// maxReplayed bounds how many nodes all events of one log may name together: 400 drains of 10,000 nodes each.
const maxReplayed = 1 << 22

// event replays one event and says how many nodes it named, with and without an id.
func (d *Drains) event(e *Entry) (p *Problem, named int) {
	m := e.members()
	ids, ok1 := str(m["idset"])
	list, ok2 := str(m["nodelist"])
	if !ok1 || !ok2 {
		return &Problem{Rule: RuleContext, Fatal: true, Detail: e.Name + " event lacks idset or nodelist"}, 0
	}
	nodes, named, p := targets(ids, list)
	if nodes == nil {
		return p, named
	}
	if e.Name == "undrain" {
		for _, t := range nodes {
			delete(d.nodes, t.host)
		}
		return p, named
	}
	reason, hasReason := "", false
	if raw, has := m["reason"]; has {
		if reason, hasReason = str(raw); !hasReason {
			return &Problem{Rule: RuleContext, Fatal: true, Detail: "drain event with a reason that is not a string"}, named
		}
	}
	overwrite := int64(1) // logs of before the member existed
	if raw, has := m["overwrite"]; has {
		var ok bool
		if overwrite, ok = integer(raw); !ok {
			return &Problem{Rule: RuleContext, Fatal: true, Detail: "drain event with an overwrite that is not an integer"}, named
		}
	}
	d.drain(nodes, e.Timestamp, reason, hasReason, overwrite)
	return p, named
}

// Nodes lists the drained nodes by host name.
func (d *Drains) Nodes() []Drained {
	var out []Drained
	for _, h := range slices.Sorted(maps.Keys(d.nodes)) {
		out = append(out, *d.nodes[h])
	}
	return out
}

// Set adds or replaces a node, for lists gathered from several sources.
func (d *Drains) Set(n Drained) error {
	if err := hostlist.Check(n.Host); err != nil {
		return fmt.Errorf("drain %q: %w", n.Host, err)
	}
	if !utf8.ValidString(n.Reason) || strings.IndexByte(n.Reason, 0) >= 0 || math.IsNaN(n.Timestamp) || math.IsInf(n.Timestamp, 0) || n.Rank > hostlist.MaxID {
		return fmt.Errorf("drain %q: reason, time or rank cannot be written", n.Host)
	}
	if d.nodes == nil {
		d.nodes = map[string]*Drained{}
	}
	d.nodes[n.Host] = &n
	return nil
}

// Encode writes checkpoint.resource with this time of writing. Nodes with the
// same second and reason share an entry, as in Flux. Where two nodes claim one
// rank, one of them gets an unused rank: Flux goes by the host name when rank
// and host do not fit.
func (d *Drains) Encode(now float64) ([]byte, error) {
	type group struct {
		at     float64
		reason string
	}
	ranks := d.freeRanks()
	groups := map[group][]target{}
	for h, n := range d.nodes {
		g := group{math.Round(n.Timestamp), n.Reason}
		groups[g] = append(groups[g], target{h, ranks[h]})
	}
	state := map[string]json.RawMessage{}
	for g, nodes := range groups {
		slices.SortFunc(nodes, func(a, b target) int { return int(int64(a.rank) - int64(b.rank)) })
		var ids []uint32
		var hosts []string
		for _, t := range nodes {
			ids, hosts = append(ids, t.rank), append(hosts, t.host)
		}
		set, err := hostlist.NewIDSet(ids...)
		if err != nil {
			return nil, fmt.Errorf("write checkpoint.resource: %w", err)
		}
		list, err := hostlist.Format(hosts)
		if err != nil {
			return nil, fmt.Errorf("write checkpoint.resource: %w", err)
		}
		state[set.String()] = json.RawMessage(fmt.Sprintf(`{"timestamp":%s,"reason":%s,"nodelist":%s}`, Real(g.at), quote(g.reason), quote(list)))
	}
	return encodeMembers(map[string]json.RawMessage{
		"timestamp":   json.RawMessage(Real(now)),
		"drain_state": encodeMembers(state),
	}), nil
}

// freeRanks gives every node a rank of its own, its last one where possible.
func (d *Drains) freeRanks() map[string]uint32 {
	out := make(map[string]uint32, len(d.nodes))
	used := make(map[uint32]bool, len(d.nodes))
	var clash []string
	for _, h := range slices.Sorted(maps.Keys(d.nodes)) {
		if r := d.nodes[h].Rank; !used[r] {
			out[h], used[r] = r, true
		} else {
			clash = append(clash, h)
		}
	}
	next := uint32(0)
	for _, h := range clash {
		for used[next] {
			next++
		}
		out[h], used[next] = next, true
	}
	return out
}
