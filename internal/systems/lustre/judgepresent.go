package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// present judges an object that exists.
func (j *judge) present(o *object) {
	j.objectIndex(o)
	j.agentMark(o)
	if j.unnamed(o) {
		j.deletedAndNamed(o)
		return
	}
	if o.has(objNoLMA) && j.oldStyle(o) {
		return
	}
	j.ownNames(o)
	j.allNames(o)
	for _, g := range j.agents {
		if !j.used(g) {
			j.loneAgent(g)
		}
	}
	if len(j.names) == 0 {
		j.orphan(o)
	} else {
		j.remoteParent(o)
		j.remoteFlag(o)
		j.agentTypes(o)
		j.astray(o)
		j.linkEA(o)
	}
	if dirMode(o.mode) {
		j.directory(o)
	}
}

// deletedAndNamed reports names of an object that counts as deleted, or belongs to the target itself. Servers refuse such a name.
func (j *judge) deletedAndNamed(o *object) {
	for _, p := range j.pending {
		if p.mdt == o.mdt && p.ino != o.ino {
			d := j.add(Damage, says(fmt.Sprintf("PENDING of MDT%04x", j.s.indexes[p.mdt]), "%v is inode %d", j.fid, p.ino), j.objectSays(o)).on(j, o)
			d.Title = "PENDING leads to another inode than that of the object that is to be deleted"
		}
	}
	if len(j.names) == 0 {
		return
	}
	why := "it belongs to the target itself"
	switch t := j.tenant(o.mdt, o.ino); {
	case len(j.pending) > 0:
		why = "it is in PENDING, where objects wait that were deleted while they were open"
	case o.incompat&lustre.LMAIOrphan != 0:
		why = "its LMA is marked as that of a deleted object"
	case t != nil && !t.held:
		why = "it has no links"
	}
	d := j.add(Damage, j.nameSays(0), j.objectSays(o), says(j.s.inodeText(o.mdt, o.ino), "%s", why)).on(j, o).at(j, 0)
	d.Title = "a name leads to an object that should have none: " + why
	d.provides(keyObject(j.fid))
}

// oldStyle tells whether an inode without an LMA needs none: it is an object of Lustre 1.8, whose FID is made of inode number and
// generation, or its name already tells what it is.
func (j *judge) oldStyle(o *object) bool {
	if j.s.fromBackup(o.mdt) {
		return j.backupIdentity(o)
	}
	if !j.s.dirdata[o.mdt] {
		return true
	}
	for i := range j.names {
		if j.texts[i].sure && !j.texts[i].parent.IsIGIF() {
			return false
		}
	}
	if len(j.names) > 0 {
		return true
	}
	for _, l := range j.lookups {
		if l.state == lookTaken && l.dir.mdt == o.mdt && l.entry.ino == o.ino {
			return true // the group of the FID in that name tells it
		}
	}
	return false
}

// objectIndex compares the object with the object index.
func (j *judge) objectIndex(o *object) {
	if !j.s.hasOI[o.mdt] || o.has(objNoLMA) {
		return
	}
	// What every target has of its own is entered again when the target is mounted; 2.4 left some of it out.
	wanted := lustre.InOI(j.fid, o.compat) && !j.fid.IsLocal()
	found := false
	for _, e := range j.index {
		if e == (indexed{o.mdt, o.ino, o.gen}) {
			found = true
			continue
		}
		if len(j.objects) > 1 && slices.ContainsFunc(j.objects, func(p object) bool { return p.mdt == e.mdt && p.ino == e.ino }) {
			continue // the index has the inode that only claims to be it
		}
		if wanted && e.mdt == o.mdt && !slices.Contains(j.index, indexed{o.mdt, o.ino, o.gen}) {
			d := j.add(IndexStale, append(j.indexSays(), j.objectSays(o), j.tenantSays(e.mdt, e.ino))...).on(j, o)
			d.values(fmt.Sprintf("inode %d, generation %d", e.ino, e.gen), fmt.Sprintf("inode %d, generation %d", o.ino, o.gen))
			d.Detail.WantInode = o.ino
			d.Rests = append(d.Rests, record{MDT: j.s.indexes[e.mdt], Index: j.fid.String()})
			d.causes(keyInode(o.mdt, o.ino), keyNamed(j.fid)) // an inode with the LMA of another one
			return
		}
		d := j.add(IndexStale, append(j.indexSays(), j.objectSays(o), j.tenantSays(e.mdt, e.ino))...)
		d.inode(j.s, e.mdt, e.ino).values(fmt.Sprintf("inode %d, generation %d", e.ino, e.gen), "no entry")
		d.Rests = append(d.Rests, record{MDT: j.s.indexes[e.mdt], Index: j.fid.String()})
	}
	if wanted && !found {
		d := j.add(IndexMissing, j.objectSays(o), says(fmt.Sprintf("object index of MDT%04x", j.s.indexes[o.mdt]), "has no entry for %v", j.fid)).on(j, o)
		d.values("no entry", fmt.Sprintf("inode %d, generation %d", o.ino, o.gen))
		d.Rests = append(d.Rests, record{MDT: j.s.indexes[o.mdt], Index: j.fid.String()})
		d.causes(keyInode(o.mdt, o.ino), keyNamed(j.fid)) // a wrong LMA names an object that nobody knows
	}
}

// allNames judges each name by itself. Names that mean another object are forgotten.
func (j *judge) allNames(o *object) {
	var kept []int
	for i := range j.names {
		if j.name(o, i) {
			kept = append(kept, i)
		}
	}
	if len(kept) == len(j.names) {
		return
	}
	a, f := *j.about, *j.facts
	a.facts, a.names, f.texts = &f, nil, nil
	for _, i := range kept {
		a.names, f.texts = append(a.names, j.names[i]), append(f.texts, j.texts[i])
	}
	j.about = &a
}

// name judges one name of the object. It returns false when the name means another one.
func (j *judge) name(o *object, i int) bool {
	n, t := &j.names[i], &j.texts[i]
	if j.meansAnother(o, i) {
		return false
	}
	if n.has(nameInsane) {
		d := j.add(DirentFIDInsane, j.nameSays(i), j.objectSays(o)).at(j, i).on(j, o)
		d.values(t.fid.String(), j.fid.String()).provides(keyObject(j.fid))
	}
	if n.has(nameNoFID) && j.s.dirdata[n.mdt] && !j.fid.IsDotLustre() { // up to 2.5 .lustre and fid were named without one
		j.add(NoFID, j.nameSays(i), j.objectSays(o)).at(j, i).on(j, o).values("no FID", j.fid.String())
		if o.has(objNoLMA) {
			j.found[len(j.found)-1].causes(keyInode(n.mdt, n.ino))
		}
	}
	// A name of a backup has the type of what it leads to: that of an agent is told as the agent's.
	if have, want := n.typ, ext4.DirentTypeOf(o.mode); have != want && want != 0 && !j.s.fromBackup(n.mdt) { // 0: a mode that cannot be is told by itself
		j.badType(o, i, have, want)
	}
	if n.has(nameMisplaced) {
		d := j.add(BadNameHash, j.nameSays(i), j.objectSays(o), j.linkSays(o)).at(j, i).on(j, o)
		d.unless(keyLMV(t.parent))
		d.Title = fmt.Sprintf("%q is in a shard that its hash does not lead to", lustre.NameText(t.text))
		d.provides(keyHash(j.fid))
		if !j.knownBy(o, i) {
			j.corruptName(d, o, t)
		}
	}
	j.entryInode(o, i)
	return true
}

// corruptName is about a name in the wrong shard that the object does not know: if it knows another one in that shard, which is not
// there, then it is the name that is wrong and not the place.
func (j *judge) corruptName(d *draft, o *object, t *written) {
	d.Why = "the object does not know the name: it may be the name that is wrong"
	for _, l := range j.links(o) {
		if look := j.lookups[l]; look != nil && look.state == lookFree && l.Parent == t.parent {
			d.Detail.Want = lustre.NameText(l.Name)
			d.Detail.Links = mdtrecord.Links([]lustre.Link{l})
			d.prefer(TrustLinkEA, fmt.Sprintf("the object says that it is %q in this shard, and there is no such name", lustre.NameText(l.Name)))
			return
		}
	}
}

// knownBy tells whether the object's link EA has the name.
func (j *judge) knownBy(o *object, i int) bool { return slices.Contains(j.links(o), j.linkOf(i)) }

// badType reports a name of the wrong type. The directory's link count is judged as if it were right.
func (j *judge) badType(o *object, i int, have, want uint8) {
	n, t := &j.names[i], &j.texts[i]
	d := j.add(BadType, j.nameSays(i), j.objectSays(o)).at(j, i).on(j, o)
	d.values(ext4.TypeName(have), ext4.TypeName(want))
	d.Title = fmt.Sprintf("the name of the %s says %s", ext4.TypeName(want), ext4.TypeName(have))
	if n.mdt != o.mdt && !t.sure {
		return
	}
	switch {
	case have == 2:
		d.provides(keyType(t.parent, -1))
	case want == 2:
		d.provides(keyType(t.parent, 1))
	}
	d.provides(keyChild(t.parent))
}

// meansAnother tells whether the FID in the name is wrong: the entry's inode is that of another object, which knows the name while
// this one does not.
func (j *judge) meansAnother(o *object, i int) bool {
	n, w := &j.names[i], &j.texts[i]
	if n.mdt == o.mdt && n.ino == o.ino || j.knownBy(o, i) {
		return false
	}
	other := j.tenant(n.mdt, n.ino)
	if other != nil && other.agent {
		if other.fid == j.fid {
			return false
		}
		other = j.far[other.fid]
	}
	if other == nil || !other.known || other.fid == j.fid || !other.knows(w.link()) {
		return false
	}
	j.wrongFID(i, other.fid, other).provides(keyInode(n.mdt, n.ino), keyNamed(other.fid))
	return true
}

// entryInode compares the inode number of a name with where the object is.
func (j *judge) entryInode(o *object, i int) {
	n := &j.names[i]
	if n.mdt == o.mdt && n.ino == o.ino || n.mdt != o.mdt && j.agentAt(n.mdt, n.ino) != nil {
		return
	}
	t := j.tenant(n.mdt, n.ino)
	for k := range j.objects { // a duplicate is reported as such
		if p := &j.objects[k]; p.mdt == n.mdt && p.ino == n.ino {
			return
		}
	}
	if n.mdt == o.mdt {
		d := j.add(DirentInode, j.nameSays(i), j.objectSays(o), j.tenantSays(n.mdt, n.ino)).at(j, i).on(j, o)
		d.values(fmt.Sprintf("inode %d", n.ino), fmt.Sprintf("inode %d", o.ino))
		d.Detail.WantInode = o.ino
		return
	}
	d := j.add(AgentMissing, j.nameSays(i), j.objectSays(o), j.tenantSays(n.mdt, n.ino)).at(j, i).on(j, o)
	d.values(fmt.Sprintf("inode %d, which %v", n.ino, t), fmt.Sprintf("an agent for %v on MDT%04x", j.fid, j.s.indexes[n.mdt]))
	d.Rests = append(d.Rests, record{MDT: j.s.indexes[n.mdt], Inode: n.ino})
	d.provides(keyBehind(n.mdt, n.ino), keyObject(j.fid))
	if t.bareAgent() {
		d.provides(keyInode(n.mdt, n.ino))
	}
}

// remoteParent compares names with /REMOTE_PARENT_DIR of the object's target.
func (j *judge) remoteParent(o *object) {
	local := 0
	for i := range j.names {
		if j.names[i].mdt == o.mdt {
			local++
		}
	}
	have := false
	for _, r := range j.remote {
		right := r.mdt == o.mdt && r.ino == o.ino
		have = have || right
		if right && (local < len(j.names) || !j.s.complete()) {
			continue
		}
		d := j.add(RemoteStale, says(fmt.Sprintf("REMOTE_PARENT_DIR of MDT%04x", j.s.indexes[r.mdt]), "%s is inode %d", j.fid.Bare(), r.ino), j.objectSays(o), j.nameSays(0))
		d.on(j, o).remoteEntry(j, r).values(fmt.Sprintf("inode %d", r.ino), "no entry").causes(keyMissed(j.fid))
		if !right && local == 0 {
			d.Detail.Want, d.Detail.WantInode = fmt.Sprintf("inode %d", o.ino), o.ino
			have = have || r.mdt == o.mdt // to be corrected, not made
		}
	}
	if (local == 0 || local < len(j.names) && o.incompat&lustre.LMAIRemoteParent != 0) && !have {
		d := j.add(RemoteMissing, j.nameSays(0), j.objectSays(o), says(fmt.Sprintf("REMOTE_PARENT_DIR of MDT%04x", j.s.indexes[o.mdt]), "has no entry %s", j.fid.Bare()))
		d.on(j, o).values("no entry", j.fid.Bare())
		d.Detail.Entries = j.allEntries()
		if j.s.remotes[o.mdt] != 0 {
			d.Rests = append(d.Rests, record{MDT: j.s.indexes[o.mdt], Dir: j.s.remotes[o.mdt], Name: j.fid.Bare()})
		}
	}
}
