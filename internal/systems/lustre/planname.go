package lustre

import (
	"encoding/json"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// This file puts names in and takes them out, with all that belongs to a name: the agent of a remote one, link counts of directories,
// '..', the entry of REMOTE_PARENT_DIR.

// subdirs counts the names of type directory.
func (p *planner) subdirs(dir place) (n int, err error) {
	err = p.eachName(dir, func(d ext4.Dirent) {
		if d.Type == ext4.TypeDir {
			n++
		}
	})
	return n, err
}

// eachName goes through the names of a directory without '.' and '..'.
func (p *planner) eachName(dir place, fn func(ext4.Dirent)) error {
	in, err := p.mdts.Inode(dir.mdt, dir.ino)
	if err != nil {
		return err
	}
	if !in.IsDir() {
		return left("inode %d of MDT%04x is no directory", dir.ino, p.u.indexes[dir.mdt])
	}
	return p.mdts.Edit(dir.mdt).View().Dir(in, func(d ext4.Dirent) bool {
		if name := string(d.Name); name != "." && name != ".." {
			fn(d)
		}
		return true
	}, nil)
}

// find tells where an object is. ok is false when it does not exist; the error says that nobody can tell.
func (p *planner) find(f lustre.FID) (place, bool, error) {
	if at, ok := p.made[f]; ok {
		return at, true, nil
	}
	at, how := p.world.locate(f)
	if how == locUnseen {
		return at, false, left("the MDT of %v was not given", f)
	}
	return at, how == locFound, nil
}

// leads tells whether an entry leads to an object.
func (p *planner) leads(e *namedEntry, at place, fid lustre.FID) bool {
	return e.rec.FID == fid.String() || e.dir.mdt == at.mdt && e.rec.Inode == at.ino
}

// typeAt is the type of an inode as names have it.
func (p *planner) typeAt(at place) (string, error) {
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return "", err
	}
	return ext4.TypeName(ext4.DirentTypeOf(in.Mode)), nil
}

// attach gives an object a name in a directory. A name that leads to nothing gets the object; one that leads to another is an error.
func (p *planner) attach(at place, fid lustre.FID, dir place, name string) error {
	typ, err := p.typeAt(at)
	if err != nil {
		return err
	}
	have, err := p.mdts.Dirent(dir.mdt, dir.ino, name)
	if err != nil {
		return err
	}
	e := &namedEntry{dir: dir, name: name}
	links := 0
	if have != nil {
		e.rec = *have
		if !p.leads(e, at, fid) && !p.waits(e) {
			return left("the name %q leads to %s", lustre.NameText(name), have.FID)
		}
		if have.Type == ext4.TypeName(ext4.TypeDir) {
			links--
		}
	}
	e.rec.Type = typ
	if p.u.dirdata[dir.mdt] {
		e.rec.FID = fid.String()
	}
	if e.rec.Inode, err = p.standIn(at, fid, e); err != nil {
		return err
	}
	if typ == ext4.TypeName(ext4.TypeDir) {
		links++
		if err := p.dotdotTo(at, dir); err != nil {
			return err
		}
	}
	if err := p.putEntry(e); err != nil {
		return err
	}
	if have != nil && have.Inode != e.rec.Inode { // the agent of what the name led to before
		if err := p.freeAgent(place{dir.mdt, have.Inode}, have.FID); err != nil {
			return err
		}
	}
	if links == 0 {
		return nil
	}
	return p.addLinks(dir, links)
}

// waits tells whether a name leads to an object that is gone, and takes note that it is used now.
func (p *planner) waits(e *namedEntry) bool {
	fid, err := lustre.ParseFID(e.rec.FID)
	w, ok := p.dangles[fid]
	if !ok && (err != nil || !fid.Sane()) { // it was known by its inode number
		w, ok = p.dangles[lustre.IGIF(e.rec.Inode, 0)]
		err = nil
	}
	if err != nil || !ok || w.e == nil || w.e.Dir != e.dir.ino || p.u.places[w.e.MDT] != e.dir.mdt || lustre.NameOf(w.e.Name, w.e.NameRaw) != e.name {
		return false
	}
	if o := p.outcomes[w.seq]; o != nil {
		was := *o
		p.back = append(p.back, func() { *o = was })
		o.Result = "the name stays and leads to the object that says it is its own"
	}
	return true
}

// newInode makes an inode and gives its number.
func (p *planner) newInode(mdt int, rec mdtrecord.Inode, note string) (uint32, error) {
	rec.Not = p.avoid[mdt]
	ino, err := p.mdts.MakeInode(mdt, mdtrecord.Encode(rec))
	if err != nil {
		return 0, err
	}
	p.add(storeChange(p.u.targets[mdt].name(), mdtrecord.InodeAddr(mdtrecord.KindInode, ino), nil, mdtrecord.Encode(rec), note))
	return ino, nil
}

// dotdotTo makes '..' of a directory lead to another one.
func (p *planner) dotdotTo(at, dir place) error {
	rec := mdtrecord.Dirent{Inode: dir.ino}
	if dir.mdt != at.mdt {
		if rec.Inode = p.u.remotes[at.mdt]; rec.Inode == 0 {
			return left("MDT%04x has no REMOTE_PARENT_DIR", p.u.indexes[at.mdt])
		}
	}
	l, ok := p.mdts.LMA(dir.mdt, dir.ino)
	if !ok {
		return left("%s does not say which FID it has", p.u.inodeText(dir.mdt, dir.ino))
	}
	if p.u.dirdata[at.mdt] {
		rec.FID = l.FID.String()
	}
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindDotdot, at.ino), mdtrecord.Encode(rec), "'..' of "+p.dirText(at))
}

// detach takes a name out, with its agent and the link that a sub-directory is for its parent.
func (p *planner) detach(e *namedEntry) error {
	if err := p.set(e.dir.mdt, mdtrecord.NameAddr(e.dir.ino, e.name), nil, "name in "+p.dirText(e.dir)); err != nil {
		return err
	}
	if e.rec.Type == ext4.TypeName(ext4.TypeDir) {
		if err := p.addLinks(e.dir, -1); err != nil {
			return err
		}
	}
	return p.freeAgent(place{e.dir.mdt, e.rec.Inode}, e.rec.FID)
}

// remoteName gives the entry of an object in REMOTE_PARENT_DIR, nil if there is none.
func (p *planner) remoteName(mdt int, fid lustre.FID) (*namedEntry, error) {
	dir := place{mdt, p.u.remotes[mdt]}
	if dir.ino == 0 {
		return nil, nil
	}
	rec, err := p.mdts.Dirent(mdt, dir.ino, fid.Bare())
	if rec == nil || err != nil {
		return nil, err
	}
	return &namedEntry{dir, fid.Bare(), *rec}, nil
}

// settle makes REMOTE_PARENT_DIR and the mark in the LMA right for an object whose names are known. far says that one of them is on
// another target: the entry stands for it where the object is, so that e2fsck counts a link for it.
func (p *planner) settle(at place, fid lustre.FID, far bool) error {
	have, err := p.remoteName(at.mdt, fid)
	if err != nil {
		return err
	}
	if !far {
		if have != nil {
			if err := p.detach(have); err != nil {
				return err
			}
		}
		return p.flagLMA(at, 0, lustre.LMAIRemoteParent)
	}
	dir := place{at.mdt, p.u.remotes[at.mdt]}
	if dir.ino == 0 {
		return left("MDT%04x has no REMOTE_PARENT_DIR", p.u.indexes[at.mdt])
	}
	typ, err := p.typeAt(at)
	if err != nil {
		return err
	}
	e := &namedEntry{dir: dir, name: fid.Bare(), rec: mdtrecord.Dirent{Type: typ}}
	links := 0
	if have != nil {
		e.rec = have.rec
		if have.rec.Type == ext4.TypeName(ext4.TypeDir) {
			links--
		}
	} else if p.u.dirdata[at.mdt] {
		e.rec.FID = fid.String()
	}
	if e.rec.Inode, e.rec.Type = at.ino, typ; typ == ext4.TypeName(ext4.TypeDir) {
		links++
	}
	if err := p.putEntry(e); err != nil {
		return err
	}
	if links != 0 {
		if err := p.addLinks(dir, links); err != nil {
			return err
		}
	}
	return p.flagLMA(at, lustre.LMAIRemoteParent, 0)
}

// fileIndex makes the object index lead to an object.
func (p *planner) fileIndex(at place, fid lustre.FID) error {
	if !p.u.hasOI[at.mdt] {
		return nil
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return err
	}
	return p.set(at.mdt, mdtrecord.OIAddr(fid), mdtrecord.Encode(mdtrecord.OIEntry{Inode: at.ino, Generation: in.Generation}), "object index")
}

// actTarget puts right what a target keeps for itself.
func (p *planner) actTarget(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	switch x.f.Class {
	case AgentMissing:
		e, err := p.entry(x.d.Entry)
		if err != nil {
			return "", err
		}
		if e.rec.Inode, err = p.standIn(at, fid, e); err != nil {
			return "", err
		}
		return fmt.Sprintf("the name has the agent in inode %d", e.rec.Inode), p.putEntry(e)
	case AgentStale:
		if p.used[at] {
			return "a name leads to it again", nil
		}
		return "agent freed", p.freeAgent(at, x.d.FID)
	case AgentType:
		return p.newAgent(x, at, fid)
	case RemoteFlag:
		if x.d.Have == markedAgent {
			return p.unmarkAgent(at)
		}
		return p.markRemote(at, fid)
	case RemoteMissing:
		return "entry made", p.settle(at, fid, true)
	case RemoteStale:
		return p.staleRemote(x)
	}
	return p.actIndex(x, at, fid)
}

// actIndex puts an entry of the object index right.
func (p *planner) actIndex(x *doing, at place, fid lustre.FID) (string, error) {
	if x.f.Class == IndexMissing || x.d.WantInode != 0 {
		l, ok := p.mdts.LMA(at.mdt, at.ino)
		if !ok {
			return "", left("inode %d does not say which object it is", at.ino)
		}
		// Which object the inode is may have been corrected: then its own FID is what the index has to have.
		return fmt.Sprintf("%v is inode %d in the object index", l.FID, at.ino), p.fileIndex(at, l.FID)
	}
	if _, ok := p.made[fid]; ok {
		return "the object is there again", nil
	}
	if l, ok := p.mdts.LMA(at.mdt, at.ino); ok && l.FID == fid && !l.Has(lustre.LMAIAgent) {
		return "the inode is that object", nil
	}
	if raw, err := p.mdts.Read(at.mdt, mdtrecord.OIAddr(fid)); err != nil {
		return "", err
	} else if rec := (mdtrecord.OIEntry{}); raw != nil && json.Unmarshal(raw, &rec) == nil && rec.Inode != at.ino {
		return "the entry leads to another inode by now", nil
	}
	return "entry removed", p.set(at.mdt, mdtrecord.OIAddr(fid), nil, "object index")
}

// staleRemote removes or corrects an entry of REMOTE_PARENT_DIR.
func (p *planner) staleRemote(x *doing) (string, error) {
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	if x.d.WantInode != 0 {
		e.rec.Inode = x.d.WantInode
		return fmt.Sprintf("entry leads to inode %d", x.d.WantInode), p.putEntry(e)
	}
	if fid, ok := lustre.ParseRemoteParentName(e.name); ok {
		if _, made := p.made[fid]; made {
			return "the object is there again", nil
		}
		if at := (place{e.dir.mdt, e.rec.Inode}); x.d.MDT != nil && *x.d.MDT == x.d.Entry.MDT && x.d.Inode == e.rec.Inode {
			k, err := p.namesOf(at, fid, nil)
			if err != nil && !canLeave(err) {
				return "", err
			}
			if k.far(at.mdt) {
				return "it has a name on another MDT again", nil
			}
		}
	}
	if err := p.detach(e); err != nil {
		return "", err
	}
	// The mark in the LMA goes with the entry.
	at := place{e.dir.mdt, e.rec.Inode}
	if l, ok := p.mdts.LMA(at.mdt, at.ino); ok && l.FID.Bare() == e.name && l.Has(lustre.LMAIRemoteParent) {
		return "entry removed", p.flagLMA(at, 0, lustre.LMAIRemoteParent)
	}
	return "entry removed", nil
}
