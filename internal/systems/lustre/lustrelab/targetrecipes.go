package lustrelab

import (
	"errors"
	"fmt"

	"fettle/internal/format/lustre"
)

// turnFlag turns the mark REMOTE_PARENT in an LMA over.
func (p *patient) turnFlag(s *seen) error {
	if err := p.knife(s).setLMA(s.in.Number, func(l *lustre.LMA) { l.Incompat ^= lustre.LMAIRemoteParent }); err != nil {
		return err
	}
	p.must(remoteFlag, s.lma.FID, "the mark REMOTE_PARENT is turned over")
	p.what = "mark REMOTE_PARENT turned over"
	return nil
}

// mistypeAgent puts a file in place of the agent of a directory.
func (p *patient) mistypeAgent(s *seen) error {
	r := p.ref(s)
	k := p.knives[r.dir.mdt]
	ino, err := p.newAgent(r.dir.mdt, s.lma.FID)
	if err != nil {
		return err
	}
	if err := k.editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { le.PutUint32(e, ino); return nil }); err != nil {
		return err
	}
	if err := k.freeInode(r.name().ino); err != nil {
		return err
	}
	p.must(agentType, s.lma.FID, "its agent on MDT%04x is a file", r.dir.mdt)
	p.what = fmt.Sprintf("agent in inode %d, a file", ino)
	return nil
}

// goAstray gives a file the FID of a sequence that belongs to another MDT: in its LMA, behind its name, in the object index.
func (p *patient) goAstray(s *seen) error {
	m := p.w.mdts[s.mdt]
	other := -1
	for i := range p.w.mdts {
		if i != s.mdt {
			other = i
		}
	}
	old, had := m.oi[s.lma.FID]
	if other < 0 || !had {
		return errNoRoom
	}
	p.dead++
	fid := lustre.FID{Seq: seqBase(other) + 3, OID: oidWidth - p.dead}
	e := lustre.OIEntry{FID: fid, Ino: old.Ino, Generation: old.Generation}
	err := p.knife(s).editIndex(m.oiFiles, fid, func(leaf []byte) ([]byte, error) { return lustre.ShapeOI.Insert(leaf, e.Key(), e.Record()) })
	if errors.Is(err, lustre.ErrIAMFull) || errors.Is(err, lustre.ErrIAMExists) {
		return errNoRoom
	}
	if err == nil {
		err = p.dropIndex(s)
	}
	if err == nil {
		err = p.knife(s).setLMA(s.in.Number, func(l *lustre.LMA) { l.FID = fid })
	}
	if err == nil {
		err = p.editFID(s, func(b []byte) error { return setFID(b, fid) })
	}
	if err != nil {
		return err
	}
	p.must(wrongMDT, fid, "it is on MDT%04x", s.mdt)
	p.what = fmt.Sprintf("is %v now, which belongs to MDT%04x", fid, other)
	return nil
}
