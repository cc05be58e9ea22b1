package lustrelab

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// relink writes another link EA, of which a check must say class.
func (p *patient) relink(s *seen, class, what string, edit func(*lustre.LinkEA)) error {
	ea := *s.link
	ea.Links = append([]lustre.Link(nil), ea.Links...)
	edit(&ea)
	b, dropped := ea.Encode(0)
	if dropped > 0 {
		return errNoRoom
	}
	return p.putLink(s, class, what, b)
}

// putLink writes the bytes of a link EA.
func (p *patient) putLink(s *seen, class, what string, value []byte) error {
	if err := p.knife(s).setXattr(s.in.Number, "link", value); err != nil {
		return err
	}
	if class == linkOverflow {
		p.know(class, s.lma.FID)
	} else {
		p.must(class, s.lma.FID, "link EA: %s", what)
	}
	p.what = "link EA: " + what
	return nil
}

func (p *patient) dropLink(s *seen) error { return p.putLink(s, linkMissing, "removed", nil) }

// rawLink gives the bytes of the link EA as they should be.
func rawLink(s *seen) []byte {
	b, _ := s.link.Encode(0)
	return b
}

func (p *patient) crashLink(s *seen) error {
	b := rawLink(s)
	le.PutUint32(b, 0xdeadbeef)
	return p.putLink(s, linkCrashed, "wrong magic", b)
}

// garbleLink writes a record length that cannot be.
func (p *patient) garbleLink(s *seen) error {
	b := rawLink(s)
	b[lustre.LinkEAHeader], b[lustre.LinkEAHeader+1] = 0xff, 0xf0
	return p.putLink(s, linkCrashed, "impossible record length", b)
}

// insaneParent makes the only record that knows the name speak of an impossible parent.
func (p *patient) insaneParent(s *seen) error {
	return p.relink(s, linkInvalidParent, "the parent's FID is insane", func(ea *lustre.LinkEA) { ea.Links[0].Parent = insane(ea.Links[0].Parent) })
}

// insaneRecord adds the same name with an impossible parent.
func (p *patient) insaneRecord(s *seen) error {
	return p.relink(s, linkRedundant, "one more record, whose parent is insane", func(ea *lustre.LinkEA) {
		ea.Links = append(ea.Links, lustre.Link{Parent: insane(ea.Links[0].Parent), Name: ea.Links[0].Name})
	})
}

// surplusRecord adds a name that does not exist.
func (p *patient) surplusRecord(s *seen) error {
	return p.relink(s, linkRedundant, "one more record, of a name that does not exist", func(ea *lustre.LinkEA) {
		ea.Links = append(ea.Links, lustre.Link{Parent: ea.Links[0].Parent, Name: "no-such"})
	})
}

func (p *patient) repeatRecord(s *seen) error {
	return p.relink(s, linkRepeated, "a record twice", func(ea *lustre.LinkEA) { ea.Links = append(ea.Links, ea.Links[0]) })
}

func (p *patient) staleOverflow(s *seen) error {
	return p.relink(s, linkOverflow, "says that names did not fit", func(ea *lustre.LinkEA) { ea.Overflow = defaultDay })
}

// otherName makes the link EA say a name that does not exist.
func (p *patient) otherName(s *seen) error {
	text := p.ref(s).name().text + "X"
	if len(text) > 255 || p.ref(s).dir.holds(text) {
		return errNoRoom
	}
	return p.relink(s, unmatchedPair, fmt.Sprintf("says %q", text), func(ea *lustre.LinkEA) { ea.Links[0].Name = text })
}

// otherParent makes the link EA say the right name in another directory, which has none such.
func (p *patient) otherParent(s *seen) error {
	r := p.ref(s)
	o, err := p.other(s, func(o *seen) bool {
		return o.isDir() && o.lmv == nil && !o.alien && o != r.dir && !o.holds(r.name().text)
	})
	if err != nil {
		return err
	}
	return p.relink(s, unmatchedPair, fmt.Sprintf("says that the parent is %v", o.lma.FID), func(ea *lustre.LinkEA) { ea.Links[0].Parent = o.lma.FID })
}

// once fits objects with one name that the link EA knows.
func (p *patient) once(s *seen) bool { return p.linked(s) && p.named(s, 1) }

// Striped directories.

func (p *patient) dropLMV(s *seen) error {
	if err := p.knife(s).setXattr(s.in.Number, "lmv", nil); err != nil {
		return err
	}
	class := masterLMVMissing
	if s.isShard() {
		class = shardLMVMissing
	}
	p.must(class, s.lma.FID, "the LMV is removed")
	p.what = "LMV removed"
	return nil
}

// editLMV writes another LMV, of which a check must say class.
func (p *patient) editLMV(s *seen, class, what string, edit func(*lustre.LMV)) error {
	if err := p.knife(s).setLMV(s, edit); err != nil {
		return err
	}
	p.must(class, s.lma.FID, "LMV: %s", what)
	p.what = "LMV: " + what
	return nil
}

// garbleMaster writes an impossible hash or a wrong MDT.
func (p *patient) garbleMaster(s *seen) error {
	if p.rnd.IntN(2) == 0 {
		return p.editLMV(s, masterLMVWrong, "unknown hash", func(v *lustre.LMV) { v.HashType = v.HashType&^0xffff | 0x77 })
	}
	return p.editLMV(s, masterLMVWrong, "another MDT", func(v *lustre.LMV) { v.Index += 1 + uint32(p.rnd.IntN(3)) })
}

// countMaster makes a master say that it has one shard more than all its shards and names say.
func (p *patient) countMaster(s *seen) error {
	for i := range s.names {
		if o := p.w.objects[s.names[i].fid]; o != nil {
			p.may(shardLMVWrong, o.lma.FID, "it has another number of shards than its master")
		}
	}
	p.may(stripeLost, s.lma.FID, "there is no shard of the highest number")
	return p.editLMV(s, masterLMVWrong, "one shard more than there is", func(v *lustre.LMV) { v.Count++ })
}

// wrongIndex makes a shard say that it is the next one.
func (p *patient) wrongIndex(s *seen) error {
	if s.lmv.Count < 2 {
		return errNoRoom
	}
	p.displace(s)
	return p.editLMV(s, shardLMVWrong, "another shard number", func(v *lustre.LMV) { v.Index = (v.Index + 1) % v.Count })
}

// wrongHash makes a shard say another hash than its master.
func (p *patient) wrongHash(s *seen) error {
	p.displace(s)
	return p.editLMV(s, shardLMVWrong, "another hash", func(v *lustre.LMV) { v.HashType = v.HashType&^0xffff | (v.HashType&0xffff)%lustre.HashCrush2 + 1 })
}

// displace allows that names of a shard with a wrong layout are told to be misplaced.
func (p *patient) displace(s *seen) {
	p.may(badNameHash, s.lma.FID, "the shard's layout is wrong")
	for i := range s.names {
		p.may(badNameHash, s.names[i].fid, "the layout of its shard is wrong")
	}
}

// renumber gives a shard the name of another number in its master.
func (p *patient) renumber(s *seen) error {
	r := p.ref(s)
	count := int(s.lmv.Count)
	other := lustre.ShardName(s.lma.FID, (int(s.lmv.Index)+1)%max(count, 1))
	if count < 2 || len(other) != len(r.name().text) || r.dir.in.Flags&ext4.FlagIndex != 0 {
		return errNoRoom
	}
	err := p.knives[r.dir.mdt].editEntry(r.dir.in.Number, r.name().at, func(e []byte) error { copy(e[ext4.DirentName:], other); return nil })
	if err != nil {
		return err
	}
	p.must(shardName, s.lma.FID, "its name says shard %d, it is shard %d", (s.lmv.Index+1)%s.lmv.Count, s.lmv.Index)
	p.may(stripeLost, r.dir.lma.FID, "a number is missing because a name has a wrong one")
	p.touch(r.dir)
	p.what = "renamed to " + other
	return nil
}

// loseStripe destroys a shard with its name.
func (p *patient) loseStripe(s *seen) error {
	r := p.ref(s)
	if err := p.unname(r); err != nil {
		return err
	}
	if err := p.destroy(s); err != nil {
		return err
	}
	p.must(stripeLost, r.dir.lma.FID, "shard %d is gone with its name", s.lmv.Index)
	p.touch(r.dir)
	p.what = fmt.Sprintf("shard %d destroyed with its name", s.lmv.Index)
	return nil
}

// intoMaster moves the name of a file from a shard to the master.
func (p *patient) intoMaster(s *seen) error {
	r := p.ref(s)
	master := p.ref(r.dir).dir
	if master.mdt != s.mdt || !p.free(master) || s.isDir() {
		return errNoRoom
	}
	n := *r.name()
	if _, err := p.knife(s).addEntry(master.in.Number, n); err != nil {
		return err
	}
	if err := p.knife(s).setLink(s.in.Number, lustre.Link{Parent: master.lma.FID, Name: n.text}); err != nil {
		return err
	}
	if err := p.unname(r); err != nil {
		return err
	}
	p.touch(master)
	p.must(masterName, master.lma.FID, "it holds the name %q, which is no shard's", n.text)
	p.what = "name moved into the master"
	return nil
}
