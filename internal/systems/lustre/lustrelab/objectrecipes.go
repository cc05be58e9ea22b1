package lustrelab

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// insane is a FID that cannot be one, made of a sane one as the tests of LFSCK do it.
func insane(f lustre.FID) lustre.FID { return lustre.FID{Seq: f.Seq, OID: f.OID, Ver: ^uint32(0)} }

// editFID changes the FID behind the first name of an object.
func (p *patient) editFID(s *seen, edit func(entry []byte) error) error {
	r := p.ref(s)
	return p.knives[r.dir.mdt].editEntry(r.dir.in.Number, r.name().at, edit)
}

func (p *patient) noFID(s *seen) error {
	if err := p.editFID(s, dropFID); err != nil {
		return err
	}
	p.must(noFID, s.lma.FID, "no FID stands behind the name")
	return nil
}

// wrongFID writes the FID of nobody or of another object behind the name.
func (p *patient) wrongFID(s *seen) error {
	fid := p.nobody(s)
	if p.rnd.IntN(2) == 0 {
		o, err := p.other(s, func(o *seen) bool { return o.mdt == s.mdt && p.plainFile(o) && p.linked(o) })
		if err == nil {
			fid = o.lma.FID
			p.touch(o)
		}
	}
	if err := p.editFID(s, func(e []byte) error { return setFID(e, fid) }); err != nil {
		return err
	}
	p.must(direntFIDMismatch, s.lma.FID, "the name has the FID %v", fid)
	p.what = fmt.Sprintf("the name gets %v", fid)
	return nil
}

func (p *patient) insaneFID(s *seen) error {
	fid := insane(s.lma.FID)
	if p.rnd.IntN(2) == 0 {
		fid = lustre.FID{Seq: 0xbc00000010000701, OID: p.rnd.Uint32(), Ver: 0x74786574}
	}
	if err := p.editFID(s, func(e []byte) error { return setFID(e, fid) }); err != nil {
		return err
	}
	p.must(direntFIDInsane, s.lma.FID, "the name has the FID %v", fid)
	p.what = fmt.Sprintf("the name gets %v", fid)
	return nil
}

// wrongInode makes the name of an object lead to the inode of another one.
func (p *patient) wrongInode(s *seen) error {
	o, err := p.other(s, func(o *seen) bool { return o.mdt == s.mdt && p.plainFile(o) && o.in.Mode == s.in.Mode })
	if err != nil {
		return err
	}
	r := p.ref(s)
	err = p.knife(s).editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { le.PutUint32(e, o.in.Number); return nil })
	if err != nil {
		return err
	}
	p.touch(o)
	p.must(direntInode, s.lma.FID, "the name leads to inode %d", o.in.Number)
	p.what = fmt.Sprintf("the name leads to inode %d instead of %d", o.in.Number, s.in.Number)
	return nil
}

func (p *patient) dropLMA(s *seen) error {
	if err := p.knife(s).setXattr(s.in.Number, "lma", nil); err != nil {
		return err
	}
	p.must(missingLMA, s.lma.FID, "the LMA is removed")
	return nil
}

// wrongLMA makes an object say that it is somebody else, who does not exist.
func (p *patient) wrongLMA(s *seen) error {
	fid := p.nobody(s)
	if err := p.knife(s).setLMA(s.in.Number, func(l *lustre.LMA) { l.FID = fid }); err != nil {
		return err
	}
	p.must(direntFIDMismatch, fid, "the LMA of inode %d says %v, name and object index say %v", s.in.Number, fid, s.lma.FID)
	p.may(indexMissing, fid, "the object index has the inode under its right FID")
	p.what = fmt.Sprintf("the LMA says %v", fid)
	return nil
}

// twin makes a second inode that says the same of itself.
func (p *patient) twin(s *seen) error {
	ino, err := p.knife(s).copyInode(s.in.Number)
	if err != nil {
		return err
	}
	p.must(duplicateFID, s.lma.FID, "inode %d says that it is the object in inode %d", ino, s.in.Number)
	p.what = fmt.Sprintf("copied to inode %d", ino)
	return nil
}

// wrongUp makes '..' of a directory lead to the FID of another one.
func (p *patient) wrongUp(s *seen) error {
	o, err := p.other(s, func(o *seen) bool { return o.isDir() && o.lmv == nil && o != p.ref(s).dir })
	if err != nil {
		return err
	}
	if err := p.knife(s).editEntry(s.in.Number, s.upAt, func(e []byte) error { return setFID(e, o.lma.FID) }); err != nil {
		return err
	}
	p.must(dotdotMismatch, s.lma.FID, "'..' leads to %v", o.lma.FID)
	p.what = fmt.Sprintf("'..' leads to %v", o.lma.FID)
	return nil
}

// miscount sets a wrong link count.
func (p *patient) miscount(s *seen, by int) error {
	have := int(s.in.Links)
	if err := p.knife(s).setLinks(s.in.Number, uint16(have+by)); err != nil {
		return err
	}
	p.must(badNlink, s.lma.FID, "%d links, should be %d", have+by, have)
	p.what = fmt.Sprintf("%d links become %d", have, have+by)
	return nil
}

func (p *patient) countMore(s *seen) error { return p.miscount(s, 1+p.rnd.IntN(3)) }
func (p *patient) countLess(s *seen) error { return p.miscount(s, -1) }

// Object index, agents, REMOTE_PARENT_DIR.

// inIndex fits objects that the object index has.
func (p *patient) inIndex(s *seen) bool {
	_, ok := p.w.mdts[s.mdt].oi[s.lma.FID]
	return ok
}

func (p *patient) loseIndex(s *seen) error {
	if err := p.dropIndex(s); err != nil {
		return err
	}
	p.must(indexMissing, s.lma.FID, "its entry of the object index is removed")
	return nil
}

// staleIndex makes the object index say that an object is in another inode.
func (p *patient) staleIndex(s *seen) error {
	o, err := p.other(s, func(o *seen) bool { return o.mdt == s.mdt })
	if err != nil {
		return err
	}
	m := p.w.mdts[s.mdt]
	e := lustre.OIEntry{FID: s.lma.FID, Ino: o.in.Number, Generation: o.in.Generation}
	err = p.knife(s).editIndex(m.oiFiles, e.FID, func(leaf []byte) ([]byte, error) {
		return lustre.ShapeOI.Replace(leaf, e.Key(), e.Record())
	})
	if err != nil {
		return err
	}
	p.touch(o)
	p.must(indexStale, s.lma.FID, "the object index says inode %d", e.Ino)
	p.what = fmt.Sprintf("the object index says inode %d", e.Ino)
	return nil
}

// deadIndex adds an entry for an object that does not exist.
func (p *patient) deadIndex(s *seen) error {
	m := p.w.mdts[s.mdt]
	e := lustre.OIEntry{FID: p.nobody(s), Ino: s.in.Number, Generation: s.in.Generation}
	err := p.knife(s).editIndex(m.oiFiles, e.FID, func(leaf []byte) ([]byte, error) {
		return lustre.ShapeOI.Insert(leaf, e.Key(), e.Record())
	})
	if isAny(err, lustre.ErrIAMFull, lustre.ErrIAMExists) {
		return errNoRoom
	}
	if err != nil {
		return err
	}
	p.must(indexStale, e.FID, "the object index has it in inode %d, which is %v", e.Ino, s.lma.FID)
	p.what = fmt.Sprintf("the object index has %v there as well", e.FID)
	return nil
}

// dropAgent frees the inode behind a name that leads to another MDT.
func (p *patient) dropAgent(s *seen) error {
	r := p.ref(s)
	if err := p.knives[r.dir.mdt].freeInode(r.name().ino); err != nil {
		return err
	}
	p.must(agentMissing, s.lma.FID, "the agent, inode %d of MDT%04x, is freed", r.name().ino, r.dir.mdt)
	p.what = "agent freed"
	return nil
}

// wrongAgent makes an agent stand for nobody.
func (p *patient) wrongAgent(s *seen) error {
	r, fid := p.ref(s), p.nobody(s)
	if err := p.knives[r.dir.mdt].setLMA(r.name().ino, func(l *lustre.LMA) { l.FID = fid }); err != nil {
		return err
	}
	p.must(agentMissing, s.lma.FID, "the agent, inode %d of MDT%04x, stands for %v", r.name().ino, r.dir.mdt, fid)
	p.may(agentStale, fid, "an agent with a wrong FID")
	p.what = fmt.Sprintf("the agent stands for %v", fid)
	return nil
}

// strayAgent adds an agent that no name leads to.
func (p *patient) strayAgent(s *seen) error {
	mdt := p.ref(s).dir.mdt
	ino, err := p.newAgent(mdt, s.lma.FID)
	if err != nil {
		return err
	}
	p.must(agentStale, s.lma.FID, "inode %d of MDT%04x is an agent without a name", ino, mdt)
	p.what = fmt.Sprintf("one more agent, inode %d of MDT%04x", ino, mdt)
	return nil
}

func (p *patient) loseRemote(s *seen) error {
	if err := p.dropRemote(s); err != nil {
		return err
	}
	p.must(remoteMissing, s.lma.FID, "its entry of REMOTE_PARENT_DIR is removed")
	return nil
}

// staleRemote adds an entry of REMOTE_PARENT_DIR for an object that has its name on its own MDT.
func (p *patient) staleRemote(s *seen) error {
	m := p.w.mdts[s.mdt]
	n := name{text: lustre.RemoteParentName(s.lma.FID), typ: ext4.DirentTypeOf(s.in.Mode), ino: s.in.Number}
	if _, err := p.knife(s).addEntry(m.rpd, n); err != nil {
		return err
	}
	p.must(remoteStale, s.lma.FID, "REMOTE_PARENT_DIR has it although its name is on MDT%04x as well", s.mdt)
	return nil
}
