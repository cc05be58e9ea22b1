package lustrelab

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/lab"
)

// destroy removes an object and leaves its names: the inode, the entry of the object index, that of REMOTE_PARENT_DIR.
func (p *patient) destroy(s *seen) error {
	k := p.knife(s)
	if err := k.freeInode(s.in.Number); err != nil {
		return err
	}
	if err := p.dropIndex(s); err != nil {
		return err
	}
	if err := p.dropRemote(s); err != nil {
		return err
	}
	p.bereave(s)
	return nil
}

// bereave says what follows for the names of a directory that is gone.
func (p *patient) bereave(s *seen) {
	for i := range s.names {
		n := &s.names[i]
		o := p.w.objects[n.fid]
		if o == nil {
			continue
		}
		p.taken[o] = true
		p.bereft[o] = append(p.bereft[o], lustre.Link{Parent: s.lma.FID, Name: n.text})
		if o.mdt != s.mdt {
			p.must(agentStale, n.fid, "the directory with the name %q is destroyed", n.text)
			p.may(remoteStale, n.fid, "its name on another MDT is lost")
		}
	}
}

// settle says what becomes of objects whose names were in directories that are gone: several of these may have had the same one.
// Of a name that the link EA never held for lack of room only the link count tells.
func (p *patient) settle() {
	for _, s := range p.users {
		lost := p.bereft[s]
		if len(lost) == 0 {
			continue
		}
		if p.named(s, len(lost)) {
			p.must(orphan, s.lma.FID, "what had its names is destroyed")
			continue
		}
		unknown := 0
		for _, l := range lost {
			if s.link.Has(l.Parent, l.Name) {
				p.must(lostName, s.lma.FID, "the directory with its name %q is destroyed", l.Name)
			} else {
				unknown++
			}
		}
		if unknown > 0 {
			p.must(badNlink, s.lma.FID, "%d names that its link EA had no room for were in directories that are destroyed", unknown)
		}
	}
}

// dropIndex removes the entry of the object index.
func (p *patient) dropIndex(s *seen) error {
	m := p.w.mdts[s.mdt]
	if _, ok := m.oi[s.lma.FID]; !ok {
		return nil
	}
	return p.knife(s).editIndex(m.oiFiles, s.lma.FID, func(leaf []byte) ([]byte, error) {
		return lustre.ShapeOI.Remove(leaf, s.lma.FID.AppendBig(nil))
	})
}

// dropRemote removes the entry of REMOTE_PARENT_DIR, if there is one.
func (p *patient) dropRemote(s *seen) error {
	m := p.w.mdts[s.mdt]
	rpd := m.byIno[m.rpd]
	if rpd == nil {
		return nil
	}
	for i := range rpd.names {
		n := &rpd.names[i]
		if n.ino != s.in.Number {
			continue
		}
		if err := p.knife(s).removeEntry(m.rpd, n.at); err != nil {
			return err
		}
		if n.typ == ext4.TypeDir {
			return p.knife(s).addLinks(m.rpd, -1)
		}
	}
	return nil
}

// unname takes a name away: the entry, the agent behind it, and the parent's link for a sub-directory.
func (p *patient) unname(r ref) error {
	k, n := p.knives[r.dir.mdt], r.name()
	if err := k.removeEntry(r.dir.in.Number, n.at); err != nil {
		return err
	}
	if n.typ == ext4.TypeDir {
		if err := k.addLinks(r.dir.in.Number, -1); err != nil {
			return err
		}
	}
	if o := p.w.objects[n.fid]; o != nil && o.mdt != r.dir.mdt {
		return k.freeInode(n.ino)
	}
	return nil
}

// dangle destroys an object with one name.
func (p *patient) dangle(s *seen) error {
	if err := p.destroy(s); err != nil {
		return err
	}
	p.must(danglingName, s.lma.FID, "the object behind %q is destroyed", p.ref(s).name().text)
	p.what = "destroyed"
	return nil
}

// lose takes the only name of an object away.
func (p *patient) lose(s *seen) error {
	if err := p.unname(p.ref(s)); err != nil {
		return err
	}
	p.must(orphan, s.lma.FID, "its name is removed")
	p.what = "name removed"
	return nil
}

// loseAll takes name and link EA away.
func (p *patient) loseAll(s *seen) error {
	if err := p.knife(s).setXattr(s.in.Number, "link", nil); err != nil {
		return err
	}
	return p.lose(s)
}

// loseOne takes one of several names away.
func (p *patient) loseOne(s *seen) error {
	refs := p.nearRefs(s)
	r := refs[p.rnd.IntN(len(refs))]
	if err := p.unname(r); err != nil {
		return err
	}
	p.must(lostName, s.lma.FID, "the name %q is removed", r.name().text)
	p.what = fmt.Sprintf("name %q removed", r.name().text)
	return nil
}

// claimTaken makes an object that loses its name say that it has that of another one.
func (p *patient) claimTaken(s *seen) error {
	dir := p.ref(s).dir
	for i := range dir.names {
		n := &dir.names[i]
		o := p.w.objects[n.fid]
		if o == nil || o == s || !p.free(o) || o.isDir() != s.isDir() || !p.linked(o) {
			continue
		}
		if err := p.knife(s).setLink(s.in.Number, lustre.Link{Parent: dir.lma.FID, Name: n.text}); err != nil {
			return err
		}
		if err := p.unname(p.ref(s)); err != nil {
			return err
		}
		p.touch(o)
		p.must(multipleReferenced, s.lma.FID, "it says that it is %q, which leads to %v", n.text, n.fid)
		p.what = fmt.Sprintf("name removed, link EA says %q", n.text)
		return nil
	}
	return errNoRoom
}

// mistype writes a wrong type into the name.
func (p *patient) mistype(s *seen) error {
	types := []uint8{ext4.TypeRegular, ext4.TypeDir, ext4.TypeChar, ext4.TypeBlock, ext4.TypeFIFO, ext4.TypeSocket, ext4.TypeSymlink}
	r := p.ref(s)
	have := r.name().typ
	typ := types[p.rnd.IntN(len(types))]
	if typ == have {
		typ = ext4.TypeSocket
	}
	err := p.knives[r.dir.mdt].editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { setType(e, typ); return nil })
	if err != nil {
		return err
	}
	p.must(badType, s.lma.FID, "the type in the name is %d, the object's is %d", typ, have)
	if (typ == ext4.TypeDir) != (have == ext4.TypeDir) {
		p.may(badNlink, r.dir.lma.FID, "a name of the directory has a wrong type, so that its sub-directories are miscounted")
	}
	p.what = fmt.Sprintf("type %d becomes %d", have, typ)
	return nil
}

// misplace renames an object within its shard, so that the hash of the name leads to another one. The link EA follows.
func (p *patient) misplace(s *seen) error {
	r := p.ref(s)
	text := []byte(r.name().text)
	for c := byte('a'); c <= 'z'; c++ {
		text[len(text)-1] = c
		if r.dir.holds(string(text)) {
			continue
		}
		shard, ok := lustre.NameHash(r.dir.lmv.HashType, string(text), r.dir.lmv.Count)
		if !ok || shard == r.dir.lmv.Index {
			continue
		}
		to := p.sibling(r.dir, int(shard))
		if to == nil || p.taken[to] {
			continue // there has to be a shard to which the name can be moved
		}
		p.busy[to] = true
		if err := p.knife(s).setLink(s.in.Number, lustre.Link{Parent: r.dir.lma.FID, Name: string(text)}); err != nil {
			return err
		}
		err := p.knife(s).editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { copy(e[ext4.DirentName:], text); return nil })
		if err != nil {
			return err
		}
		p.must(badNameHash, s.lma.FID, "%q is in shard %d and belongs into shard %d", text, r.dir.lmv.Index, shard)
		p.what = fmt.Sprintf("renamed to %q, which belongs into shard %d", text, shard)
		return nil
	}
	return errNoRoom
}

// sibling is another shard of the same striped directory, nil if it has none of that number.
func (p *patient) sibling(shard *seen, number int) *seen {
	master := p.ref(shard).dir
	for i := range master.names {
		if _, k, ok := lustre.ParseShardName(master.names[i].text); ok && k == number {
			return p.w.objects[master.names[i].fid]
		}
	}
	return nil
}

// inShard fits objects on the MDT of their shard, whose names are not sorted by another hash.
func (p *patient) inShard(s *seen) bool {
	if !p.named(s, 1) || !p.near(s) || !p.linked(s) || s.lmv != nil {
		return false
	}
	d := p.ref(s).dir
	return d.isShard() && stable(d.lmv) && d.in.Flags&ext4.FlagIndex == 0 && d.lmv.Count > 1
}

// loseRandom takes names away, whatever they lead to.
func (p *patient) loseRandom(done *lab.Done) error {
	var names []ref
	for _, s := range p.users {
		if p.free(s) && p.near(s) && p.linked(s) && s.lmv == nil {
			names = append(names, p.w.refs[s.lma.FID]...)
		}
	}
	want := done.Of(len(names))
	p.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	left := map[lustre.FID]int{}
	names = names[:want]
	for _, r := range names {
		left[r.name().fid]++
	}
	for _, r := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n := r.name()
		if err := p.unname(r); err != nil {
			return err
		}
		done.Add("%q in %v on MDT%04x", n.text, r.dir.lma.FID, r.dir.mdt)
		p.touch(p.w.objects[n.fid])
		switch lost := left[n.fid]; {
		case lost == 0: // told
		case p.named(p.w.objects[n.fid], lost):
			p.must(orphan, n.fid, "all its names are removed")
			left[n.fid] = 0
		default:
			p.must(lostName, n.fid, "the name %q is removed", n.text)
		}
	}
	return nil
}

// nameTwice gives a directory a second name, in another directory of its MDT.
func (p *patient) nameTwice(s *seen) error {
	into, err := p.other(s, func(o *seen) bool {
		return o.mdt == s.mdt && o.isDir() && o.lmv == nil && !o.alien && o != p.ref(s).dir && !s.above(p.w, o)
	})
	if err != nil {
		return err
	}
	n := name{text: "second-name", fid: s.lma.FID, typ: ext4.TypeDir, ino: s.in.Number}
	k := p.knife(s)
	if _, err := k.addEntry(into.in.Number, n); err != nil {
		return err
	}
	if err := k.addLinks(into.in.Number, 1); err != nil {
		return err
	}
	p.touch(into)
	p.must(directoryTwice, s.lma.FID, "it has a second name in %v", into.lma.FID)
	p.may(linkMissing, s.lma.FID, "the link EA does not know the second name")
	p.what = fmt.Sprintf("second name in %v", into.lma.FID)
	return nil
}

// above tells whether o lies in s.
func (s *seen) above(w *world, o *seen) bool {
	for range 10000 {
		if o == s {
			return true
		}
		refs := w.refs[o.lma.FID]
		if len(refs) == 0 {
			return false
		}
		o = refs[0].dir
	}
	return true
}
