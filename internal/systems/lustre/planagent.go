package lustre

import (
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// This file is about agents: inodes that stand on a target for objects of others, so that e2fsck finds something behind their names.

// standIn is the inode that a name of an object has: its own on the same target, else an agent.
func (p *planner) standIn(at place, fid lustre.FID, e *namedEntry) (uint32, error) {
	if e.dir.mdt == at.mdt {
		return at.ino, nil
	}
	if l, ok := p.mdts.LMA(e.dir.mdt, e.rec.Inode); e.rec.Inode != 0 && ok && l.Has(lustre.LMAIAgent) && l.FID == fid {
		return e.rec.Inode, p.useAgent(place{e.dir.mdt, e.rec.Inode}, e.dir)
	}
	if ino, ok := p.spare[spareKey{e.dir.mdt, fid}]; ok && !p.used[place{e.dir.mdt, ino}] {
		if l, ok := p.mdts.LMA(e.dir.mdt, ino); ok && l.Has(lustre.LMAIAgent) && l.FID == fid {
			return ino, p.useAgent(place{e.dir.mdt, ino}, e.dir)
		}
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return 0, err
	}
	if had := (place{e.dir.mdt, e.rec.Inode}); had.ino != 0 && p.bareAgent(had, in, fid) {
		keep(p, p.used, had, true)
		return had.ino, p.putLMA(had, lustre.LMA{Incompat: lustre.LMAIAgent, FID: fid})
	}
	// e2fsck compares the type of an agent with that in the name. What a link leads to nobody reads here.
	rec := mdtrecord.Inode{Type: ext4.TypeName(ext4.DirentTypeOf(in.Mode)), Near: e.dir.ino}
	switch {
	case in.IsDir():
		rec.Up = e.dir.ino
		if p.u.dirdata[e.dir.mdt] {
			rec.UpFID = fid.String() // as servers write it
		}
	case in.IsSymlink():
		rec.Target = fid.String()
	case in.Mode&ext4.ModeTypeMask != ext4.ModeFIFO && in.Mode&ext4.ModeTypeMask != ext4.ModeSocket:
		rec.Type = ext4.TypeName(ext4.TypeRegular) // of devices as well, which have no agents of their own kind here
	}
	ino, err := p.newInode(e.dir.mdt, rec, "agent of "+fid.String())
	if err != nil {
		return 0, err
	}
	keep(p, p.used, place{e.dir.mdt, ino}, true)
	return ino, p.putLMA(place{e.dir.mdt, ino}, lustre.LMA{Incompat: lustre.LMAIAgent, FID: fid})
}

// bareAgent tells whether an inode is the agent for an object that has only lost its LMA.
func (p *planner) bareAgent(at place, of *ext4.Inode, fid lustre.FID) bool {
	if used, err := p.mdts.Edit(at.mdt).InUse(at.ino); err != nil || !used || p.u.targets[at.mdt].marks.own(at.ino) {
		return false
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil || in.Mode != of.Mode&ext4.ModeTypeMask || in.Links == 0 {
		return false
	}
	for _, kind := range []string{mdtrecord.KindLMA, mdtrecord.KindLink, mdtrecord.KindLOV, mdtrecord.KindLMV} {
		if raw, err := p.mdts.Xattr(at.mdt, at.ino, kind); err != nil || raw != nil {
			return false
		}
	}
	if !in.IsDir() {
		return in.Size == 0
	}
	names := 0
	up, err := p.mdts.Dirent(at.mdt, at.ino, "..")
	return err == nil && up != nil && up.FID == fid.String() && p.eachName(at, func(ext4.Dirent) { names++ }) == nil && names == 0
}

// useAgent takes an agent that is there for a name in dir. Lustre never reads '..' of an agent, but e2fsck counts it as a link of the
// directory that it leads to, which may be gone, or another one by now.
func (p *planner) useAgent(at, dir place) error {
	keep(p, p.used, at, true)
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil || !in.IsDir() {
		return err
	}
	rec, err := p.mdts.Dirent(at.mdt, at.ino, "..")
	if err != nil || rec == nil || rec.Inode == dir.ino {
		return err
	}
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindDotdot, at.ino), mdtrecord.Encode(mdtrecord.Dirent{Inode: dir.ino, FID: rec.FID}), "'..' of the agent in "+p.u.inodeText(at.mdt, at.ino))
}

// freeAgent frees an inode if it is an agent for that FID. Anything else is left alone.
func (p *planner) freeAgent(at place, fid string) error {
	if p.u.targets[at.mdt].marks.own(at.ino) {
		return nil
	}
	if used, err := p.mdts.Edit(at.mdt).InUse(at.ino); err != nil || !used {
		return nil
	}
	if l, ok := p.mdts.LMA(at.mdt, at.ino); !ok || !l.Has(lustre.LMAIAgent) || l.FID.String() != fid {
		return nil
	}
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindInode, at.ino), nil, "agent of "+fid)
}
