package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/finding"
)

// duplicate reports that several inodes say that they are the object, and gives the one that most witnesses mean.
func (j *judge) duplicate() *object {
	best, most := 0, -1
	d := j.add(DuplicateFID)
	for i := range j.objects {
		o := &j.objects[i]
		if score := j.backing(o); score > most {
			best, most = i, score
		}
		d.Evidence = append(d.Evidence, j.objectSays(o), j.linkSays(o))
		d.Detail.Inodes = append(d.Detail.Inodes, inodeDetail{j.s.indexes[o.mdt], o.ino, linkText(j.links(o))})
	}
	o := &j.objects[best]
	d.Evidence = append(d.Evidence, j.indexSays()...)
	for i := range j.names {
		if i < 8 {
			d.Evidence = append(d.Evidence, j.nameSays(i))
		}
	}
	d.on(j, o).provides(keyDuplicate(j.fid), keyObject(j.fid))
	for i := range j.objects {
		if p := &j.objects[i]; i != best {
			d.Rests = append(d.Rests, record{MDT: j.s.indexes[p.mdt], Inode: p.ino})
		}
	}
	d.Why = fmt.Sprintf("index and names mean inode %d of MDT%04x", o.ino, j.s.indexes[o.mdt])
	d.Title = fmt.Sprintf("%d inodes say that they are %v", len(j.objects), j.fid)
	if j.decided(o) {
		d.prefer(finding.Quarantine, d.Why+"; nothing leads to the others, and to keep them apart destroys nothing")
	}
	return o
}

// impostor tells whether the only inode that says that it is the object is another one with a wrong LMA: the index has the FID for an inode
// that lost its LMA, nothing but its LMA takes this one for the object, and the one name that it knows leads to it under another FID. The
// group of that FID tells what is wrong with it. To take it for the object would give the names of one file to another.
func (j *judge) impostor(o *object) bool {
	p, lost := j.nameless()
	if !lost || p == (place{o.mdt, o.ino}) || slices.ContainsFunc(j.index, func(e indexed) bool { return e.mdt == o.mdt && e.ino == o.ino }) {
		return false
	}
	for k := range j.names {
		if n := &j.names[k]; n.mdt == o.mdt && n.ino == o.ino || slices.Contains(j.links(o), j.linkOf(k)) {
			return false
		}
	}
	for _, l := range j.links(o) {
		if at := j.lookups[l]; at != nil && at.state == lookTaken && at.dir.mdt == o.mdt && at.entry.ino == o.ino && at.entry.fid != j.fid {
			return true
		}
	}
	return false
}

// backing counts the witnesses that mean an inode.
func (j *judge) backing(o *object) (score int) {
	if slices.Contains(j.index, indexed{o.mdt, o.ino, o.gen}) {
		score++
	}
	if !j.about.astray(o, j.s) {
		score++
	}
	for k := range j.names {
		n := &j.names[k]
		if n.mdt == o.mdt && n.ino == o.ino {
			score++
		}
		if slices.Contains(j.links(o), j.linkOf(k)) {
			score++
		}
	}
	return score
}

// decided tells whether all witnesses mean one inode: the object index has it, a name leads to it that its link EA knows, and nothing leads
// to the others, which can be kept apart from it: no directories, with the same layout or none, sharing no blocks.
func (j *judge) decided(o *object) bool {
	if j.cut || !j.s.complete() || j.about.astray(o, j.s) || j.s.hasOI[o.mdt] && !slices.Contains(j.index, indexed{o.mdt, o.ino, o.gen}) {
		return false
	}
	named := false
	for k := range j.names {
		n := &j.names[k]
		named = named || slices.Contains(j.links(o), j.linkOf(k)) && (n.mdt != o.mdt || n.ino == o.ino)
	}
	right := j.tenant(o.mdt, o.ino)
	for i := range j.objects {
		p := &j.objects[i]
		if p == o {
			continue
		}
		t := j.tenant(p.mdt, p.ino)
		if t == nil || right == nil || dirMode(p.mode) || t.lov != 0 && t.lov != right.lov || t.blocks != 0 && t.blocks == right.blocks {
			return false
		}
		if slices.ContainsFunc(j.index, func(e indexed) bool { return e.mdt == p.mdt && e.ino == p.ino }) ||
			slices.ContainsFunc(j.names, func(n name) bool { return n.mdt == p.mdt && n.ino == p.ino }) ||
			slices.ContainsFunc(slices.Concat(j.remote, j.pending, j.backend), func(l listed) bool { return l.mdt == p.mdt && l.ino == p.ino }) {
			return false
		}
	}
	return named
}
