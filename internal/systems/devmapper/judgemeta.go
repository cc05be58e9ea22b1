package devmapper

import (
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
)

// entries judges containerd's entries for snapshots.
func (g *judge) entries() {
	if g.meta == nil {
		return
	}
	for i := range g.meta.Entries {
		e := &g.meta.Entries[i]
		if e.Err != nil {
			g.entry(MetaUnparsable, i, e.Key, "", says(witMeta+" "+e.Namespace+"/"+e.Key, "%v", e.Err))
			continue
		}
		g.entryBackend(i, e)
		g.entryParent(i, e)
		g.entryChildren(i, e)
	}
	for i := range g.meta.Entries {
		name := g.meta.Entries[i].Name
		if all := g.entriesByName[name]; len(all) > 1 && all[0] == i {
			g.duplicateBackend(name, all)
		}
	}
}

// entry adds a finding about an entry of meta.db.
func (g *judge) entry(class string, i int, subject, cause string, ev ...finding.Evidence) *judged {
	e := &g.meta.Entries[i]
	f := g.addIn(nsKey{e.Namespace, e.Key}, class, subject, cause, ev...).path(g.entryName(i)).with(detail{Namespace: e.Namespace, Key: e.Key, Backend: e.Name})
	f.ent = i
	return f
}

func (g *judge) entryEvidence(i int) finding.Evidence {
	e := &g.meta.Entries[i]
	return says(witMeta+" "+e.Namespace+"/"+e.Key, "backend snapshot %s", e.Name)
}

// entryBackend asks whether metadata.db has what the entry names.
func (g *judge) entryBackend(i int, e *snapshotdb.Entry) {
	if g.store == nil || !g.wholeStore {
		return
	}
	if _, ok := g.snapByKey[e.Name]; ok {
		return
	}
	g.entry(DanglingBackend, i, e.Key, g.lostParent[e.Name], g.entryEvidence(i), says(witStore, "has no snapshot of that key"))
}

// entryParent compares the parent with the one that metadata.db has.
func (g *judge) entryParent(i int, e *snapshotdb.Entry) {
	if e.Parent == "" || !g.wholeMeta {
		return
	}
	p, ok := g.entryByKey[nsKey{e.Namespace, e.Parent}]
	if ok && g.meta.Entries[p].Err != nil {
		return // what cannot be read cannot be compared
	}
	if !ok {
		ev := []finding.Evidence{says(witMeta+" "+e.Namespace+"/"+e.Key, "parent %s", e.Parent), says(witMeta, "has no such entry")}
		if s := g.snapshotNamed(e.Name); s != nil && s.Parent != "" {
			ev = append(ev, says(witStore+" "+s.Key, "parent %s", s.Parent))
		}
		g.entry(MetaParentMissing, i, e.Key, "", ev...)
		return
	}
	s := g.snapshotNamed(e.Name)
	if s == nil || s.Err != nil {
		return
	}
	if want := g.meta.Entries[p].Name; s.Parent != want {
		g.entry(MetaParentMismatch, i, e.Key, g.parentCause(p), says(witMeta+" "+e.Namespace+"/"+e.Key, "the parent is %s, backend %s", e.Parent, want),
			says(witStore+" "+s.Key, "the parent is %s", s.Parent))
		return
	}
	if !g.hasChild(p, e.Key) {
		g.childMissing(i, e, p)
	}
}

// hasChild tells whether an entry of meta.db links to a child. Thousands of containers may have one parent.
func (g *judge) hasChild(parent int, key string) bool {
	set := g.childSets[parent]
	if set == nil {
		set = map[string]bool{}
		for _, c := range g.meta.Entries[parent].Children {
			set[c] = true
		}
		g.childSets[parent] = set
	}
	return set[key]
}

// parentCause is the duplicate that makes an entry's parent look wrong.
func (g *judge) parentCause(parent int) string {
	if name := g.meta.Entries[parent].Name; len(g.entriesByName[name]) > 1 {
		return keyOf(BackendDuplicate, name)
	}
	return ""
}

func (g *judge) childMissing(i int, e *snapshotdb.Entry, parent int) {
	g.entry(ChildMissing, i, e.Key, "", says(witMeta+" "+e.Namespace+"/"+e.Key, "parent %s", e.Parent),
		says(witMeta+" "+e.Namespace+"/"+e.Parent, "%d children, this one is not among them", len(g.meta.Entries[parent].Children)))
}

// entryChildren reports links to children that are gone or have another parent.
func (g *judge) entryChildren(i int, e *snapshotdb.Entry) {
	if !g.wholeMeta {
		return
	}
	for _, c := range e.Children {
		k, ok := g.entryByKey[nsKey{e.Namespace, c}]
		text := "has no such entry"
		if ok {
			if g.meta.Entries[k].Parent == e.Key || g.meta.Entries[k].Err != nil {
				continue
			}
			text = "the parent of that entry is " + g.meta.Entries[k].Parent
		}
		f := g.entry(ChildStale, i, "children/"+c, "", says(witMeta+" "+e.Namespace+"/"+e.Key, "links to the child %s", c), says(witMeta, "%s", text))
		f.with(detail{Namespace: e.Namespace, Key: e.Key, Have: c})
	}
}

func (g *judge) duplicateBackend(name string, all []int) {
	var ev []finding.Evidence
	for _, i := range all {
		ev = append(ev, g.entryEvidence(i))
	}
	g.add(BackendDuplicate, name, "", ev...).path(g.entryName(all[0])).with(detail{Backend: name})
	// One of the entries used to name another snapshot, which looks unreferenced now.
	for _, i := range all {
		if k := g.forgotten[nsKey{g.meta.Entries[i].Namespace, g.meta.Entries[i].Key}]; k != "" {
			g.found[g.index[keyOf(Unreferenced, k)]].cause = keyOf(BackendDuplicate, name)
		}
	}
}

// userKey is the user's key in a backend key NAMESPACE/SEQUENCE/KEY.
func userKey(backend string) string {
	parts := strings.SplitN(backend, "/", 3)
	if len(parts) != 3 {
		return ""
	}
	return parts[2]
}

// userNamespace is the namespace in a backend key NAMESPACE/SEQUENCE/KEY.
func userNamespace(backend string) string {
	ns, _, _ := strings.Cut(backend, "/")
	return ns
}

// users judges what refers to entries: containers and leases.
func (g *judge) users() {
	if g.meta == nil || !g.wholeMeta {
		return
	}
	for i := range g.meta.Containers {
		c := &g.meta.Containers[i]
		runs, why := says(witMeta+" container "+c.ID, "runs on snapshot %q of %q", c.SnapshotKey, c.Snapshotter), ""
		if _, ok := g.entryByKey[nsKey{c.Namespace, c.SnapshotKey}]; !ok {
			why = "has no such snapshot"
		} else if c.Snapshotter != g.meta.Snapshotter {
			why = "has no snapshotter of that name, but " + g.meta.Snapshotter + " has such a snapshot, which garbage collection will delete"
		}
		if why == "" {
			continue
		}
		g.addIn(nsKey{c.Namespace, c.SnapshotKey}, ContainerDangling, c.ID, "", runs, says(witMeta, "%s", why)).
			path(c.Namespace + "/" + c.ID).with(detail{Namespace: c.Namespace, Key: c.SnapshotKey})
	}
	for i := range g.meta.Leases {
		l := &g.meta.Leases[i]
		for _, key := range l.Snapshots {
			if _, ok := g.entryByKey[nsKey{l.Namespace, key}]; ok {
				continue
			}
			g.addIn(nsKey{l.Namespace, key}, LeaseDangling, l.ID+" "+snapshotdb.Snapshotter+"/"+key, "", says(witMeta+" lease "+l.ID, "holds snapshot %s", key), says(witMeta, "has no such snapshot")).
				path(l.Namespace + "/" + l.ID).with(detail{Namespace: l.Namespace, Key: key, Have: l.ID})
		}
	}
}
