package flux

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
)

// State is what Flux goes on from after a start: the drained nodes and the highest job id. It is gathered from any number
// of sources in any order; the zero State knows nothing.
type State struct {
	// HighestJob is an upper bound of every job id seen.
	HighestJob fluid.ID
	// Queues is the newest readable value of checkpoint.job-manager, nil if there is none.
	Queues []byte

	newest  float64 // of the checkpoint.resource that is the base
	base    []byte
	hasBase bool
	events  map[string]drainEvent // by their line, so that versions of one log count once
}

type drainEvent struct {
	at float64
	n  int // order of arrival, for events of the same time
}

// maxDrainEvents bounds the memory of gathered events.
const maxDrainEvents = 1 << 20

// AddResource takes a version of checkpoint.resource. The newest by its own timestamp counts.
func (s *State) AddResource(value []byte) {
	d, _, err := eventlog.ParseDrains(value)
	if err != nil || s.hasBase && d.Timestamp <= s.newest {
		return
	}
	s.base, s.newest, s.hasBase = bytes.Clone(value), d.Timestamp, true
}

// AddLog takes a version, or a part, of resource.eventlog: every drain and undrain event in it is a fact.
func (s *State) AddLog(log []byte) {
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, nameDrain) && !bytes.Contains(line, nameUndrain) {
			continue
		}
		line = bytes.TrimSuffix(line, lineBreak)
		e, bad := eventlog.ParseLine(line)
		if bad != nil || e.Name != "drain" && e.Name != "undrain" || len(s.events) >= maxDrainEvents {
			continue
		}
		if s.events == nil {
			s.events = map[string]drainEvent{}
		}
		if _, have := s.events[string(line)]; !have {
			s.events[string(line)] = drainEvent{e.Timestamp, len(s.events)}
		}
	}
}

var (
	nameDrain   = []byte(`"drain"`)
	nameUndrain = []byte(`"undrain"`)
)

// addDrains takes checkpoint.resource and what is readable of resource.eventlog from a tree.
func (s *State) addDrains(k *kvs) {
	if v, ok := k.value(keyResourceState); ok {
		s.AddResource(v)
	}
	if raw, err := k.entry(keyResourceLog); err == nil {
		if log, _ := k.content(raw); log != nil {
			s.AddLog(log)
		}
	}
}

// AddJobManager takes a version of checkpoint.job-manager. The queues of the first one taken are kept.
func (s *State) AddJobManager(value []byte) {
	c, err := eventlog.ParseJobManagerCheckpoint(value)
	if err != nil {
		return
	}
	s.AddJob(c.MaxJobID)
	if s.Queues == nil {
		s.Queues = bytes.Clone(value)
	}
}

// AddJob takes a job id, or an upper bound of some.
func (s *State) AddJob(id fluid.ID) { s.HighestJob = max(s.HighestJob, id.Usable(0)) }

// Drains replays the events on the newest checkpoint.resource.
func (s *State) Drains() *eventlog.Drains {
	d := &eventlog.Drains{}
	if s.hasBase {
		if p, _, err := eventlog.ParseDrains(s.base); err == nil {
			d = p
		}
	}
	lines := make([]string, 0, len(s.events))
	for l := range s.events {
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b string) int {
		x, y := s.events[a], s.events[b]
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.n, y.n))
	})
	var entries []eventlog.Entry
	for _, l := range lines {
		if e, bad := eventlog.ParseLine([]byte(l)); bad == nil {
			entries = append(entries, e)
		}
	}
	d.Apply(entries)
	return d
}

// LastEvent is the time of the newest thing known about drained nodes, in seconds since 1970.
func (s *State) LastEvent() float64 {
	last := s.newest
	for _, e := range s.events {
		last = max(last, e.at)
	}
	return last
}

// Known tells whether there is anything to keep.
func (s *State) Known() bool {
	return s.HighestJob > 0 || s.Queues != nil || len(s.Drains().Nodes()) > 0
}

// resource is the value of checkpoint.resource for these drained nodes. Its timestamp lies behind every event that is
// known, so that Flux does not replay them again.
func (s *State) resource(now float64) ([]byte, error) {
	return s.Drains().Encode(max(now, s.LastEvent()+0.001))
}

// jobManager is the value of checkpoint.job-manager.
func (s *State) jobManager() []byte {
	c, err := eventlog.ParseJobManagerCheckpoint(s.Queues)
	if err != nil {
		c = eventlog.NewJobManagerCheckpoint(s.HighestJob)
	}
	c.MaxJobID = max(c.MaxJobID, s.HighestJob)
	return c.Encode()
}

// maxStateBlob bounds the blobs that are looked into for values that nothing refers to, in bytes.
const maxStateBlob = 16 << 20

// gather reads every blob once and takes what belongs to the state, whether anything still refers to it or not. The best
// tree is asked first, so that its queues count.
func (r *Relic) gather(ctx context.Context, s *State) error {
	if !r.root.IsZero() {
		k := newKVS(r.u, r.root)
		if v, ok := k.value(keyJobManager); ok {
			s.AddJobManager(v)
		}
		s.addDrains(k)
	}
	ids := jobIDs{u: r.u, b: newBlobReader(r.u), memo: map[levelRef]uint64{}, seen: map[string]bool{}, s: s}
	if err := r.gatherBlobs(ctx, s, &ids); err != nil {
		return err
	}
	if !r.root.IsZero() {
		ids.root(r.root)
	}
	for _, c := range r.u.distinctRoots() {
		ids.root(c.ref)
	}
	return nil
}

func (r *Relic) gatherBlobs(ctx context.Context, s *State, ids *jobIDs) error {
	b := newBlobReader(r.u)
	var scan treeobj.Scanner
	var roots []orphanRoot
	for i, n := range r.u.inFileOrder() {
		if i&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e := r.u.idx.at(int(n))
		if !e.goodContent() {
			continue
		}
		row, err := b.at(e)
		if err != nil {
			return err
		}
		if row.Status != statusGood || len(row.Content) > maxStateBlob || len(row.Content) == 0 || row.Content[0] != '{' {
			continue
		}
		switch {
		case e.has(flagDirLike):
			t := scan.ParseDir(row.Content)
			if !t.IsDir() || t.Broken {
				continue
			}
			s.addEntries(t)
			if looksLikeRoot(t) {
				if ref, err := treeobj.RefFromHash(row.Hash); err == nil {
					roots = append(roots, orphanRoot{ref: ref, rowID: b.row.RowID})
				}
			}
			if len(roots) >= 4*maxStateRoots {
				roots = newestRoots(roots, maxStateRoots)
			}
		case bytes.Contains(row.Content, []byte(`"drain_state"`)): // begins like an event, too
			s.AddResource(row.Content)
		case e.firstEvent() != evNone:
			s.AddLog(row.Content)
		case bytes.Contains(row.Content, []byte(`"max_jobid"`)):
			s.AddJobManager(row.Content)
		}
	}
	for _, o := range newestRoots(roots, maxStateRoots) {
		ids.root(o.ref)
	}
	return nil
}

// maxStateRoots is how many of the newest roots are asked for job ids. Ids grow, so the newest are enough.
const maxStateRoots = 2048

// jobNamespace is how the private namespace of a running job is called: its id in decimal follows.
const jobNamespace = "job-"

// addEntries takes what single entries of a directory tell: inline values, and the namespaces of running jobs.
func (s *State) addEntries(t *treeobj.Tree) {
	for i := range t.Entries {
		e := &t.Entries[i]
		switch e.Type {
		case treeobj.TypeSymlink:
			if _, ns, has, ok := e.Symlink(); ok && has && string(e.Name) == "guest" {
				if num, is := strings.CutPrefix(ns, jobNamespace); is {
					if id, err := strconv.ParseUint(num, 10, 64); err == nil {
						s.AddJob(fluid.ID(id))
					}
				}
			}
		case treeobj.TypeVal:
			switch string(e.Name) {
			case "job-manager":
				if v, err := e.Value(); err == nil {
					s.AddJobManager(v)
				}
			case "resource":
				if v, err := e.Value(); err == nil {
					s.AddResource(v)
				}
			}
		}
	}
}

// TellTo adds everything that s knows to another state.
func (s *State) TellTo(to *State) {
	to.AddJob(s.HighestJob)
	if s.Queues != nil {
		to.AddJobManager(s.Queues)
	}
	if s.hasBase {
		to.AddResource(s.base)
	}
	for line := range s.events {
		to.AddLog([]byte(line))
	}
}
