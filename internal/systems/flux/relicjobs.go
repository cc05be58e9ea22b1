package flux

import (
	"context"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
)

// Job is an active job as the store tells it.
type Job struct {
	ID        string  `json:"id"` // F58
	UserID    uint32  `json:"userid"`
	Name      string  `json:"name,omitempty"`
	Nodes     string  `json:"nodes,omitempty"` // RFC 29 host list
	State     string  `json:"state"`
	Urgency   int64   `json:"urgency"`
	Submitted float64 `json:"submitted,omitempty"` // seconds since 1970
	// Partial tells that events are missing, so that the state may be older than the truth.
	Partial bool `json:"partial,omitempty"`

	id fluid.ID
}

// JobID is the id as a number.
func (j *Job) JobID() fluid.ID { return j.id }

// maxActive bounds how many active jobs are listed.
const maxActive = 100000

// activeJobs replays the eventlogs of all jobs. Where the directory of the jobs is lost, the newest older one is asked.
func (r *Relic) activeJobs(ctx context.Context, ev *Evidence) error {
	roots := []treeobj.Ref{}
	if !r.root.IsZero() {
		roots = append(roots, r.root)
	}
	for _, c := range r.u.distinctRoots() {
		roots = append(roots, c.ref)
	}
	for _, ref := range roots {
		k := newKVS(r.u, ref)
		raw, err := k.entry("job")
		if err != nil {
			continue
		}
		if _, err := k.list(raw); err != nil {
			continue
		}
		return r.jobsBelow(ctx, k, raw, nil, ev)
	}
	return nil
}

func (r *Relic) jobsBelow(ctx context.Context, k *kvs, dir []byte, groups []string, ev *Evidence) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	children, err := k.list(dir)
	if err != nil {
		ev.Lost++
		return nil
	}
	if len(groups) == 4 {
		id, err := fluid.ParseDotHex(strings.Join(groups, "."))
		if err != nil {
			return nil
		}
		r.job(k, id, children, ev)
		return nil
	}
	for _, c := range children {
		if _, ok := fluid.Group(c.name); !ok {
			continue
		}
		if err := r.jobsBelow(ctx, k, c.raw, append(groups[:len(groups):len(groups)], c.name), ev); err != nil {
			return err
		}
	}
	return nil
}

// job looks at one job directory.
func (r *Relic) job(k *kvs, id fluid.ID, children []child, ev *Evidence) {
	read := func(name string) ([]byte, bool) {
		for _, c := range children {
			if c.name == name {
				content, bad := k.content(c.raw)
				return content, len(bad) == 0 && content != nil
			}
		}
		return nil, false
	}
	log, whole := read("eventlog")
	if len(log) == 0 {
		if len(children) > 0 {
			ev.Lost++
		}
		return
	}
	state := eventlog.ReplayJob(eventlog.Parse(log).Entries)
	if !state.Active() || len(ev.Active) >= maxActive {
		return
	}
	j := Job{ID: id.F58(), UserID: state.UserID, State: state.State.String(), Urgency: state.Urgency, Submitted: state.Submitted,
		Partial: !whole || !state.Loadable(), id: id}
	if spec, ok := read("jobspec"); ok {
		j.Name = nameOf(spec)
	}
	if res, ok := read("R"); ok {
		j.Nodes = nodelist(res)
	}
	ev.Active = append(ev.Active, j)
}
