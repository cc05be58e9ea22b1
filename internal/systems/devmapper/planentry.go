package devmapper

import (
	"fmt"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/store"
)

// newEntry is an entry that a plan adds to meta.db.
type newEntry struct {
	snap     *snapshotdb.Snapshot
	children []string // keys of the children that the plan adds too
}

// recreateEntry writes containerd's entry for a snapshot that metadata.db still has, and those of its parents if they are lost as well.
func (p *planner) recreateEntry(ns, key string) (string, error) {
	s := p.forgottenEntry(ns, key)
	if s == nil {
		return "", errNotProven
	}
	return "entry written again for " + s.Key, p.enter(nsKey{ns, key}, s)
}

// enter adds the entry of a snapshot.
func (p *planner) enter(k nsKey, s *snapshotdb.Snapshot) error {
	if n, done := p.entered[k]; done {
		if n.snap != s {
			return errNotProven
		}
		return nil
	}
	put(&p.trail, p.entered, k, newEntry{snap: s})
	if err := p.linkEntry(k, s.Parent); err != nil {
		return err
	}
	return p.putEntry(k)
}

// linkEntry makes the parent of a new entry know it. backend is the parent's backend key, "" for none. Of several snapshots with the parent's
// key it is the one that the child was made from.
func (p *planner) linkEntry(k nsKey, backend string) error {
	if backend == "" {
		return nil
	}
	pk := nsKey{k.ns, userKey(backend)}
	if i, ok := p.entryByKey[pk]; ok {
		if p.meta.Entries[i].Name != backend {
			return errNotProven
		}
		return p.e.set(p.target(p.u.meta), boltAddr(append(p.entryPath(pk.ns, pk.key), "children", k.key)...), store.Bytes{}, "link from its parent")
	}
	s := p.snapshotNamed(backend)
	if s == nil || s.Err != nil || userNamespace(backend) != k.ns {
		return errNotProven
	}
	if err := p.enter(pk, s); err != nil {
		return err
	}
	n := p.entered[pk]
	n.children = append(n.children, k.key)
	put(&p.trail, p.entered, pk, n)
	return nil
}

// finish writes the new entries with the children that they got after they were added: once, since there may be thousands.
func (p *planner) finish() error {
	for k, n := range p.entered {
		if len(n.children) == 0 {
			continue
		}
		if err := p.putEntry(k); err != nil {
			return err
		}
	}
	return nil
}

// putEntry writes a new entry, with the children that it is known to have.
func (p *planner) putEntry(k nsKey) error {
	d, s := &bucketDump{}, p.entered[k].snap
	d.put("name", []byte(s.Key))
	if b, err := s.Created.MarshalBinary(); err == nil {
		d.put("createdat", b)
		d.put("updatedat", b)
	}
	if s.Parent != "" {
		d.put("parent", []byte(userKey(s.Parent)))
	}
	for _, c := range p.childrenByKey[k] {
		d.sub("children").put(p.meta.Entries[c].Key, nil)
	}
	for _, c := range p.entered[k].children {
		d.sub("children").put(c, nil)
	}
	return p.e.set(p.target(p.u.meta), bucketAddr(p.entryPath(k.ns, k.key)...), d.bytes(), "snapshot "+k.ns+"/"+k.key)
}

// actLink is about links between records.
func (p *planner) actLink(f *judged, a finding.Action) (result, loses string, err error) {
	d := f.facts()
	switch f.Class {
	case BacklinkMissing:
		if p.dropped[f.snap.Key] {
			return "", "", left("the snapshot is removed by the decision about another finding")
		}
		parent := p.parentOf(f.snap)
		return "link added", "", p.e.set(p.target(p.u.store), boltAddr("v1", "parents", string(snapshotdb.LinkKey(parent.ID, f.snap.ID))), store.Bytes(f.snap.Key), "link from parent to child")
	case BacklinkStale:
		raw, err := p.linkRaw(f)
		if err != nil {
			return "", "", err
		}
		return "link removed", "", p.e.set(p.target(p.u.store), boltAddr("v1", "parents", string(raw)), nil, "no such link")
	case ChildMissing:
		if p.unlinked[f.ent] {
			return "", "", left("the entry is removed by the decision about another finding")
		}
		e := &p.meta.Entries[f.ent]
		return "link added", "", p.e.set(p.target(p.u.meta), boltAddr(append(p.entryPath(e.Namespace, e.Parent), "children", e.Key)...), store.Bytes{}, "link from parent to child")
	case ChildStale:
		return "link removed", "", p.e.set(p.target(p.u.meta), boltAddr(append(p.entryPath(d.Namespace, d.Key), "children", d.Have)...), nil, "no such link")
	case LeaseDangling:
		return "reference removed", "", p.e.set(p.target(p.u.meta), boltAddr("v1", d.Namespace, "leases", d.Have, "snapshots", p.u.opts.snapshotter, d.Key), nil, "no such reference")
	}
	return "", "", fmt.Errorf("no way to %s", a)
}

// linkRaw is the key of the entry of v1/parents that a finding is about.
func (p *planner) linkRaw(f *judged) ([]byte, error) {
	if p.links == nil {
		p.links = map[string][]byte{}
		for i := range p.store.Links {
			p.links[subjectOfLink(&p.store.Links[i])] = p.store.Links[i].Raw
		}
	}
	if raw, ok := p.links[f.Subject]; ok {
		return raw, nil
	}
	return nil, fmt.Errorf("there is no link %s", f.Subject)
}

// subjectOfLink is what a finding about an entry of v1/parents is about.
func subjectOfLink(l *snapshotdb.Link) string {
	if l.Err != nil {
		return fmt.Sprintf("parents/%x", l.Raw)
	}
	return linkSubject(idPair{l.Parent, l.Child})
}
