package lustre

import (
	"bytes"
	"fmt"

	"fettle/internal/finding"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// duplicates is about inodes that have the FID of another one. Names that lead to them tell who they are, and those were dealt with
// first. What nobody knows gets a FID of its own and a name in lost+found, if all witnesses mean one inode or somebody asks for it.
func (p *planner) duplicates(x *doing) (string, error) {
	right, ok := p.objectPlace(x.d)
	if !ok {
		return "", left("its MDT was not given")
	}
	n, note := 0, ""
	for _, i := range x.d.Inodes {
		mdt, ok := p.u.places[i.MDT]
		if !ok {
			return "", left("MDT%04x was not given", i.MDT)
		}
		twin := place{mdt, i.Inode}
		if twin == right {
			continue
		}
		if l, ok := p.mdts.LMA(mdt, i.Inode); !ok || l.FID.String() != x.d.FID {
			continue
		}
		if x.act != finding.Quarantine {
			return "", left("no name leads to inode %d of MDT%04x, so nobody can tell which object it is; quarantine gives it a new FID and a name in lost+found", i.Inode, i.MDT)
		}
		shares, err := p.newIdentity(twin, right)
		if err != nil {
			return "", err
		}
		if n++; shares {
			note = "; they may have objects on the OSTs that the original has as well: compare before you delete one"
		}
	}
	if n == 0 {
		return "each inode has its own FID", nil
	}
	return fmt.Sprintf("%d inodes got FIDs of their own and names in lost+found%s", n, note), nil
}

// newIdentity gives an inode a FID of its own and a name in lost+found. A layout that is that of the right inode stays with that one only,
// for whoever deletes the other would destroy the data of both. shares says that the inode keeps a layout of which nobody knows that.
func (p *planner) newIdentity(at, right place) (shares bool, err error) {
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return false, err
	}
	its, err := p.mdts.Inode(right.mdt, right.ino)
	if err != nil {
		return false, err
	}
	if b := blocksOf(in); at.mdt == right.mdt && b != 0 && b == blocksOf(its) {
		return false, left("inodes %d and %d have the same blocks, which e2fsck of the Lustre distribution has to tell apart first", at.ino, right.ino)
	}
	if shares, err = p.dropLayout(at, right); err != nil {
		return false, err
	}
	fid, err := p.newFID(at.mdt)
	if err != nil {
		return false, err
	}
	l, _ := p.mdts.LMA(at.mdt, at.ino)
	l.FID, l.Incompat = fid, l.Incompat&^(lustre.LMAIRemoteParent|lustre.LMAIStriped)
	if err := p.putLMA(at, l); err != nil {
		return false, err
	}
	keep(p, p.made, fid, at)
	if err := p.fileIndex(at, fid); err != nil {
		return false, err
	}
	if err := p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLMV, at.ino), nil, "LMV of "+fid.String()); err != nil {
		return false, err
	}
	dir, err := p.lostDir(at.mdt)
	if err != nil {
		return false, err
	}
	name, err := p.freeLostName(dir, lustre.LostName{Object: fid, Type: lustre.LostOrphan, Slot: -1})
	if err != nil {
		return false, err
	}
	if err := p.attach(at, fid, dir, name); err != nil {
		return false, err
	}
	return shares, p.finish(at, fid, &namedEntry{dir: dir, name: name})
}

// dropLayout takes away the layout of an inode that another one has as well.
func (p *planner) dropLayout(at, right place) (kept bool, err error) {
	mine, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLOV)
	if err != nil || mine == nil {
		return false, err
	}
	its, err := p.mdts.Xattr(right.mdt, right.ino, mdtrecord.KindLOV)
	if err != nil || !bytes.Equal(mine, its) {
		return true, err
	}
	return false, p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLOV, at.ino), nil, "layout of "+p.dirText(at)+", which "+p.u.inodeText(right.mdt, right.ino)+" has as well")
}
