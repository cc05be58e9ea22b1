package lustrelab

import (
	"errors"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Changes that leave a file system healthy: what scenarios need and an image may not have.

// secondName gives a file one more name on its own MDT, with everything that belongs to it.
func (p *patient) secondName(s *seen) error {
	dirs := []*seen{p.ref(s).dir}
	for _, o := range p.users {
		if o.mdt == s.mdt && o.isDir() && o.lmv == nil && !o.alien {
			dirs = append(dirs, o)
		}
	}
	n := name{text: "second-name", fid: s.lma.FID, typ: ext4.DirentTypeOf(s.in.Mode), ino: s.in.Number}
	for _, d := range dirs {
		if d.holds(n.text) || d.isShard() || d.in.Flags&ext4.FlagIndex != 0 {
			continue
		}
		links := append(slices.Clone(s.link.Links), lustre.Link{Parent: d.lma.FID, Name: n.text})
		if err := p.knife(s).setLink(s.in.Number, links...); err != nil {
			return err
		}
		at, err := p.knife(s).addEntry(d.in.Number, n)
		if errors.Is(err, errNoRoom) {
			err = p.knife(s).setLink(s.in.Number, s.link.Links...)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if err := p.knife(s).addLinks(s.in.Number, 1); err != nil {
			return err
		}
		d.names = append(d.names, at)
		p.w.refs[s.lma.FID] = append(p.w.refs[s.lma.FID], ref{d, len(d.names) - 1})
		s.link, s.in.Links = &lustre.LinkEA{Links: links}, s.in.Links+1
		return nil
	}
	return errNoRoom
}

// newAgent makes an inode on an MDT that stands for a regular file of another one.
func (p *patient) newAgent(mdt int, f lustre.FID) (uint32, error) {
	k := p.knives[mdt]
	for _, o := range p.users {
		if o.mdt != mdt || !p.plainFile(o) || o.in.Sectors != 0 || !o.in.IsRegular() || !p.linked(o) {
			continue
		}
		ino, err := k.copyInode(o.in.Number)
		if err != nil {
			return 0, err
		}
		for _, name := range []string{"link", "lov"} {
			if err := k.setXattr(ino, name, nil); err != nil && !errors.Is(err, errNoRoom) {
				return 0, err
			}
		}
		return ino, k.setLMA(ino, func(l *lustre.LMA) { *l = lustre.LMA{Incompat: lustre.LMAIAgent, FID: f} })
	}
	return 0, errNoRoom
}

// moveFar moves the only name of a file into a directory of another MDT, as a client's rename does: the object stays where it is.
func (p *patient) moveFar(s *seen) error {
	for _, d := range p.users {
		if d.mdt == s.mdt || !d.isDir() || d.lmv != nil || d.alien || !p.free(d) || d.in.Flags&ext4.FlagIndex != 0 || d.holds("moved") {
			continue
		}
		return p.moveInto(s, d)
	}
	return errNoRoom
}

func (p *patient) moveInto(s, d *seen) error {
	if !s.in.IsRegular() {
		return errNoRoom
	}
	m := p.w.mdts[s.mdt]
	typ := ext4.DirentTypeOf(s.in.Mode)
	agent, err := p.newAgent(d.mdt, s.lma.FID)
	if err != nil {
		return err
	}
	at, err := p.knives[d.mdt].addEntry(d.in.Number, name{text: "moved", fid: s.lma.FID, typ: typ, ino: agent})
	if err != nil {
		return err
	}
	listed, err := p.knife(s).addEntry(m.rpd, name{text: lustre.RemoteParentName(s.lma.FID), typ: typ, ino: s.in.Number})
	if err != nil {
		return err
	}
	if err := p.unname(p.ref(s)); err != nil {
		return err
	}
	if err := p.knife(s).setLMA(s.in.Number, func(l *lustre.LMA) { l.Incompat |= lustre.LMAIRemoteParent }); err != nil {
		return err
	}
	if err := p.knife(s).setLink(s.in.Number, lustre.Link{Parent: d.lma.FID, Name: "moved"}); err != nil {
		return err
	}
	rpd := m.byIno[m.rpd]
	rpd.names = append(rpd.names, listed)
	d.names = append(d.names, at)
	p.w.refs[s.lma.FID] = []ref{{d, len(d.names) - 1}}
	return nil
}

// local finds an inode by its name in the root of an MDT.
func (p *patient) local(mdt int, text string) (uint32, error) {
	for _, n := range p.w.mdts[mdt].byIno[ext4.InoRoot].names {
		if n.text == text {
			return n.ino, nil
		}
	}
	return 0, errNoRoom
}

// moveLocal moves the only name of an object into a directory of the MDT itself. '..' of a directory follows.
func (p *patient) moveLocal(s *seen, into, text string) error {
	dir, err := p.local(s.mdt, into)
	if err != nil {
		return err
	}
	k := p.knife(s)
	n := name{text: text, typ: ext4.DirentTypeOf(s.in.Mode), ino: s.in.Number}
	if _, err := k.addEntry(dir, n); err != nil {
		return err
	}
	if err := p.unname(p.ref(s)); err != nil || !s.isDir() {
		return err
	}
	err = k.editEntry(s.in.Number, s.upAt, func(e []byte) error { le.PutUint32(e, dir); return nil })
	if err != nil {
		return err
	}
	return k.addLinks(dir, 1)
}
