package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtrecord"
)

func storeChange(target, addr string, before, after store.Bytes, note string) store.Change {
	return store.Change{Target: target, Addr: addr, Before: before, After: after, Note: note}
}

// knownNames are names of an object: those that the link EA or somebody else tells of and that exist. hidden counts those that cannot be
// looked at.
type knownNames struct {
	links  []lustre.Link
	dirs   []place
	hidden int
}

// namesOf looks for the names of an object where its link EA and more say that they are.
func (p *planner) namesOf(at place, fid lustre.FID, more []lustre.Link) (k knownNames, err error) {
	var told []lustre.Link
	if raw, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLink); err == nil && raw != nil {
		ea, _, _ := lustre.DecodeLinkEA(raw)
		told = ea.Links
	}
	for _, l := range append(told, more...) {
		if !l.Parent.Sane() || lustre.BadName(l.Name) != "" || slices.Contains(k.links, l) {
			continue
		}
		dir, ok, err := p.find(l.Parent)
		if err != nil {
			if canLeave(err) {
				k.hidden++
				k.links, k.dirs = append(k.links, l), append(k.dirs, place{mdt: -1})
				continue
			}
			return k, err
		}
		if !ok {
			continue
		}
		if in, err := p.mdts.Inode(dir.mdt, dir.ino); err != nil || !in.IsDir() {
			continue // no names can be there
		}
		rec, err := p.mdts.Dirent(dir.mdt, dir.ino, l.Name)
		if err != nil {
			return k, err
		}
		if rec != nil && p.leads(&namedEntry{dir, l.Name, *rec}, at, fid) {
			k.links, k.dirs = append(k.links, l), append(k.dirs, dir)
		}
	}
	return k, nil
}

// far tells whether one of the names is not on a target.
func (k *knownNames) far(mdt int) bool {
	return slices.ContainsFunc(k.dirs, func(d place) bool { return d.mdt != mdt })
}

// putLinkEA writes the link EA anew. What does not fit is left out and the time noted, as a server does.
func (p *planner) putLinkEA(at place, names []lustre.Link, overflow uint32) error {
	raw, dropped := lustre.LinkEA{Links: names, Overflow: overflow}.Encode(1)
	if dropped > 0 {
		ea, _, err := lustre.DecodeLinkEA(raw)
		if err != nil {
			return err
		}
		names, overflow = ea.Links, ea.Overflow
	}
	if len(names) == 0 && overflow == 0 {
		return left("no name of the object can be found")
	}
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLink, at.ino), mdtrecord.Encode(mdtrecord.LinkEA{Links: mdtrecord.Links(names), Overflow: overflow}), "link EA of "+p.dirText(at))
}

// relink writes a link EA anew from the names of the object.
func (p *planner) relink(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	more, err := p.detailLinks(x.d.Links)
	if err != nil {
		return "", err
	}
	for i := range x.d.Entries { // names that were moved or changed by another decision know better where they are
		if e, err := p.entry(&x.d.Entries[i]); err == nil && p.leads(e, at, fid) {
			if l, ok := p.mdts.LMA(e.dir.mdt, e.dir.ino); ok {
				keep(p, p.made, l.FID, e.dir)
				more = append(more, lustre.Link{Parent: l.FID, Name: e.name})
			}
		}
	}
	k, err := p.namesOf(at, fid, more)
	if err != nil {
		return "", err
	}
	overflow := uint32(0)
	if x.f.Class != LinkOverflow {
		overflow = p.overflow(at)
	}
	return fmt.Sprintf("link EA set to %s", linkText(k.links)), p.putLinkEA(at, k.links, overflow)
}

// overflow is the time at which names did not fit in a link EA, 0 if all did.
func (p *planner) overflow(at place) uint32 {
	raw, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLink)
	if err != nil || raw == nil {
		return 0
	}
	ea, _, err := lustre.DecodeLinkEA(raw)
	if err != nil {
		return 0
	}
	return ea.Overflow
}

func (p *planner) detailLinks(ds []mdtrecord.Link) ([]lustre.Link, error) {
	var out []lustre.Link
	for _, d := range ds {
		l, err := d.Decode()
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// renameToLinkEA gives an object the name that its link EA tells, and takes away the one that it does not know.
func (p *planner) renameToLinkEA(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	wrong, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	want, err := p.detailLinks(x.d.Surplus)
	if err != nil || len(want) == 0 {
		return "", left("the link EA tells of no other name")
	}
	dir, ok, err := p.find(want[0].Parent)
	if err != nil || !ok {
		return "", left("the directory %v that the link EA tells of is not there", want[0].Parent)
	}
	return p.rename(at, fid, wrong, dir, want[0].Name)
}

// rename gives an object a new name, then takes the old one away. Where the targets of the two differ these are two steps.
func (p *planner) rename(at place, fid lustre.FID, old *namedEntry, dir place, name string) (string, error) {
	taken, err := p.has(dir, name)
	if err != nil {
		return "", err
	}
	if taken {
		return "", left("there is a name %q already where it should go", lustre.NameText(name))
	}
	to, ok1 := p.mdts.LMA(dir.mdt, dir.ino)
	from, ok2 := p.mdts.LMA(old.dir.mdt, old.dir.ino)
	if !ok1 || !ok2 {
		return "", left("a directory does not say which FID it has")
	}
	if err := p.attach(at, fid, dir, name); err != nil {
		return "", err
	}
	k, err := p.namesOf(at, fid, []lustre.Link{{Parent: to.FID, Name: name}})
	if err != nil {
		return "", err
	}
	gone := lustre.Link{Parent: from.FID, Name: old.name}
	var names []lustre.Link
	far := false
	for i, l := range k.links {
		if l != gone {
			names, far = append(names, l), far || k.dirs[i].mdt != at.mdt
		}
	}
	if err := p.putLinkEA(at, names, 0); err != nil {
		return "", err
	}
	if err := p.settle(at, fid, far); err != nil {
		return "", err
	}
	if dir.mdt != old.dir.mdt {
		p.cut()
	}
	// The entry anew: what was put in may have been counted in the same directory.
	if err := p.detach(old); err != nil {
		return "", err
	}
	return fmt.Sprintf("is %q in %v now", lustre.NameText(name), to.FID), nil
}

// actName moves and renames.
func (p *planner) actName(x *doing) (string, error) {
	at, fid, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	switch x.f.Class {
	case MasterName:
		return p.emptyMaster(at)
	case DirectoryTwice:
		return p.oneName(x, at, fid)
	}
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	if x.f.Class == ShardName {
		return p.numberShard(x, e)
	}
	if x.act == TrustLinkEA {
		want, err := p.detailLinks(x.d.Links)
		if err != nil || len(want) == 0 || want[0].Parent.String() != x.d.Entry.Parent {
			return "", left("the link EA tells of no other name in this shard")
		}
		return p.rename(at, fid, e, e.dir, want[0].Name)
	}
	shard, err := p.shardFor(e.dir, e.name)
	if err != nil {
		return "", err
	}
	return p.rename(at, fid, e, shard, e.name)
}

// numberShard gives the name of a shard another number.
func (p *planner) numberShard(x *doing, e *namedEntry) (string, error) {
	_, _, ok := lustre.ParseShardName(e.name)
	fid, err := lustre.ParseFID(x.d.FID)
	if !ok || err != nil || x.d.WantStripe == nil {
		return "", left("nobody can tell of which striped directory it is a shard")
	}
	if m, ok := p.lmv(e.dir); ok && m.Changing() {
		return "", unsettled(&m)
	}
	name := lustre.ShardName(fid, *x.d.WantStripe)
	if taken, err := p.has(e.dir, name); err != nil || taken {
		return "", left("there is a name %s already", name)
	}
	n := &namedEntry{e.dir, name, e.rec}
	if err := p.putEntry(n); err != nil {
		return "", err
	}
	if err := p.set(e.dir.mdt, mdtrecord.NameAddr(e.dir.ino, e.name), nil, "name in "+p.dirText(e.dir)); err != nil {
		return "", err
	}
	at, _, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	master, ok := p.mdts.LMA(e.dir.mdt, e.dir.ino)
	if !ok {
		return "", left("the master does not say which FID it has")
	}
	return "the shard is " + name, p.putLinkEA(at, []lustre.Link{{Parent: master.FID, Name: name}}, 0)
}

// oneName takes all names of a directory away but the right one.
func (p *planner) oneName(x *doing, at place, fid lustre.FID) (string, error) {
	right := x.d.Entry
	if right == nil {
		return "", left("the finding does not say which name is right")
	}
	for i := range x.d.Entries {
		d := &x.d.Entries[i]
		if d.MDT == right.MDT && d.At == right.At {
			continue
		}
		e, err := p.entry(d)
		if err != nil {
			return "", err
		}
		if err := p.detach(e); err != nil {
			return "", err
		}
		p.lose(fmt.Sprintf("the name %q", lustre.NameText(e.name)))
	}
	e, err := p.entry(right)
	if err != nil {
		return "", err
	}
	if err := p.dotdotTo(at, e.dir); err != nil {
		return "", err
	}
	dir, ok := p.mdts.LMA(e.dir.mdt, e.dir.ino)
	if !ok {
		return "", left("its directory does not say which FID it has")
	}
	if err := p.putLinkEA(at, []lustre.Link{{Parent: dir.FID, Name: e.name}}, 0); err != nil {
		return "", err
	}
	return fmt.Sprintf("is %q only", lustre.NameText(e.name)), p.settle(at, fid, e.dir.mdt != at.mdt)
}

// emptyMaster moves ordinary names out of the master of a striped directory.
func (p *planner) emptyMaster(master place) (string, error) {
	var names []string
	err := p.eachName(master, func(d ext4.Dirent) {
		if _, _, ok := lustre.ParseShardName(string(d.Name)); !ok {
			names = append(names, string(d.Name))
		}
	})
	if err != nil {
		return "", err
	}
	raw, err := p.mdts.Xattr(master.mdt, master.ino, mdtrecord.KindLMV)
	if err != nil {
		return "", err
	}
	lmv, err := lustre.DecodeLMV(raw)
	if err != nil || !lmv.IsMaster() {
		return "", left("its layout cannot be read")
	}
	for _, name := range names {
		e, err := p.lookupName(master, name)
		if err != nil {
			return "", err
		}
		fid, err := lustre.ParseFID(e.rec.FID)
		if err != nil {
			return "", left("the name %q has no FID", lustre.NameText(name))
		}
		at, ok, err := p.find(fid)
		if err != nil || !ok {
			return "", left("the name %q leads to %v, which cannot be found", lustre.NameText(name), fid)
		}
		to, err := p.shardOf(master, &lmv, name)
		if err != nil {
			return "", err
		}
		if _, err := p.rename(at, fid, e, to, name); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d names moved into the shards", len(names)), nil
}
