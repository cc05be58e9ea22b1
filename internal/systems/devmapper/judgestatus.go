package devmapper

import (
	"fettle/internal/finding"
	"fettle/internal/systems/devmapper/livepool"
)

// witKernel is the kernel, asked for the status of an active pool.
const witKernel = "device-mapper"

// judgeStatus makes findings of the state of an active pool, as far as its metadata has not told the same already.
func (u *unit) judgeStatus(told []judged) []judged {
	a := &u.active
	if a.pool == nil || !a.asked {
		return nil
	}
	has := map[string]bool{}
	for i := range told {
		has[told[i].Class] = true
	}
	var out []judged
	add := func(class, format string, args ...any) {
		if has[class] {
			return
		}
		has[class] = true
		f := judged{Finding: finding.Finding{Class: class, Subject: "pool", Evidence: []finding.Evidence{says(witKernel, format, args...)}}, ent: -1}
		f.offer("the pool is active; see the explanation of the class", finding.Ignore)
		out = append(out, f)
	}
	s := &a.status
	full := s.TotalMetadata > 0 && s.UsedMetadata >= s.TotalMetadata
	switch {
	case s.Mode == livepool.Failed || s.Mode == livepool.Errored:
		add(ThinNeedsCheck, "the status of pool %s is %s: the kernel has given it up, and all I/O to its devices fails", a.pool.Name, s.Mode)
	case s.NeedsCheck:
		add(ThinNeedsCheck, "pool %s has the flag needs_check", a.pool.Name)
	case s.Mode == livepool.ReadOnly && !full && !a.pool.TableReadOnly:
		add(ThinNeedsCheck, "pool %s is read-only, though its metadata has room and its table does not say so: the metadata device could not be written", a.pool.Name)
	}
	if full {
		add(ThinOutOfMetadata, "all %d metadata blocks of pool %s are used", s.TotalMetadata, a.pool.Name)
	}
	if s.Mode == livepool.OutOfDataSpace {
		queue := "writes wait, and fail after the kernel's no_space_timeout"
		if s.ErrorIfNoSpace {
			queue = "writes fail"
		}
		add(ThinOutOfData, "pool %s is out of data space, %d of %d data blocks are used: %s", a.pool.Name, s.UsedData, s.TotalData, queue)
	}
	return out
}

// guardOpen takes the deletion of a device that somebody has open out of what a finding offers, and says of an active one that it is.
func (g *judge) guardOpen(f *judged) {
	if f.rec == nil && f.thin == nil {
		return
	}
	name, active := g.names[f.dev]
	if !active {
		return
	}
	f.Evidence = append(f.Evidence, says(witKernel, "device %d is active as %s, open count %d", f.dev, name, g.open[f.dev]))
	discards := false
	for _, a := range f.Actions {
		discards = discards || a == finding.Discard
	}
	if !discards {
		return
	}
	if g.open[f.dev] > 0 {
		f.without(finding.Discard, "somebody has the thin device open: it cannot be deleted")
	} else if f.Suggested == finding.Discard {
		f.Prefer(finding.Ignore, "the thin device is active: it is not deleted as long as it is")
	}
}

// without takes an action out of those that are offered. What is left comes in the same order.
func (f *judged) without(gone finding.Action, why string) {
	var left []finding.Action
	for _, a := range f.Actions {
		if a != gone {
			left = append(left, a)
		}
	}
	if len(left) == 0 {
		left = []finding.Action{finding.Ignore}
	}
	f.Actions = left
	if f.Suggested == gone {
		f.Suggested, f.Why = left[0], why
	}
}
