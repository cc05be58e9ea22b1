package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// actLost is about names without objects and objects without names.
func (p *planner) actLost(x *doing) (string, error) {
	switch {
	case x.f.Class == DanglingName:
		return p.actDangling(x)
	case x.f.Class == StripeLost:
		return p.actStripe(x)
	case x.act == finding.Discard:
		return p.destroy(x)
	case x.act == finding.Quarantine:
		return p.quarantine(x)
	case x.act == TrustName:
		return p.forgetLost(x)
	}
	return p.reattach(x)
}

func (p *planner) actDangling(x *doing) (string, error) {
	if x.act == Keep {
		return "the name is kept", nil
	}
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	fid, err := lustre.ParseFID(x.d.FID)
	if err != nil {
		return "", err
	}
	if x.act == finding.Restore {
		if _, again := p.made[fid]; !again {
			return p.restore(x, fid)
		}
	}
	if at, ok, _ := p.find(fid); ok && x.act != Remove {
		return "the object is there again", p.adopt(at, fid, e)
	}
	if x.act == Remove {
		if p.ofShard(x) {
			return "", left("it is the name of a shard, without which what is in the striped directory is found no better: recreate makes an empty one")
		}
		if _, made := p.made[fid]; made {
			p.cut() // it is made anew under another name, which has to be there before this one goes
		}
		p.lose(fmt.Sprintf("the name %q", lustre.NameText(e.name)))
		return "name removed", p.detach(e)
	}
	_, err = p.recreate(fid, e)
	return fmt.Sprintf("an empty %s was made", e.rec.Type), err
}

// ofShard tells whether a dangling name is that of a shard in its master. It is never removed: the objects of the shard find their place
// again under it.
func (p *planner) ofShard(x *doing) bool {
	if x.d.Stripe == nil || x.d.Entry == nil {
		return false
	}
	mdt, given := p.u.places[x.d.Entry.MDT]
	if !given {
		return false
	}
	m, ok := p.lmv(place{mdt, x.d.Entry.Dir})
	return ok && m.IsMaster()
}

// adopt gives a name to an object that was made for another name.
func (p *planner) adopt(at place, fid lustre.FID, e *namedEntry) error {
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return err
	}
	if in.IsDir() {
		return left("the directory %v was made anew and has another name already", fid)
	}
	if err := p.attach(at, fid, e.dir, e.name); err != nil {
		return err
	}
	return p.finish(at, fid, e)
}

// finish makes link EA, link count and REMOTE_PARENT_DIR right for an object that got the name e.
func (p *planner) finish(at place, fid lustre.FID, e *namedEntry) error {
	dir, ok := p.mdts.LMA(e.dir.mdt, e.dir.ino)
	if !ok {
		return left("the directory of %q does not say which FID it has", lustre.NameText(e.name))
	}
	k, err := p.namesOf(at, fid, []lustre.Link{{Parent: dir.FID, Name: e.name}})
	if err != nil {
		return err
	}
	// A link EA that has no room for all names does not tell how many there are; the link count takes in the lost one.
	overflow := uint32(0)
	if p.doing.f.Class == LostName {
		overflow = p.overflow(at)
	}
	if err := p.putLinkEA(at, k.links, overflow); err != nil {
		return err
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return err
	}
	if !in.IsDir() && int(in.Links) != len(k.links) && overflow == 0 {
		if err := p.putLinks(at, len(k.links)); err != nil {
			return err
		}
	}
	return p.settle(at, fid, k.far(at.mdt))
}

// noteLayout is what remains to be done for files.
const noteLayout = "files that are made anew are empty; if their data is still on the OSTs, lctl lfsck_start -t layout -o on the running file system brings it back"

// recreate makes an empty object with a FID that is lost, for a name that is there or about to be.
func (p *planner) recreate(fid lustre.FID, e *namedEntry) (place, error) {
	home, known := p.u.home(fid)
	if !known || home < 0 {
		return place{}, left("it is not known on which MDT %v belongs", fid)
	}
	dir := e.rec.Type == ext4.TypeName(ext4.TypeDir)
	if !dir && e.rec.Type != ext4.TypeName(ext4.TypeRegular) {
		return place{}, left("a %s cannot be made anew: what it was is lost", e.rec.Type)
	}
	at, err := p.newObject(home, fid, dir, e.dir)
	if err != nil {
		return at, err
	}
	if !dir && !slices.Contains(p.notes, noteLayout) {
		p.notes = append(slices.Clone(p.notes), noteLayout)
	}
	if err := p.stripe(at, e); err != nil {
		return at, err
	}
	if err := p.attach(at, fid, e.dir, e.name); err != nil {
		return at, err
	}
	return at, p.finish(at, fid, e)
}

// newObject makes an inode for a FID and puts it into the object index. Permissions are those that LFSCK gives.
func (p *planner) newObject(mdt int, fid lustre.FID, dir bool, parent place) (place, error) {
	rec := mdtrecord.Inode{Type: ext4.TypeName(ext4.TypeRegular), Mode: 0o600}
	up := p.u.remotes[mdt]
	if parent.mdt == mdt {
		up, rec.Near = parent.ino, parent.ino
	}
	if dir {
		rec.Type, rec.Mode, rec.Up = ext4.TypeName(ext4.TypeDir), 0o700, up
		if up == 0 {
			return place{}, left("MDT%04x has no REMOTE_PARENT_DIR", p.u.indexes[mdt])
		}
		if l, ok := p.mdts.LMA(parent.mdt, parent.ino); ok && p.u.dirdata[mdt] {
			rec.UpFID = l.FID.String()
		}
	}
	ino, err := p.newInode(mdt, rec, fid.String()+" made anew")
	if err != nil {
		return place{}, err
	}
	at := place{mdt, ino}
	keep(p, p.made, fid, at)
	if err := p.putLMA(at, lustre.LMA{FID: fid}); err != nil {
		return at, err
	}
	return at, p.fileIndex(at, fid)
}

// stripe gives a new directory the layout of a shard if its name is that of one.
func (p *planner) stripe(at place, e *namedEntry) error {
	_, k, ok := lustre.ParseShardName(e.name)
	m, striped := p.lmv(e.dir)
	if !ok || !striped || !m.IsMaster() {
		return nil
	}
	if err := unsettled(&m); err != nil {
		return err
	}
	return p.putLMV(at, shardLayout(m, k))
}

// actStripe makes an empty shard for which the master has no name.
func (p *planner) actStripe(x *doing) (string, error) {
	master, _, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	have, err := p.shardsOf(master)
	if err != nil {
		return "", err
	}
	v, ok := p.lmv(master)
	switch {
	case !ok:
		return "", left("the layout of the master cannot be read")
	case v.Changing():
		return "", unsettled(&v)
	case len(have) >= int(v.Count):
		return byAnother, nil
	case x.act == Keep:
		return "left as it is: names in that shard stay out of reach", nil
	}
	n := 0
	for k := range int(v.Count) {
		if _, ok := have[k]; ok {
			continue
		}
		fid, err := p.newFID(master.mdt)
		if err != nil {
			return "", err
		}
		e := &namedEntry{dir: master, name: lustre.ShardName(fid, k), rec: mdtrecord.Dirent{Type: ext4.TypeName(ext4.TypeDir)}}
		if _, err := p.recreate(fid, e); err != nil {
			return "", err
		}
		n++
	}
	return fmt.Sprintf("%d empty shards made", n), nil
}

// newFID takes a sequence out of a target's space. LFSCK and servers begin with number 1 as well.
func (p *planner) newFID(mdt int) (lustre.FID, error) {
	start, end, err := p.mdts.Space(mdt)
	if err != nil {
		return lustre.FID{}, left("there are no FIDs to give on MDT%04x: %v", p.u.indexes[mdt], err)
	}
	fid := lustre.FID{Seq: start, OID: 1}
	if home, ok := p.u.home(fid); start >= end || !fid.IsNormal() || !ok || home != mdt {
		return fid, left("MDT%04x has no sequences left to give", p.u.indexes[mdt])
	}
	return fid, p.set(mdt, mdtrecord.SeqAddr, mdtrecord.Encode(mdtrecord.SequencesOf(start+1, end)), "sequences still to give")
}
