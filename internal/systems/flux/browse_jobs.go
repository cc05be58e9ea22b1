package flux

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
	"fettle/internal/format/hostlist"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// jobSketch is what the store still knows of a job.
type jobSketch struct {
	id        fluid.ID
	state     string // of eventlog.State, or "?" when nothing of the log is left
	active    bool   // or not known
	uid       string // "?" when the submit event is lost
	name      string
	nodes     string // host list of R, "" before resources were assigned
	submitted time.Time
	missing   []string // what cannot be read
}

// eachJob calls fn for every job directory of the tree in the order of the ids. Directories on the way that cannot be read go to lost.
func (v *view) eachJob(ctx context.Context, fn func(id fluid.ID, dir store.Node) error, lost func(dir store.Node, err error)) error {
	top, err := v.Lookup(ctx, []string{"job"}, true)
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	var below func(dir store.Node) error
	below = func(dir store.Node) error {
		list, err := v.List(ctx, dir, false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			lost(dir, err)
		}
		for _, n := range list {
			if !n.Dir {
				continue
			}
			k, ok := fluid.FromPath(n.Path)
			if !ok {
				continue
			}
			if k.Complete {
				err = fn(k.ID, n)
			} else {
				err = below(n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return below(top)
}

// sketch reads a job. With activeOnly it is nil for a job that certainly has ended.
func (v *view) sketch(ctx context.Context, id fluid.ID, dir store.Node, activeOnly bool) (*jobSketch, error) {
	j := &jobSketch{id: id, state: "?", uid: "?", active: true}
	t, err := v.open(dir.Handle.(object))
	if err != nil {
		j.missing = append(j.missing, "directory: "+err.Error())
		return j, nil
	}
	parts := map[string]object{}
	for i := range t.Entries {
		switch e := &t.Entries[i]; {
		case e.Parent != -1:
		case string(e.Name) == "eventlog", string(e.Name) == "jobspec", string(e.Name) == "J", string(e.Name) == "R":
			parts[string(e.Name)] = objectOf(e)
		}
	}
	if activeOnly && v.endsClean(parts["eventlog"]) {
		return nil, nil
	}
	if err := v.replay(ctx, j, parts["eventlog"]); err != nil {
		return nil, err
	}
	if activeOnly && !j.active {
		return nil, nil
	}
	v.jobName(j, parts)
	if o, ok := parts["R"]; ok {
		if content, bad := v.k.content(o.raw); len(bad) > 0 {
			j.missing = append(j.missing, "R")
		} else {
			j.nodes = nodesOf(content)
		}
	}
	return j, nil
}

// endsClean tells from what the sweep remembers that the last event of a log is clean, so that the job has ended.
func (v *view) endsClean(o object) bool {
	if o.typ != treeobj.TypeValref {
		return false
	}
	refs := v.scan.Parse(o.raw).Root.AppendRefs(nil)
	if len(refs) == 0 {
		return false
	}
	n := v.u.idx.find(refs[len(refs)-1].Sum())
	return n >= 0 && v.u.idx.at(n).goodContent() && v.u.idx.at(n).lastEvent() == evClean
}

func (v *view) replay(ctx context.Context, j *jobSketch, o object) error {
	if o.raw == nil {
		j.missing = append(j.missing, "eventlog")
		return nil
	}
	entries, lost, err := v.survivors(ctx, o)
	if err != nil {
		return err
	}
	if lost > 0 {
		j.missing = append(j.missing, fmt.Sprintf("%d blobs of eventlog", lost))
	}
	if len(entries) == 0 {
		return nil
	}
	job := eventlog.ReplayJob(entries)
	j.state, j.active = job.State.String(), job.Active()
	if job.Submitted > 0 {
		j.uid, j.submitted = fmt.Sprint(job.UserID), unixTime(job.Submitted)
	}
	if !job.Loadable() {
		j.missing = append(j.missing, "events")
	}
	if lost > 0 && job.Active() {
		j.state += "?" // a later event may be among the lost ones
	}
	return nil
}

// jobName takes the name from the jobspec, or from the signed one when that is lost.
func (v *view) jobName(j *jobSketch, parts map[string]object) {
	if o, ok := parts["jobspec"]; ok {
		if content, bad := v.k.content(o.raw); len(bad) == 0 {
			j.name = nameOf(content)
			return
		}
	}
	j.missing = append(j.missing, "jobspec")
	if o, ok := parts["J"]; ok {
		// HEADER.PAYLOAD.SIGNATURE, each base64 (RFC 15).
		content, bad := v.k.content(o.raw)
		if p := bytes.Split(content, []byte(".")); len(bad) == 0 && len(p) == 3 {
			if spec, err := base64.StdEncoding.DecodeString(string(p[1])); err == nil {
				j.name = nameOf(spec)
			}
		}
	}
}

// nameOf is the name of a job as flux jobs shows it: the one that was given, or the command (RFC 14).
func nameOf(spec []byte) string {
	var s struct {
		Attributes struct {
			System struct {
				Job struct {
					Name string `json:"name"`
				} `json:"job"`
			} `json:"system"`
		} `json:"attributes"`
		Tasks []struct {
			Command []string `json:"command"`
		} `json:"tasks"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return ""
	}
	switch {
	case s.Attributes.System.Job.Name != "":
		return s.Attributes.System.Job.Name
	case len(s.Tasks) > 0 && len(s.Tasks[0].Command) > 0:
		return path.Base(s.Tasks[0].Command[0])
	}
	return ""
}

// nodelist is the host list of an R as it stands there (RFC 20, RFC 29); "" without one.
func nodelist(r []byte) string {
	var v struct {
		Execution struct {
			Nodelist []string `json:"nodelist"`
		} `json:"execution"`
	}
	if err := json.Unmarshal(r, &v); err != nil {
		return ""
	}
	return strings.Join(v.Execution.Nodelist, ",")
}

// nodesOf is the host list of an R in its shortest form.
func nodesOf(r []byte) string {
	text := nodelist(r)
	if hosts, err := hostlist.Parse(text); err == nil {
		if short, err := hostlist.Format(hosts); err == nil {
			return short
		}
	}
	return text
}

// jobText is one line of the list of jobs.
func jobText(id, state, uid, when, name, nodes, missing string) []byte {
	line := fmt.Sprintf("%-14s %-9s %-10s %-20s %-20s %-16s %s", id, state, uid, when, name, nodes, missing)
	return []byte(strings.TrimRight(line, " ") + "\n")
}

// cmdJobs lists jobs as flux jobs would.
func (v *view) cmdJobs(ctx context.Context, c store.BrowseCall) error {
	opts, err := switches(c.Args, "a")
	if err != nil {
		return err
	}
	shown, unread := 0, 0
	err = v.eachJob(ctx, func(id fluid.ID, dir store.Node) error {
		j, err := v.sketch(ctx, id, dir, !opts['a'])
		if j == nil || err != nil {
			return err
		}
		if shown == 0 {
			if _, err := c.Out.Write(jobText("JOBID", "STATE", "UID", "SUBMITTED", "NAME", "NODES", "CANNOT BE READ")); err != nil {
				return err
			}
		}
		shown++
		when, _ := timeText(j.submitted, j.submitted)
		_, err = c.Out.Write(jobText(j.id.F58(), j.state, j.uid, when, treeobj.FormatPath([]string{j.name}), j.nodes, strings.Join(j.missing, ", ")))
		return err
	}, func(dir store.Node, err error) {
		unread++
		fmt.Fprintf(c.Err, "jobs below %s are unknown: %v\n", showKey(dir.Path), err)
	})
	if err != nil {
		return err
	}
	if shown == 0 {
		fmt.Fprintln(c.Out, map[bool]string{true: "no jobs", false: "no active jobs (-a lists all)"}[opts['a']])
	}
	if unread > 0 {
		return store.Partial("the jobs below %d directories are unknown", unread)
	}
	return nil
}

// cmdJob shows one job and its keys.
func (v *view) cmdJob(ctx context.Context, c store.BrowseCall) error {
	id, err := fluid.Parse(c.Args[0])
	if err != nil {
		return fault.NewUsage(err, "ids look like ƒABC, fABC, 0000.0016.0400.0000, 0x1604000000 or 94556389376; jobs -a lists them")
	}
	dir, err := v.Lookup(ctx, id.Path(), true)
	if err != nil {
		return fmt.Errorf("%s (%s): %w", id.F58(), treeobj.JoinKey(id.Path()), err)
	}
	j, err := v.sketch(ctx, id, dir, false)
	if err != nil {
		return err
	}
	p := func(name, value string) { fmt.Fprintf(c.Out, "%-10s %s\n", name, value) }
	when, _ := timeText(j.submitted, j.submitted)
	p("job", j.id.F58())
	p("key", treeobj.JoinKey(id.Path()))
	p("state", j.state)
	p("uid", j.uid)
	p("name", j.name)
	p("nodes", j.nodes)
	p("submitted", when)
	if len(j.missing) > 0 {
		p("lost", strings.Join(j.missing, ", "))
	}
	list, err := v.List(ctx, dir, true)
	for _, n := range list {
		line := fmt.Sprintf("  %-8s %10d  %s", n.Kind, max(n.Size, 0), treeobj.FormatPath(n.Path[len(n.Path)-1:]))
		if n.Link != "" {
			line += " -> " + n.Link
		}
		if n.Trouble != "" {
			line += "  ! " + n.Trouble
		}
		fmt.Fprintln(c.Out, line)
	}
	return err
}
