package lustrelab

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Steps that only scenarios need.

func (p *patient) insaneVersion(s *seen) error {
	if err := p.editFID(s, func(e []byte) error { return setFID(e, insane(s.lma.FID)) }); err != nil {
		return err
	}
	p.must(direntFIDInsane, s.lma.FID, "the name has the FID %v", insane(s.lma.FID))
	return nil
}

// parentNobody makes '..' and link EA of a directory say a parent that does not exist.
func (p *patient) parentNobody(s *seen) error { return p.parentIs(s, p.nobody(p.ref(s).dir)) }

// parentOther makes them say another directory, which has no such name.
func (p *patient) parentOther(s *seen) error {
	r := p.ref(s)
	o, err := p.other(s, func(o *seen) bool { return o.isDir() && o.lmv == nil && o != r.dir && !o.holds(r.name().text) })
	if err != nil {
		return err
	}
	return p.parentIs(s, o.lma.FID)
}

func (p *patient) parentIs(s *seen, parent lustre.FID) error {
	if parent.Seq < lustre.SeqNormal {
		parent = p.nobody(s) // ROOT has no neighbours
	}
	if err := p.knife(s).setLink(s.in.Number, lustre.Link{Parent: parent, Name: p.ref(s).name().text}); err != nil {
		return err
	}
	if err := p.knife(s).editEntry(s.in.Number, s.upAt, func(e []byte) error { return setFID(e, parent) }); err != nil {
		return err
	}
	p.must(unmatchedPair, s.lma.FID, "its link EA says the parent %v", parent)
	p.may(dotdotMismatch, s.lma.FID, "'..' says the same as the link EA")
	return nil
}

// second is the name that secondName made.
func (p *patient) second(s *seen) ref {
	refs := p.w.refs[s.lma.FID]
	return refs[len(refs)-1]
}

func (p *patient) secondNobody(s *seen) error {
	r, fid := p.second(s), p.nobody(s)
	if err := p.knife(s).editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { return setFID(e, fid) }); err != nil {
		return err
	}
	p.must(direntFIDMismatch, s.lma.FID, "%q has the FID %v", r.name().text, fid)
	return nil
}

// secondOther lets another object have the second name.
func (p *patient) secondOther(s *seen) error {
	o, err := p.other(s, func(o *seen) bool { return o.mdt == s.mdt && p.plainFile(o) && p.once(o) && o.in.Mode == s.in.Mode })
	if err != nil {
		return err
	}
	r := p.second(s)
	if err := p.knife(s).setLink(o.in.Number, r.link()); err != nil {
		return err
	}
	if err := p.unname(p.ref(o)); err != nil {
		return err
	}
	err = p.knife(s).editEntry(r.dir.in.Number, r.name().at, func(e []byte) error {
		le.PutUint32(e, o.in.Number)
		return setFID(e, o.lma.FID)
	})
	if err != nil {
		return err
	}
	r.name().fid = o.lma.FID
	p.w.refs[o.lma.FID], p.w.refs[s.lma.FID] = []ref{r}, []ref{p.ref(s)}
	p.touch(o)
	p.must(linkRedundant, s.lma.FID, "%q leads to %v", r.name().text, o.lma.FID)
	p.must(badNlink, s.lma.FID, "2 links, 1 name")
	return nil
}

func (p *patient) loseSecond(s *seen) error {
	if err := p.unname(p.second(s)); err != nil {
		return err
	}
	p.must(lostName, s.lma.FID, "the name %q is removed", p.second(s).name().text)
	return nil
}

func (p *patient) countOneMore(s *seen) error { return p.miscount(s, 1) }

// claimFar takes the name of a directory away and lets its link EA and '..' say that it has that of another one on another MDT.
func (p *patient) claimFar(s *seen) error {
	o, err := p.other(s, func(o *seen) bool {
		return o.isDir() && o.lmv == nil && p.once(o) && p.ref(o).dir.mdt != s.mdt
	})
	if err != nil {
		return err
	}
	r := p.ref(o)
	if err := p.knife(s).setLink(s.in.Number, r.link()); err != nil {
		return err
	}
	err = p.knife(s).editEntry(s.in.Number, s.upAt, func(e []byte) error { return setFID(e, r.dir.lma.FID) })
	if err != nil {
		return err
	}
	s.up = r.dir.lma.FID
	if err := p.unname(p.ref(s)); err != nil {
		return err
	}
	p.touch(o)
	p.must(multipleReferenced, s.lma.FID, "it says that it is %q in %v, which leads to %v", r.name().text, r.dir.lma.FID, o.lma.FID)
	return nil
}

// remembered tells whether the link EAs of everything in a directory have its names: of a name that had no room in one nobody can tell
// when the directory is gone.
func (p *patient) remembered(dir *seen) bool {
	for i := range dir.names {
		if o := p.w.objects[dir.names[i].fid]; o == nil || !p.linked(o) {
			return false
		}
	}
	return true
}

// vanish destroys a directory with its name.
func (p *patient) vanish(s *seen) error {
	if err := p.unname(p.ref(s)); err != nil {
		return err
	}
	return p.destroy(s)
}

// vanishFar moves a file into a directory of another MDT and destroys that with its name.
func (p *patient) vanishFar(s *seen) error {
	for _, d := range p.users {
		if d.mdt != s.mdt && d.isDir() && d.lmv == nil && !d.alien && p.free(d) && d.in.Flags&ext4.FlagIndex == 0 && p.ref(s).dir != d && len(d.names) < 64 && p.remembered(d) {
			if err := p.moveInto(s, d); err != nil {
				return err
			}
			p.touch(d)
			return p.vanish(d)
		}
	}
	return errNoRoom
}

// forget takes the link EA away.
func (p *patient) forget(s *seen) error { return p.knife(s).setXattr(s.in.Number, "link", nil) }

// toBackend moves an object into /lost+found of its MDT under the name that e2fsck gives it.
func (p *patient) toBackend(s *seen) error {
	if err := p.moveLocal(s, "lost+found", fmt.Sprintf("#%d", s.in.Number)); err != nil {
		return err
	}
	p.must(orphan, s.lma.FID, "e2fsck has put it into /lost+found")
	return nil
}

// toPending moves a directory into PENDING, as its removal does while somebody has it open.
func (p *patient) toPending(s *seen) error {
	err := p.knife(s).setLMA(s.in.Number, func(l *lustre.LMA) { l.Incompat |= lustre.LMAIOrphan })
	if err != nil {
		return err
	}
	return p.moveLocal(s, "PENDING", lustre.PendingName(s.lma.FID))
}

// alienate gives an empty directory to another system.
func (p *patient) alienate(s *seen) error {
	return p.knife(s).setXattr(s.in.Number, "lmv", otherSystem.Encode(lustre.LMVForeign))
}

var otherSystem = lustre.Foreign{Type: 0xda05, Value: []byte("daos://pool/other")}

// lostAndUsed takes the LMV of a striped directory away and moves the name of a file into the directory itself.
func (p *patient) lostAndUsed(s *seen) error {
	o, err := p.other(s, func(o *seen) bool {
		return o.mdt == s.mdt && p.plainFile(o) && p.once(o) && !s.holds(p.ref(o).name().text)
	})
	if err != nil {
		return err
	}
	n := *p.ref(o).name()
	if _, err := p.knife(s).addEntry(s.in.Number, n); err != nil {
		return err
	}
	if err := p.knife(s).setLink(o.in.Number, lustre.Link{Parent: s.lma.FID, Name: n.text}); err != nil {
		return err
	}
	if err := p.unname(p.ref(o)); err != nil {
		return err
	}
	p.touch(o)
	p.nameIn(o, p.shardOf(s, n.text), n)
	p.may(masterName, s.lma.FID, "a file was made in it")
	return p.dropLMV(s)
}

// shardOf is the shard of a striped directory that a name belongs into.
func (p *patient) shardOf(master *seen, text string) *seen {
	k, _ := lustre.NameHash(master.lmv.HashType, text, master.lmv.Count)
	for i := range master.names {
		if o := p.w.objects[master.names[i].fid]; o != nil && o.lmv != nil && o.lmv.Index == k {
			return o
		}
	}
	return nil
}

// nameIn notes that n in dir is to be the only name of an object when the damage is repaired. Nothing is written.
func (p *patient) nameIn(s, dir *seen, n name) {
	dir.names = append(dir.names, n)
	p.w.refs[s.lma.FID] = []ref{{dir, len(dir.names) - 1}}
}

// misplaceForGood renames a file within its shard, against the hash, as misplace does: the new name stays, in the right shard.
func (p *patient) misplaceForGood(s *seen) error {
	if err := p.misplace(s); err != nil {
		return err
	}
	r := p.ref(s)
	n := *r.name()
	err := p.knife(s).editEntry(r.dir.in.Number, n.at, func(e []byte) error { n.text = string(e[ext4.DirentName:][:len(n.text)]); return nil })
	if err != nil {
		return err
	}
	p.busy[r.dir] = true
	p.nameIn(s, p.shardOf(p.ref(r.dir).dir, n.text), n)
	return nil
}

// outgrown takes the last name out of the link EA, which then says that there was no room for it.
func (p *patient) outgrown(s *seen) error {
	return p.relink(s, linkOverflow, "says that names did not fit, and lacks one", func(ea *lustre.LinkEA) {
		ea.Links, ea.Overflow = ea.Links[:len(ea.Links)-1], defaultDay
	})
}

// fillable fits directories with a name nearby that empty can make empty.
func (p *patient) fillable(s *seen) bool { return p.plainDir(s) && p.emptiable(s) }

// fillableFar fits such directories whose name is on another MDT.
func (p *patient) fillableFar(s *seen) bool { return p.farDir(s) && p.emptiable(s) }

func (p *patient) emptiable(s *seen) bool {
	if !p.once(s) || s.alien || len(s.names) > 64 {
		return false
	}
	for i := range s.names {
		o := p.w.objects[s.names[i].fid]
		if o == nil || p.taken[o] || !p.plainFile(o) && !p.fillable(o) {
			return false
		}
	}
	return true
}

// empty removes everything in a directory, as a client would.
func (p *patient) empty(s *seen) error {
	for i := range s.names {
		o := p.w.objects[s.names[i].fid]
		if o.isDir() {
			if err := p.empty(o); err != nil {
				return err
			}
		}
		if err := p.unname(ref{s, i}); err != nil {
			return err
		}
		if err := p.destroy(o); err != nil {
			return err
		}
		delete(p.w.objects, o.lma.FID)
		p.taken[o] = true
	}
	s.names = nil
	return nil
}

// What is not as before when the damage is repaired.

// gone says that an object is not there, and the name that led to it leads to nothing.
func gone(_ *patient, s *seen, want Picture) { delete(want, s.lma.FID) }

// anew says that an object is made again, empty, with the rights that LFSCK gives it.
func anew(p *patient, s *seen, want Picture) {
	t := Thing{MDT: s.mdt, Mode: ext4.ModeRegular | 0o600, Names: p.w.nameTexts(s), Attrs: map[string]string{}}
	if s.isDir() {
		t.Mode = ext4.ModeDir | 0o700
	}
	want[s.lma.FID] = t
}

// lostParent says that a directory is made again in lost+found, because of what was in it.
func lostParent(p *patient, s *seen, want Picture) {
	anew(p, s, want)
	inLostFound(s, want, fmt.Sprintf("%v-P-0", s.lma.FID))
}

// lostDirectory says that a directory is in lost+found with the FID of the parent that '..' tells.
func lostDirectory(_ *patient, s *seen, want Picture) {
	inLostFound(s, want, fmt.Sprintf("%v-%v-D-0", s.lma.FID, s.up))
}

func inLostFound(s *seen, want Picture, text string) {
	t := want[s.lma.FID]
	t.Names = []string{fmt.Sprintf("lost+found/MDT%04x/%s", s.mdt, text)}
	want[s.lma.FID] = t
}

// pendingOnly says that an object has no name but that in PENDING.
func pendingOnly(_ *patient, s *seen, want Picture) {
	t := want[s.lma.FID]
	t.Names = []string{"PENDING/" + lustre.PendingName(s.lma.FID)}
	want[s.lma.FID] = t
}

// foreign says that a directory has the LMV that alienate gave it.
func foreign(_ *patient, s *seen, want Picture) {
	want[s.lma.FID].Attrs[attrName(ext4.XattrIndexTrusted, "lmv")] = string(otherSystem.Encode(lustre.LMVForeign))
}
