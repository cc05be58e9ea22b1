package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// unmarkAgent takes the mark from an object that its LMA calls an agent.
func (p *planner) unmarkAgent(at place) (string, error) {
	return "mark AGENT cleared", p.flagLMA(at, 0, lustre.LMAIAgent)
}

// markRemote makes the mark in the LMA go with the entry of REMOTE_PARENT_DIR.
func (p *planner) markRemote(at place, fid lustre.FID) (string, error) {
	have, err := p.remoteName(at.mdt, fid)
	if err != nil {
		return "", err
	}
	if have != nil && have.rec.Inode == at.ino {
		return "mark REMOTE_PARENT set", p.flagLMA(at, lustre.LMAIRemoteParent, 0)
	}
	return "mark REMOTE_PARENT cleared", p.flagLMA(at, 0, lustre.LMAIRemoteParent)
}

// newAgent gives a name an agent of the right type. The wrong one is freed.
func (p *planner) newAgent(x *doing, at place, fid lustre.FID) (string, error) {
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	typ, err := p.typeAt(at)
	if err != nil {
		return "", err
	}
	old := place{e.dir.mdt, e.rec.Inode}
	if was, err := p.typeAt(old); err != nil || was == typ {
		return "the agent is right", err
	}
	e.rec.Inode = 0
	if e.rec.Inode, err = p.standIn(at, fid, e); err != nil {
		return "", err
	}
	if err := p.putEntry(e); err != nil {
		return "", err
	}
	return fmt.Sprintf("the name has the agent in inode %d", e.rec.Inode), p.freeAgent(old, fid.String())
}

// changeFID gives an object a FID of the target that it is on, with its names and agents.
func (p *planner) changeFID(x *doing) (string, error) {
	if x.act == Keep {
		return "left to a person", nil
	}
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return "", err
	}
	if lmv, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLMV); err != nil || lmv != nil {
		return "", left("a striped directory cannot get another FID: its shards are named after it")
	}
	if in.IsDir() {
		used := 0
		if err := p.eachName(at, func(ext4.Dirent) { used++ }); err != nil {
			return "", err
		}
		if used > 0 {
			return "", left("the directory is not empty, and what is in it knows it by its FID; move it with its MDT's device, or empty it from a client after the FLD is right")
		}
	}
	more, err := p.detailLinks(x.d.Links)
	if err != nil {
		return "", err
	}
	k, err := p.namesOf(at, fid, more)
	if err != nil {
		return "", err
	}
	if k.hidden > 0 || len(k.links) != len(x.d.Entries) {
		return "", left("not all of its names can be seen")
	}
	now, err := p.newFID(at.mdt)
	if err != nil {
		return "", err
	}
	if err := p.putFID(at, fid, now); err != nil {
		return "", err
	}
	for i, link := range k.links {
		if err := p.renameFID(at, now, k.dirs[i], link.Name); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("is %v now", now), p.settle(at, now, k.far(at.mdt))
}

// putFID makes an object another one for its target: in REMOTE_PARENT_DIR, the object index and its LMA.
func (p *planner) putFID(at place, was, now lustre.FID) error {
	listed, err := p.remoteName(at.mdt, was)
	if err != nil {
		return err
	}
	if listed != nil {
		if err := p.detach(listed); err != nil {
			return err
		}
	}
	if p.u.hasOI[at.mdt] {
		if err := p.set(at.mdt, mdtrecord.OIAddr(was), nil, "object index"); err != nil {
			return err
		}
	}
	l, _ := p.mdts.LMA(at.mdt, at.ino)
	l.FID = now
	if err := p.putLMA(at, l); err != nil {
		return err
	}
	keep(p, p.made, now, at)
	return p.fileIndex(at, now)
}

// renameFID makes a name lead to an object under its new FID.
func (p *planner) renameFID(at place, now lustre.FID, dir place, name string) error {
	e, err := p.lookupName(dir, name)
	if err != nil {
		return err
	}
	if p.u.dirdata[dir.mdt] {
		e.rec.FID = now.String()
	}
	if agent := (place{dir.mdt, e.rec.Inode}); dir.mdt != at.mdt {
		if l, ok := p.mdts.LMA(agent.mdt, agent.ino); ok && l.Has(lustre.LMAIAgent) {
			l.FID = now
			if err := p.putLMA(agent, l); err != nil {
				return err
			}
		}
	}
	return p.putEntry(e)
}
