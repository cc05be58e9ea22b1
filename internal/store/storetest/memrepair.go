package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// Passes implements store.Unit. The checkpoint is the last key that was judged.
func (u *MemUnit) Passes() []store.Pass {
	return []store.Pass{{Name: "records", Title: "read all records", Run: u.scan}}
}

func (u *MemUnit) scan(ctx context.Context, env store.Env) error {
	recs, err := u.Records()
	if err != nil {
		return err
	}
	env.Total(int64(len(recs)), 0)
	last := ""
	if _, err := env.Load(&last); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(recs)) {
		if k <= last {
			continue
		}
		if err := env.Did(ctx, 1, 0); err != nil {
			return err
		}
		if f, bad := judge(recs, k); bad {
			if _, err := env.Emit(f); err != nil {
				return err
			}
		}
		if env.Due() {
			if err := env.Save(k); err != nil {
				return err
			}
		}
	}
	env.Fact("records", len(recs))
	return nil
}

// judge looks at one record among all.
func judge(recs map[string]string, key string) (finding.Finding, bool) {
	value := recs[key]
	class, says := "", ""
	switch {
	case strings.HasPrefix(key, "ref/"):
		if _, ok := recs["obj/"+value]; !ok {
			class, says = "mem/dangling-ref", "names "+value
		}
	case strings.HasPrefix(key, "obj/"):
		if _, data, ok := strings.Cut(value, ":"); !ok || Object(data) != value {
			class, says = "mem/corrupt-object", "is "+strconv.Quote(value)
		}
	case key == "count":
		if n := strconv.Itoa(objects(recs)); n != value {
			class, says = "mem/miscount", "is "+value+", want "+n
		}
	}
	c, ok := memClasses.Lookup(class)
	if !ok {
		return finding.Finding{}, false
	}
	detail, _ := json.Marshal(map[string]string{"key": key})
	path := key
	f := finding.Finding{Class: c.ID, Subject: key, Path: &path, Evidence: []finding.Evidence{{Witness: key, Says: says}}, Detail: detail}
	fill(&f, c)
	return f, true
}

func objects(recs map[string]string) int {
	n := 0
	for k := range recs {
		if strings.HasPrefix(k, "obj/") || strings.HasPrefix(k, "lost+found/") {
			n++
		}
	}
	return n
}

// Confirm implements store.Unit.
func (u *MemUnit) Confirm(_ context.Context, f *finding.Finding) (bool, error) {
	recs, err := u.Records()
	if err != nil {
		return false, err
	}
	if _, ok := recs[f.Subject]; !ok {
		return false, nil
	}
	now, bad := judge(recs, f.Subject)
	return bad && now.Class == f.Class, nil
}

// planning is a plan in the making: the records as they will be.
type planning struct {
	recs map[string]string
	prop *store.Proposal
	step store.Step
}

// put changes a record, both in the plan and in what the later steps see. "" as after removes it.
func (p *planning) put(key, after string) {
	c := store.Change{Target: target, Addr: key}
	if v, ok := p.recs[key]; ok {
		c.Before = store.Bytes(v)
	}
	delete(p.recs, key)
	if after != "" {
		c.After = store.Bytes(after)
		p.recs[key] = after
	}
	p.step.Changes = append(p.step.Changes, c)
}

// add changes the count by n, if it is a number.
func (p *planning) add(n int) {
	if have, err := strconv.Atoi(p.recs["count"]); err == nil {
		p.put("count", strconv.Itoa(have+n))
	}
}

// Plan implements store.Planner: one step for each finding, the count last.
func (u *MemUnit) Plan(_ context.Context, _ string, decisions []store.Decision) (*store.Proposal, error) {
	recs, err := u.Records()
	if err != nil {
		return nil, err
	}
	p := &planning{recs: recs, prop: &store.Proposal{Loss: store.Loss{Total: int64(len(recs)), Unit: "records"}}}
	order := slices.Clone(decisions)
	slices.SortStableFunc(order, func(a, b store.Decision) int {
		return rank(a.Finding.Class) - rank(b.Finding.Class)
	})
	for _, d := range order {
		f := d.Finding
		p.step = store.Step{ID: len(p.prop.Steps) + 1, Title: string(d.Action) + " " + f.Subject, Findings: []int{f.Seq}}
		loses, dropped := p.decide(f.Subject, d.Action)
		p.prop.Loss.Dropped += dropped
		p.prop.Outcomes = append(p.prop.Outcomes, store.Outcome{Seq: f.Seq, Action: d.Action, Result: p.step.Title, Loses: loses})
		if len(p.step.Changes) > 0 {
			p.prop.Steps = append(p.prop.Steps, p.step)
		}
	}
	return p.prop, nil
}

func rank(class string) int {
	return slices.IndexFunc(memClasses, func(c finding.Class) bool { return c.ID == class })
}

func (p *planning) decide(key string, a finding.Action) (loses string, dropped int64) {
	name := key[strings.IndexByte(key, '/')+1:]
	switch a {
	case finding.Unlink:
		p.put(key, "")
		return "the ref", 1
	case finding.Restore:
		if obj := "obj/" + p.recs[key]; p.recs[obj] == "" {
			p.put(obj, Object(""))
			p.add(1)
		}
		return "", 0
	case finding.Rewrite:
		p.put(key, strconv.Itoa(objects(p.recs)))
		return "", 0
	case finding.Quarantine:
		p.put("lost+found/"+name, p.recs[key])
		p.put(key, "")
		return "the refs", p.unref(name)
	default:
		p.step.Irreversible = a == Shred
		p.put(key, "")
		p.add(-1)
		return "the object", 1 + p.unref(name)
	}
}

// unref removes all refs to an object.
func (p *planning) unref(name string) (n int64) {
	for _, k := range slices.Sorted(maps.Keys(p.recs)) {
		if strings.HasPrefix(k, "ref/") && p.recs[k] == name {
			p.put(k, "")
			n++
		}
	}
	return n
}

// OpenWriter implements store.Planner.
func (u *MemUnit) OpenWriter(context.Context, string) (store.Writer, error) {
	if err := u.Disk.Power.alive(); err != nil {
		return nil, err
	}
	if err := u.Disk.Lock(); err != nil {
		return nil, err
	}
	return &memWriter{u}, nil
}

// memWriter writes whole pages.
type memWriter struct{ u *MemUnit }

// Lower implements store.Writer.
func (w *memWriter) Lower(_ context.Context, step store.Step) ([]store.Change, error) {
	var order []string
	before := map[string][]byte{}
	pages := map[string]map[string]string{}
	for _, c := range step.Changes {
		a := w.u.page(c.Addr)
		if pages[a] == nil {
			raw, err := w.u.Disk.Read(a)
			if err != nil {
				return nil, err
			}
			if pages[a], err = decodePage(a, raw); err != nil {
				return nil, err
			}
			before[a], order = raw, append(order, a)
		}
		have, ok := pages[a][c.Addr]
		if ok != (c.Before != nil) || have != string(c.Before) {
			return nil, fmt.Errorf("record %s is %q, the step wants %q", c.Addr, have, []byte(c.Before))
		}
		delete(pages[a], c.Addr)
		if c.After != nil {
			pages[a][c.Addr] = string(c.After)
		}
	}
	out := make([]store.Change, 0, len(order))
	for _, a := range order {
		out = append(out, store.Change{Target: target, Addr: a, Before: before[a], After: encodePage(pages[a])})
	}
	return out, nil
}

// Read implements store.Writer.
func (w *memWriter) Read(_ context.Context, _, addr string) (store.Bytes, error) {
	return w.u.Disk.Read(addr)
}

// Write implements store.Writer.
func (w *memWriter) Write(_ context.Context, c store.Change) error {
	return w.u.Disk.Write(c.Addr, c.After)
}

// Sync implements store.Writer.
func (w *memWriter) Sync(context.Context) error { return w.u.Disk.Sync() }

// Close implements store.Writer.
func (w *memWriter) Close() error {
	w.u.Disk.Unlock()
	return nil
}

var _ store.Planner = (*MemUnit)(nil)
var _ store.System = (*MemSystem)(nil)
