package lustre

import (
	"fmt"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// absent judges a FID of which no inode says that it is it.
func (j *judge) absent() {
	_, known := j.s.home(j.fid)
	if j.own >= 0 {
		known = true
	}
	explained := map[place]bool{}
	nameless, lost := j.nameless()
	for i := range j.names {
		n := &j.names[i]
		switch {
		case lost && (n.mdt != nameless.mdt || n.ino == nameless.ino):
			if t := j.tenant(n.mdt, n.ino); n.mdt == nameless.mdt || t.bareAgent() || t != nil && t.agent && t.fid == j.fid {
				if !explained[nameless] {
					j.lostLMA(nameless, j.tenant(nameless.mdt, nameless.ino)).at(j, i)
				}
				explained[nameless], explained[place{n.mdt, n.ino}] = true, true
				for k := range j.found { // it is known why no name leads to the agent
					if n.mdt != nameless.mdt && j.found[k].Class == MissingLMA {
						j.found[k].provides(keyInode(n.mdt, n.ino))
					}
				}
				continue
			}
			if j.mistaken(i) {
				explained[place{n.mdt, n.ino}] = true
			}
		case j.mistaken(i):
			explained[place{n.mdt, n.ino}] = true
		case known && !j.cut:
			j.dangling(i)
		}
	}
	if !known {
		return
	}
	for _, e := range j.index {
		j.loneIndex(e, explained)
	}
	j.besideLMA()
	for _, g := range j.agents {
		if !j.used(g) && !explained[place{g.mdt, g.ino}] {
			j.loneAgent(g)
		}
	}
	for _, r := range j.remote {
		if !explained[place{r.mdt, r.ino}] {
			j.loneRemote(r)
		}
	}
}

// nameless gives the inode that the object index or REMOTE_PARENT_DIR has for the FID, if that inode has lost its LMA.
func (j *judge) nameless() (place, bool) {
	lost := func(p place) bool {
		t := j.tenant(p.mdt, p.ino)
		return t != nil && !t.unread && !t.free && !t.known && !t.held
	}
	for _, e := range j.index {
		if p := (place{e.mdt, e.ino}); lost(p) && j.tenant(e.mdt, e.ino).gen == e.gen {
			return p, true
		}
	}
	for _, r := range j.remote {
		if p := (place{r.mdt, r.ino}); lost(p) {
			return p, true
		}
	}
	return place{}, false
}

// mistaken tells whether a name leads to an inode that is the object it means, although that says otherwise: it has lost its LMA,
// or the FID in the name is wrong, or that in the LMA.
func (j *judge) mistaken(i int) bool {
	n, w := &j.names[i], &j.texts[i]
	t := j.tenant(n.mdt, n.ino)
	switch {
	case t == nil || t.unread || t.free || t.held:
		return false
	case t.agent && t.fid != j.fid:
		if far := j.far[t.fid]; far.knows(w.link()) {
			j.wrongFID(i, t.fid, far).provides(keyNamed(t.fid), keyInode(n.mdt, n.ino))
			return true
		}
		return false
	case t.agent:
		return false
	case !t.known:
		j.lostLMA(place{n.mdt, n.ino}, t).at(j, i)
		return true
	case t.fid != j.fid && t.knows(w.link()):
		j.wrongFID(i, t.fid, t).provides(keyInode(n.mdt, n.ino))
		return true
	}
	return false
}

// lostLMA reports an inode that has lost its LMA and is known by a name or the object index.
func (j *judge) lostLMA(p place, t *tenant) *draft {
	d := j.add(MissingLMA)
	for i := range j.names {
		if j.names[i].ino == p.ino && j.names[i].mdt == p.mdt {
			d.Evidence = append(d.Evidence, j.nameSays(i))
		}
	}
	d.Evidence = append(append(d.Evidence, j.tenantSays(p.mdt, p.ino)), j.indexSays()...)
	d.inode(j.s, p.mdt, p.ino).provides(keyInode(p.mdt, p.ino), keyObject(j.fid))
	d.Detail.Generation, d.Detail.Type = t.gen, ext4.TypeName(ext4.DirentTypeOf(t.mode))
	return d.values("no LMA", j.fid.String())
}

// besideLMA judges what else an inode has lost that has lost its LMA: its link EA, or its only name.
func (j *judge) besideLMA() {
	if len(j.found) != 1 || j.found[0].Class != MissingLMA {
		return
	}
	mdt, ino := j.s.places[*j.found[0].Detail.MDT], j.found[0].Detail.Inode
	t := j.tenant(mdt, ino)
	o := &object{mdt: mdt, ino: ino, gen: t.gen, mode: t.mode, links: t.links}
	switch {
	case len(j.names) > 0 && t.crash == nil && t.hasLink:
		return
	case len(j.names) > 0:
		j.linkEA(o)
	case t.hasLink && len(j.pending) == 0 && t.links > 0:
		j.orphan(o)
	}
	for i := range j.found[1:] {
		d := &j.found[1+i]
		d.DropIf, d.Causes = nil, append([]string{keyInode(mdt, ino)}, d.Causes...)
	}
}

// wrongFID reports a name whose FID is not that of the object that it leads to and that knows the name.
func (j *judge) wrongFID(i int, fid lustre.FID, t *tenant) *draft {
	n := &j.names[i]
	d := j.add(DirentFIDMismatch, j.nameSays(i), j.tenantSays(n.mdt, n.ino))
	d.Evidence = append(d.Evidence, says(fmt.Sprintf("link EA of %v", fid), "%s", linkText(t.link.Links)))
	d.Evidence = append(d.Evidence, j.indexSays()...)
	d.at(j, i).inode(j.s, n.mdt, n.ino).values(j.fid.String(), fid.String())
	d.Detail.FID, d.Subject = fid.String(), fid.String()
	for _, e := range j.index {
		if e.mdt == n.mdt && e.ino == n.ino {
			d.causes(keyDuplicate(fid))
			d.prefer(TrustName, "the object index says so too: it is the inode's LMA that is wrong")
			d.Detail.Want = "the LMA " + j.fid.String()
		}
	}
	return d
}

// dangling reports a name whose object is gone.
func (j *judge) dangling(i int) {
	n, w := &j.names[i], &j.texts[i]
	d := j.add(DanglingName, j.nameSays(i)).at(j, i)
	if home, _ := j.s.home(j.fid); home >= 0 {
		d.Evidence = append(d.Evidence, says(fmt.Sprintf("inodes of MDT%04x", j.s.indexes[home]), "none is %v", j.fid))
		d.Detail.ParentMDT = &j.s.indexes[n.mdt]
		index := j.s.indexes[home]
		d.Detail.MDT = &index
	} else {
		d.Evidence = append(d.Evidence, says("FLD", "no MDT has the sequence of %v", j.fid))
	}
	d.Evidence = append(append(d.Evidence, j.tenantSays(n.mdt, n.ino)), j.indexSays()...)
	d.Rests = append(d.Rests, record{MDT: j.s.indexes[n.mdt], Inode: n.ino})
	d.Detail.Parent, d.Detail.Name, d.Detail.NameRaw = w.parent.String(), lustre.NameText(w.text), lustre.NameRaw(w.text)
	d.Detail.ParentIno, d.Detail.Type = n.dir, ext4.TypeName(n.typ)
	d.Title = fmt.Sprintf("%q leads to %v, which is gone", lustre.NameText(w.text), j.fid)
	d.provides(keyGone(j.fid))
	if w.sure && n.typ == 2 {
		d.provides(keyChild(w.parent))
	}
	if n.has(nameShardForm) {
		k := int(n.index)
		d.Detail.Stripe = &k
	}
	j.unmarked(d, i)
}

// unmarked suggests to bring the object of a dangling name back where its inode is whole, and only marked as free.
func (j *judge) unmarked(d *draft, i int) {
	n, w := &j.names[i], &j.texts[i]
	places := []place{{n.mdt, n.ino}}
	for _, e := range j.index {
		places = append(places, place{e.mdt, e.ino})
	}
	for _, p := range places {
		t := j.tenant(p.mdt, p.ino).lost()
		if !w.sure || !whole(t, j.fid, w.link(), n.typ) {
			continue
		}
		if p != (place{n.mdt, n.ino}) { // of which it was told
			d.Evidence = append(d.Evidence, j.tenantSays(p.mdt, p.ino))
			d.Rests = append(d.Rests, record{MDT: j.s.indexes[p.mdt], Inode: p.ino})
		}
		d.Title = fmt.Sprintf("%q leads to %v, whose inode is marked as free", lustre.NameText(w.text), j.fid)
		d.prefer(finding.Restore, fmt.Sprintf("%s is the object, whole, and only marked as free", j.s.inodeText(p.mdt, p.ino)))
		return
	}
}

// loneIndex reports an entry of an object index whose inode is another object, or none.
func (j *judge) loneIndex(e indexed, explained map[place]bool) {
	t := j.tenant(e.mdt, e.ino)
	if explained[place{e.mdt, e.ino}] || t == nil || t.held && !t.known {
		return
	}
	if j.s.early[e.mdt] && !t.known && (j.fid.IsLocal() || j.fid.IsDotLustre()) {
		return // objects with FIDs of fixed numbers had no LMA
	}
	if !t.unread && !t.free && !t.known && !t.held && t.gen == e.gen {
		j.lostLMA(place{e.mdt, e.ino}, t)
		return
	}
	d := j.add(IndexStale, append(j.indexSays(), j.tenantSays(e.mdt, e.ino))...)
	d.inode(j.s, e.mdt, e.ino).values(fmt.Sprintf("inode %d, generation %d", e.ino, e.gen), "no entry")
	d.Rests = append(d.Rests, record{MDT: j.s.indexes[e.mdt], Index: j.fid.String()})
	d.causes(keyGone(j.fid), keyLost(j.fid))
}

// loneAgent reports an agent that no name goes through.
func (j *judge) loneAgent(g agent) {
	d := j.add(AgentStale, says(j.s.inodeText(g.mdt, g.ino), "is an agent for %v", j.fid), says(fmt.Sprintf("names on MDT%04x", j.s.indexes[g.mdt]), "none leads to it"))
	d.inode(j.s, g.mdt, g.ino).values("an agent", "a free inode").unless(keyInode(g.mdt, g.ino))
	d.causes(keyGone(j.fid), keyBehind(g.mdt, g.ino), keyNamed(j.fid), keyObject(j.fid), keyLost(j.fid), keyMissed(j.fid))
}

// loneRemote reports an entry of REMOTE_PARENT_DIR whose object is gone.
func (j *judge) loneRemote(r listed) {
	t := j.tenant(r.mdt, r.ino)
	if t != nil && !t.unread && !t.free && !t.known {
		return // the inode has lost its LMA, which is told elsewhere
	}
	d := j.add(RemoteStale, says(fmt.Sprintf("REMOTE_PARENT_DIR of MDT%04x", j.s.indexes[r.mdt]), "%s is inode %d", j.fid.Bare(), r.ino), j.tenantSays(r.mdt, r.ino))
	d.inode(j.s, r.mdt, r.ino).values(fmt.Sprintf("inode %d", r.ino), "no entry")
	d.remoteEntry(j, r)
	d.causes(keyGone(j.fid), keyLost(j.fid))
}

// remoteEntry says which entry of REMOTE_PARENT_DIR it is about.
func (d *draft) remoteEntry(j *judge, r listed) *draft {
	e := entryDetail{MDT: j.s.indexes[r.mdt], Dir: j.s.remotes[r.mdt], At: r.at, Name: j.fid.Bare(), Inode: r.ino}
	d.Detail.Entry = &e
	d.Rests = append(d.Rests, record{MDT: e.MDT, At: r.at})
	return d
}
