package lustre

import (
	"errors"
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/say"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtrecord"
)

// This file destroys objects that no name leads to, and brings back those whose inode is only marked as free. Both must not touch a block
// that is somebody else's, so all inodes of a target are gone through once before the first of them.

// wantsBlocks tells whether a decision gives blocks back, or takes them.
func wantsBlocks(x *doing) bool {
	switch x.f.Class {
	case Orphan, MultipleReferenced:
		return x.act == finding.Discard
	case DanglingName:
		return x.act == finding.Restore
	}
	return false
}

// sharers finds out which of the inodes that are destroyed or brought back have blocks that something else has.
func (p *planner) sharers(list []doing) error {
	asked := make([][]uint32, len(p.u.targets))
	for i := range list {
		x := &list[i]
		if !wantsBlocks(x) {
			continue
		}
		if x.f.Class == DanglingName {
			if at, ok := p.markedFree(x); ok {
				asked[at.mdt] = append(asked[at.mdt], at.ino)
				if len(p.avoid[at.mdt]) < maxAvoided {
					p.avoid[at.mdt] = append(p.avoid[at.mdt], at.ino)
				}
			}
		} else if at, ok := p.objectPlace(x.d); ok {
			asked[at.mdt] = append(asked[at.mdt], at.ino)
		}
	}
	for mdt, inos := range asked {
		if len(inos) == 0 {
			continue
		}
		t := p.u.targets[mdt]
		meter := store.Begin(p.ctx, "plan", "looking for shared blocks on "+t.name(), t.used(), 0)
		shared, err := p.mdts.Edit(mdt).Shared(p.ctx, inos, func(n int64) { meter.Did(n, 0) })
		meter.End()
		if err != nil && !canLeave(err) {
			return fmt.Errorf("look for shared blocks on %s: %w", t.name(), err)
		}
		for _, ino := range inos {
			why := shared[ino]
			if err != nil {
				why = err.Error()
			}
			p.shared[place{mdt, ino}] = why
		}
	}
	return nil
}

// ownBlocks is an error unless it is known that nobody else has blocks of an inode.
func (p *planner) ownBlocks(at place) error {
	why, ok := p.shared[at]
	if !ok {
		why = "it was not looked for who has its blocks"
	}
	if why != "" {
		return left("%s: %s", p.u.inodeText(at.mdt, at.ino), why)
	}
	return nil
}

// destroy frees an object that no name leads to.
func (p *planner) destroy(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	if err := p.unclaimed(x, at, fid); err != nil {
		return "", err
	}
	if err := p.ownBlocks(at); err != nil {
		return "", err
	}
	if err := p.leaveBackend(at); err != nil {
		return "", err
	}
	r, err := p.remoteName(at.mdt, fid)
	if err != nil {
		return "", err
	}
	if r != nil && r.rec.Inode == at.ino {
		if err := p.detach(r); err != nil {
			return "", err
		}
	}
	for mdt := range p.u.targets {
		if ino, ok := p.spare[spareKey{mdt, fid}]; ok && !p.used[place{mdt, ino}] {
			if err := p.freeAgent(place{mdt, ino}, fid.String()); err != nil {
				return "", err
			}
		}
	}
	if e, ok := p.world.indexEntry(at.mdt, fid); ok && e.Ino == at.ino {
		if err := p.set(at.mdt, mdtrecord.OIAddr(fid), nil, "object index"); err != nil {
			return "", err
		}
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return "", err
	}
	rest := p.leaks(at)
	if err := p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindObject, at.ino), nil, "the object "+fid.String()+rest); err != nil {
		return "", err
	}
	keep(p, p.gone, at, true)
	if known, ok := p.world.known[fid]; ok && known == at {
		keep(p, p.world.known, fid, at)
		delete(p.world.known, fid)
	}
	p.lose(fmt.Sprintf("the %s %v%s", ext4.TypeName(ext4.DirentTypeOf(in.Mode)), fid, rest))
	return "object destroyed" + rest, nil
}

// unclaimed is an error if anything says that an object is not to go.
func (p *planner) unclaimed(x *doing, at place, fid lustre.FID) error {
	l, ok := p.mdts.LMA(at.mdt, at.ino)
	in, err := p.mdts.Inode(at.mdt, at.ino)
	switch {
	case err != nil:
		return err
	case !ok || l.FID != fid || l.Has(lustre.LMAIAgent):
		return left("inode %d does not say that it is %v", at.ino, fid)
	case p.u.targets[at.mdt].marks.own(at.ino):
		return left("it is a file of the target itself")
	case l.Has(lustre.LMAIOrphan) || in.Links == 0:
		return left("it was unlinked while it was open, and goes when the target is mounted")
	case p.given[fid.String()]:
		return left("a name leads to it after what was corrected before")
	}
	waits, err := p.pending(at)
	if err != nil || waits {
		return errors.Join(err, left("it is in PENDING: it goes when the target is mounted"))
	}
	if v, ok := p.lmv(at); ok && v.IsShard() {
		return left("it is a shard of a striped directory; put it into lost+found, and remove it from a client")
	}
	if in.IsDir() {
		n := 0
		if err := p.eachName(at, func(ext4.Dirent) { n++ }); err != nil {
			return err
		}
		if n > 0 {
			return left("the directory is not empty: it has %s; put it into lost+found, and remove from a client what is in it", say.Count(n, "name"))
		}
	}
	more, err := p.detailLinks(x.d.Links)
	if err != nil {
		return err
	}
	k, err := p.namesOf(at, fid, more)
	switch {
	case err != nil:
		return err
	case k.hidden > 0:
		return left("not all of the names that its link EA tells of can be looked at")
	case len(k.links) > 0:
		return left("it has the name %q", lustre.NameText(k.links[0].Name))
	}
	return nil
}

// pending tells whether PENDING of its target has an inode.
func (p *planner) pending(at place) (bool, error) {
	dir := p.u.targets[at.mdt].marks.pending
	if dir == 0 {
		return false, nil
	}
	if p.waiting[at.mdt] == nil {
		all := map[uint32]bool{}
		if err := p.eachName(place{at.mdt, dir}, func(d ext4.Dirent) { all[d.Inode] = true }); err != nil {
			return false, err
		}
		p.waiting[at.mdt] = all
	}
	return p.waiting[at.mdt][at.ino], nil
}

// leaks says what stays of an object on the OSTs.
func (p *planner) leaks(at place) string {
	raw, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLOV)
	if raw == nil && err == nil {
		return ""
	}
	l, err2 := lustre.DecodeLOV(raw)
	switch {
	case errors.Join(err, err2) != nil:
		return "; its layout cannot be read: if it has objects on the OSTs, they stay and leak; lctl lfsck_start -t layout -o finds them"
	case l.Objects == 0:
		return ""
	case l.Objects == 1:
		return "; its 1 OST object stays on the OST and leaks; lctl lfsck_start -t layout -o finds it"
	}
	return fmt.Sprintf("; its %d OST objects stay on the OSTs and leak; lctl lfsck_start -t layout -o finds them", l.Objects)
}

// markedFree finds the inode that is the object of a dangling name, whole, and only marked as free.
func (p *planner) markedFree(x *doing) (place, bool) {
	fid, err := lustre.ParseFID(x.d.FID)
	if err != nil || x.d.Entry == nil {
		return place{}, false
	}
	want := lustre.Link{Name: lustre.NameOf(x.d.Name, x.d.NameRaw)}
	if want.Parent, err = lustre.ParseFID(x.d.Parent); err != nil {
		return place{}, false
	}
	var places []place
	if home, ok := p.u.home(fid); ok && home >= 0 {
		if ino, ok := p.world.indexed(home, fid); ok {
			places = append(places, place{home, ino})
		}
	}
	if mdt, ok := p.u.places[x.d.Entry.MDT]; ok {
		places = append(places, place{mdt, x.d.Entry.Inode})
	}
	i := slices.IndexFunc(places, func(at place) bool { return whole(p.world.tenant(at).lost(), fid, want, x.d.Entry.Type) })
	if i < 0 {
		return place{}, false
	}
	return places[i], true
}

// restore marks the inode of a dangling name as in use again.
func (p *planner) restore(x *doing, fid lustre.FID) (string, error) {
	at, ok := p.markedFree(x)
	if !ok {
		return "", left("there is no inode that is this object, whole, and only marked as free")
	}
	if err := p.ownBlocks(at); err != nil {
		return "", err
	}
	addr := mdtrecord.Account{Kind: mdtrecord.KindMark, Number: at.ino}.String()
	if err := p.set(at.mdt, addr, store.Bytes(mdtrecord.MarkUsed), fmt.Sprintf("inode %d, which is %v", at.ino, fid)); err != nil {
		return "", err
	}
	keep(p, p.made, fid, at)
	if err := p.fileIndex(at, fid); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is marked as in use again", p.u.inodeText(at.mdt, at.ino)), nil
}
