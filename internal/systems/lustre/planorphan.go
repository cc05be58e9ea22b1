package lustre

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// reattach gives an object the names back that its link EA tells of. Where none is free it goes to lost+found.
func (p *planner) reattach(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	if fid, err = p.anyFID(at, fid); err != nil {
		return "", err
	}
	wanted, err := p.detailLinks(x.d.Links)
	if err != nil {
		return "", err
	}
	if first := (mdtrecord.Link{Parent: x.d.Parent, Name: x.d.Name, NameRaw: x.d.NameRaw}); first.Parent != "" {
		l, err := first.Decode()
		if err != nil {
			return "", err
		}
		wanted = append([]lustre.Link{l}, wanted...)
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return "", err
	}
	if in.IsDir() || x.f.Class == LostName {
		wanted = wanted[:min(1, len(wanted))]
	}
	var got *namedEntry
	for i, l := range wanted {
		var e *namedEntry
		err := p.attempt(func() (err error) {
			e, err = p.place(at, fid, l, i == 0)
			return err
		})
		if why := (*leftError)(nil); errors.As(err, &why) && (i > 0 || x.f.Class != LostName) {
			continue // taken, or out of reach
		}
		if err != nil {
			return "", err
		}
		if got == nil {
			got = e
		}
	}
	if got == nil {
		return p.quarantine(x)
	}
	if err := p.leaveBackend(at); err != nil {
		return "", err
	}
	return fmt.Sprintf("is %q in %s again", lustre.NameText(got.name), p.dirText(got.dir)), p.finish(at, fid, got)
}

// place puts one name back. A lost directory is made anew for it if makes is set.
func (p *planner) place(at place, fid lustre.FID, l lustre.Link, makes bool) (*namedEntry, error) {
	if !l.Parent.Sane() || lustre.BadName(l.Name) != "" {
		return nil, left("%q in %v is no possible name", lustre.NameText(l.Name), l.Parent)
	}
	dir, ok, err := p.find(l.Parent)
	if err != nil {
		return nil, err
	}
	if !ok && !makes {
		return nil, left("the directory %v is gone", l.Parent)
	}
	if !ok {
		if dir, err = p.makeParent(l.Parent, l.Name); err != nil {
			return nil, err
		}
	}
	if dir, err = p.whereIn(dir, fid, l.Name); err != nil {
		return nil, err
	}
	if rec, err := p.mdts.Dirent(dir.mdt, dir.ino, l.Name); err != nil {
		return nil, err
	} else if rec != nil {
		e := &namedEntry{dir, l.Name, *rec}
		if !p.leads(e, at, fid) && !p.waits(e) {
			return nil, left("the name %q leads to %s", lustre.NameText(l.Name), rec.FID)
		}
	}
	if err := p.attach(at, fid, dir, l.Name); err != nil {
		return nil, err
	}
	e, err := p.lookupName(dir, l.Name)
	if err != nil {
		return nil, err
	}
	return e, p.striped(at, fid, e)
}

// whereIn is the directory in which a name is put back that should be in dir: in a striped directory the shard that its hash leads to. A
// master has one name only for each shard.
func (p *planner) whereIn(dir place, fid lustre.FID, name string) (place, error) {
	in, err := p.mdts.Inode(dir.mdt, dir.ino)
	if err != nil {
		return dir, err
	}
	if !in.IsDir() {
		return dir, left("what should hold the name %q is no directory", lustre.NameText(name))
	}
	v, ok := p.lmv(dir)
	if !ok || v.Changing() {
		return dir, nil
	}
	_, k, shard := lustre.ParseShardName(name)
	switch {
	case v.IsMaster() && shard:
		have, err := p.shardsOf(dir)
		if err != nil {
			return dir, err
		}
		if other, taken := have[k]; taken && other != fid {
			return dir, left("the master has %v as shard %d", other, k)
		}
	case v.IsMaster():
		return p.shardOf(dir, &v, name)
	case misplaced(&v, name):
		to, err := p.shardFor(dir, name)
		if canLeave(err) {
			return dir, nil // the name is told as misplaced then
		}
		return to, err
	}
	return dir, nil
}

// striped makes the layouts right of a shard that got its name back, and of a master that was made anew for it.
func (p *planner) striped(at place, fid lustre.FID, e *namedEntry) error {
	of, _, ok := lustre.ParseShardName(e.name)
	if !ok || of != fid {
		return nil
	}
	v, has := p.lmv(at)
	if _, settled := p.lmv(e.dir); settled {
		if has {
			return nil
		}
		return p.stripe(at, e)
	}
	dir, ok := p.mdts.LMA(e.dir.mdt, e.dir.ino)
	if _, made := p.made[dir.FID]; !ok || !made || !has || !v.IsShard() || v.Changing() {
		return nil
	}
	v.Magic, v.Index = lustre.LMVMaster, p.u.indexes[e.dir.mdt]
	return p.putLMV(e.dir, v)
}

// makeParent makes a lost directory anew: under the name that still leads to it, else in lost+found.
func (p *planner) makeParent(fid lustre.FID, child string) (place, error) {
	if w, ok := p.dangles[fid]; ok {
		if e, err := p.entry(w.e); err == nil {
			if e.rec.Type != ext4.TypeName(ext4.TypeDir) {
				return place{}, left("%v is a %s, says the name that still leads to it", fid, e.rec.Type)
			}
			if o := p.outcomes[w.seq]; o != nil {
				was := *o
				p.back = append(p.back, func() { *o = was })
				o.Result = "the name stays; an empty directory was made for objects that say they were in it"
			}
			return p.recreate(fid, e)
		}
	}
	home, known := p.u.home(fid)
	if !known || home < 0 {
		return place{}, left("the directory %v is gone, and it is not known on which MDT it was", fid)
	}
	dir, err := p.lostDir(home)
	if err != nil {
		return place{}, err
	}
	name, err := p.freeLostName(dir, lustre.LostName{Object: fid, Type: lustre.LostParent, Slot: -1})
	if err != nil {
		return place{}, err
	}
	return p.recreate(fid, &namedEntry{dir: dir, name: name, rec: mdtrecord.Dirent{Type: ext4.TypeName(ext4.TypeDir)}})
}

// freeLostName finds a name that is not taken.
func (p *planner) freeLostName(dir place, n lustre.LostName) (string, error) {
	for ; n.N < 1000; n.N++ {
		if taken, err := p.has(dir, n.String()); err != nil || !taken {
			return n.String(), err
		}
	}
	return "", left("all names for it in lost+found are taken")
}

// quarantine gives an object a name in lost+found.
func (p *planner) quarantine(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	n, ok := lustre.ParseLostName(x.d.LostName)
	if now, err := p.anyFID(at, fid); err != nil {
		return "", err
	} else if now != fid {
		fid, n.Object = now, now
	}
	if !ok {
		n = lustre.LostName{Object: fid, Type: lustre.LostOrphan, Slot: -1}
	}
	dir, err := p.lostDir(at.mdt)
	if err != nil {
		return "", err
	}
	name, err := p.freeLostName(dir, n)
	if err != nil {
		return "", err
	}
	if n.Type == lustre.LostShard { // as an ordinary directory what is in it can be reached
		if err := p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLMV, at.ino), nil, "LMV of "+fid.String()); err != nil {
			return "", err
		}
		if err := p.flagLMA(at, 0, lustre.LMAIStriped); err != nil {
			return "", err
		}
	}
	if err := p.attach(at, fid, dir, name); err != nil {
		return "", err
	}
	if err := p.leaveBackend(at); err != nil {
		return "", err
	}
	e := &namedEntry{dir: dir, name: name}
	return fmt.Sprintf("is .lustre/lost+found/%s/%s now. %s", lustre.MDTName(p.u.indexes[at.mdt]), name, n.Explain()), p.finish(at, fid, e)
}

// anyFID is the FID of an object. For one that has lost its LMA, and that no name and no index knows, the layout of a file repeats it; else it
// gets a new one, but not a directory with names, as what is in it knows the old one.
func (p *planner) anyFID(at place, fid lustre.FID) (lustre.FID, error) {
	if l, ok := p.mdts.LMA(at.mdt, at.ino); ok && l.FID.Sane() || !fid.IsIGIF() {
		return fid, nil
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return fid, err
	}
	if names := 0; in.IsDir() && (p.eachName(at, func(ext4.Dirent) { names++ }) != nil || names > 0) {
		return fid, left("inode %d of MDT%04x has no LMA, and nothing tells which directory it is", at.ino, p.u.indexes[at.mdt])
	}
	now, told := p.layoutFID(at)
	if !told {
		if now, err = p.newFID(at.mdt); err != nil {
			return fid, err
		}
	}
	if err := p.putLMA(at, lustre.LMA{FID: now}); err != nil {
		return fid, err
	}
	keep(p, p.made, now, at)
	return now, p.fileIndex(at, now)
}

// layoutFID is the FID that the layout of a file repeats, if it is one of the target and no other object has it.
func (p *planner) layoutFID(at place) (lustre.FID, bool) {
	raw, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLOV)
	if err != nil || raw == nil {
		return lustre.FID{}, false
	}
	l, err := lustre.DecodeLOV(raw)
	if err != nil || !l.Owner.IsNormal() || !l.Owner.Sane() {
		return lustre.FID{}, false
	}
	home, known := p.u.home(l.Owner)
	_, taken, err := p.find(l.Owner)
	return l.Owner, err == nil && known && home == at.mdt && !taken
}

// forgetLost corrects link EA and link count of a file that is not to get a lost name back.
func (p *planner) forgetLost(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	k, err := p.namesOf(at, fid, nil)
	if err != nil {
		return "", err
	}
	if k.hidden > 0 || len(k.links) == 0 {
		return "", left("not all of its names can be seen")
	}
	if err := p.putLinkEA(at, k.links, 0); err != nil {
		return "", err
	}
	p.lose(fmt.Sprintf("the name %q", x.d.Name))
	return "link EA and link count set to the names that there are", p.putLinks(at, len(k.links))
}

// leaveBackend takes an object out of the target's own lost+found, where e2fsck put it.
func (p *planner) leaveBackend(at place) error {
	lf, err := p.mdts.Dirent(at.mdt, ext4.InoRoot, "lost+found")
	if err != nil || lf == nil {
		return err
	}
	dir := place{at.mdt, lf.Inode}
	e, err := p.lookupName(dir, fmt.Sprintf("#%d", at.ino))
	if why := (*leftError)(nil); errors.As(err, &why) {
		return nil
	}
	if err != nil || e.rec.Inode != at.ino {
		return err
	}
	return p.detach(e)
}

// lostDir gives .lustre/lost+found/MDTxxxx of a target, which is made if it is not there.
func (p *planner) lostDir(mdt int) (place, error) {
	if at, ok := p.lost[mdt]; ok {
		return at, nil
	}
	zero, ok := p.u.places[0]
	if !ok || p.u.targets[zero].marks.root == 0 {
		return place{}, left("MDT0000 was not given, which has lost+found")
	}
	dir := place{zero, p.u.targets[zero].marks.root}
	for _, name := range []string{".lustre", "lost+found"} {
		e, err := p.lookupName(dir, name)
		if err != nil {
			return place{}, err
		}
		dir.ino = e.rec.Inode
	}
	name := lustre.MDTName(p.u.indexes[mdt])
	rec, err := p.mdts.Dirent(dir.mdt, dir.ino, name)
	if err != nil {
		return place{}, err
	}
	if rec != nil {
		fid, err := lustre.ParseFID(rec.FID)
		if err != nil {
			return place{}, left("lost+found/%s has no FID", name)
		}
		at, ok, err := p.find(fid)
		if err == nil && !ok {
			err = left("lost+found/%s leads to %v, which is gone", name, fid)
		}
		return at, err
	}
	fid, err := p.newFID(mdt)
	if err != nil {
		return place{}, err
	}
	at, err := p.newObject(mdt, fid, true, dir)
	if err != nil {
		return at, err
	}
	if err := p.attach(at, fid, dir, name); err != nil {
		return at, err
	}
	keep(p, p.lost, mdt, at)
	return at, p.finish(at, fid, &namedEntry{dir: dir, name: name})
}
