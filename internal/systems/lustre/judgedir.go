package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/format/lustre"
	"fettle/internal/say"
)

// directory judges what only directories have: one name, '..', a link count that counts sub-directories, stripes.
func (j *judge) directory(o *object) {
	d := j.dirOf(o)
	if d == nil {
		return // its blocks could not be read, which is told by itself
	}
	j.dirLinks(o, d)
	var n *name
	if len(j.names) == 1 {
		n = &j.names[0]
	}
	if len(j.names) > 1 {
		j.severalNames(o, d)
	}
	if n != nil && (!j.special() || j.fid.IsDotLustre()) {
		j.dotdot(o, d, n)
	}
	faults := stripeFaults(j.about, o, n, d, j.s)
	if f, ok := j.misnamed(n); ok && !slices.ContainsFunc(faults, func(f stripeFault) bool { return f.class == ShardName }) {
		faults = append(faults, f)
	}
	for _, f := range faults {
		j.stripe(o, d, f)
	}
	if d.misplaced > 0 {
		j.wholesale(o, d)
	}
}

// misnamed tells of the name of a shard that has another FID in its text than the shard.
func (j *judge) misnamed(n *name) (stripeFault, bool) {
	if n == nil || !n.has(nameShardForm) || !n.has(nameInMaster) {
		return stripeFault{}, false
	}
	fid, k, ok := lustre.ParseShardName(j.texts[0].text)
	if !ok || fid == j.fid {
		return stripeFault{}, false
	}
	return stripeFault{class: ShardName, have: fmt.Sprintf("%v in the name", fid), want: j.fid.String(), index: k}, true
}

// dirLinks judges a directory's link count. 1 stands for more than fit.
func (j *judge) dirLinks(o *object, d *dirSum) {
	have, want := int(o.links), 2+int(d.subdirs)
	if have == 1 || have == want {
		return
	}
	f := j.add(BadNlink, j.objectSays(o), says(j.s.inodeText(o.mdt, o.ino)+", entries", "sub-directories: %d", d.subdirs)).on(j, o)
	if len(j.names) > 0 {
		f.Evidence = append(f.Evidence, j.nameSays(0))
		f.at(j, 0)
	}
	f.values(say.Count(have, "link"), say.Count(want, "link"))
	f.Detail.WantLinks = want
	f.Title = fmt.Sprintf("the directory has %s; its sub-directories make it %d", say.Count(have, "link"), want)
	f.causes(keyHarm(o.mdt, o.ino), keyChild(j.fid)).unless(keyType(j.fid, have-want))
}

// severalNames reports a directory with more than one name.
func (j *judge) severalNames(o *object, d *dirSum) {
	f := j.add(DirectoryTwice, j.objectSays(o), j.linkSays(o)).on(j, o)
	right := -1
	for i := range j.names {
		if i < 8 {
			f.Evidence = append(f.Evidence, j.nameSays(i))
		}
		if right < 0 && j.knownBy(o, i) && j.texts[i].parent == d.up {
			right = i
		}
	}
	f.Evidence = append(f.Evidence, says("'..'", "leads to %v, inode %d", d.up, d.upIno))
	f.at(j, max(right, 0))
	f.Detail.Entries = j.allEntries()
	if right >= 0 {
		f.Why = "the link EA and '..' know this name"
	}
	f.provides(keyObject(j.fid), keyTwice(j.fid))
}

// dotdot compares '..' with the directory's name.
func (j *judge) dotdot(o *object, d *dirSum, n *name) {
	t := &j.texts[0]
	if !t.sure {
		return
	}
	wantIno := n.dir
	if n.mdt != o.mdt {
		wantIno = j.s.remotes[o.mdt]
	}
	lacks := !d.has(dirUpFID) && j.s.dirdata[o.mdt] && !j.fid.IsDotLustre() // of which old releases wrote it without one
	if d.has(dirUp) && !d.has(dirUpType) && !lacks && (d.up == t.parent || !d.has(dirUpFID)) && d.upIno == wantIno {
		return
	}
	up := "is not there"
	switch {
	case d.has(dirUpFID):
		up = fmt.Sprintf("leads to %v, inode %d", d.up, d.upIno)
	case d.has(dirUp):
		up = fmt.Sprintf("leads to inode %d and has no FID", d.upIno)
	}
	if d.has(dirUpType) {
		up += ", with a type that is not that of a directory"
	}
	f := j.add(DotdotMismatch, says(fmt.Sprintf("'..' in %s", j.s.inodeText(o.mdt, o.ino)), "%s", up), j.nameSays(0), j.linkSays(o)).on(j, o)
	f.at(j, 0)
	f.values(up, fmt.Sprintf("leads to %v, inode %d", t.parent, wantIno))
	f.Detail.Entry = &entryDetail{MDT: j.s.indexes[o.mdt], Dir: o.ino, At: d.upAt, Name: "..", Inode: d.upIno, Type: 2}
	if d.has(dirUpFID) {
		f.Detail.Entry.FID = d.up.String()
	}
	f.Detail.Parent, f.Detail.WantInode = t.parent.String(), wantIno
	f.Rests = append(f.Rests, record{MDT: j.s.indexes[o.mdt], At: d.upAt})
	f.causes(keyObject(j.fid))
}

// stripe reports a fault of a striped directory or shard.
func (j *judge) stripe(o *object, d *dirSum, p stripeFault) {
	if p.class == MasterLMVWrong && j.told != nil && len(j.names) == 1 && j.names[0].has(nameInMaster) {
		j.masterAlone(o, &p)
		return
	}
	f := j.add(p.class, j.objectSays(o)).on(j, o)
	if o.has(objLMV) {
		if v, err := lustre.DecodeLMV(o.lmv); err == nil {
			f.Evidence = append(f.Evidence, says(j.s.inodeText(o.mdt, o.ino)+", LMV", "%v", v))
		}
	} else {
		f.Evidence = append(f.Evidence, says(j.s.inodeText(o.mdt, o.ino)+", LMV", "is not there"))
	}
	if len(j.names) > 0 {
		f.Evidence = append(f.Evidence, j.nameSays(0), j.linkSays(o))
		if m, err := lustre.DecodeLMV(j.names[0].master); err == nil && j.names[0].has(nameInMaster) {
			f.Evidence = append(f.Evidence, says("LMV of the master", "%v", m))
		}
		f.at(j, 0)
	}
	f.Evidence = append(f.Evidence, says(j.s.inodeText(o.mdt, o.ino)+", entries", "%d shards, %d other names", d.shards, d.others))
	f.values(p.have, p.want)
	if p.index >= 0 {
		k := p.index
		f.Detail.WantStripe = &k
	}
	switch p.class {
	case ShardName:
		j.shardName(f, p)
	case StripeLost:
		f.causes(keyHarm(o.mdt, o.ino), keyChild(j.fid)).unless(keyCount(j.fid))
	case MasterName:
	default:
		f.provides(keyLMV(j.fid), keyObject(j.fid))
	}
}

// masterAlone reports a master that all of its shards contradict. The group is that of one of them.
func (j *judge) masterAlone(o *object, p *stripeFault) {
	n := &j.names[0]
	f := j.add(MasterLMVWrong, says(j.s.inodeText(n.mdt, n.dir)+", LMV", "%s", p.have), says("LMVs of the shards, and where names lie", "%s", p.want), j.nameSays(0))
	if v, err := lustre.DecodeLMV(o.lmv); err == nil {
		f.Evidence = append(f.Evidence, says(j.s.inodeText(o.mdt, o.ino)+", LMV", "%v", v))
	}
	f.inode(j.s, n.mdt, n.dir).values(p.have, p.want)
	master := j.texts[0].parent
	f.Subject, f.Detail.FID, f.Dir = master.String(), master.String(), place2{n.mdt, n.dir}
	f.Rests = append(f.Rests, record{MDT: j.s.indexes[o.mdt], Inode: o.ino})
	f.Title = "the master says " + p.have + "; its shards say " + p.want
	f.provides(keyLMV(master), keyObject(master))
	if m, err := lustre.DecodeLMV(n.master); err != nil || m.Count != j.told.Count {
		f.provides(keyCount(master))
	}
}

// shardName adds what a wrong number in the name of a shard explains: its link EA and the master's gap.
func (j *judge) shardName(f *draft, p stripeFault) {
	if f.Detail.Entry != nil && p.index >= 0 {
		f.Detail.Want = lustre.ShardName(j.fid, p.index)
	}
	for i := range j.names {
		if j.texts[i].sure {
			f.provides(keyChild(j.texts[i].parent))
		}
	}
	f.provides(keyObject(j.fid))
	// That the link EA does not know the wrong name is the same fault.
	kept := j.found[:0]
	own := *f
	for _, d := range j.found[:len(j.found)-1] {
		if d.Class != UnmatchedPair && d.Class != LinkMissing {
			kept = append(kept, d)
		}
	}
	j.found = append(kept, own)
}

// wholesale reports names of a shard that only seem misplaced, because the shard's layout is wrong.
func (j *judge) wholesale(o *object, d *dirSum) {
	for _, f := range j.found {
		if f.Class == ShardLMVWrong || f.Class == ShardLMVMissing {
			b := j.add(BadNameHash, says(j.s.inodeText(o.mdt, o.ino)+", entries", "%d of %d names do not belong into the shard that its LMV says it is", d.misplaced, d.shards+d.others), j.objectSays(o)).on(j, o)
			if len(j.names) > 0 {
				b.at(j, 0)
			}
			b.causes(keyLMV(j.fid)).prefer("ignore", "the layout of the shard is wrong, not its names: nothing must be moved")
			b.Title = "names seem to be in the wrong shard, because the shard's layout is wrong"
			return
		}
	}
}
