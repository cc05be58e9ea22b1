package lustrelab

import (
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// RealImages is for tests from outside.
var RealImages = realImages

// Taken is test 31d where nothing can be done: the shard that the file belongs into has such a name.
func Taken() Scenario {
	return Scenario{Test: "31d", Options: "name taken", Title: "as 31d, and the shard has such a name", LFSCK: "as 31d", Ours: "nothing is done", Finds: finds(masterLMVMissing), Keeps: []string{masterLMVMissing},
		Make: scenario(step{(*patient).master, (*patient).lostAndTaken, func(p *patient, s *seen, want Picture) {
			delete(want[s.lma.FID].Attrs, attrName(ext4.XattrIndexTrusted, "lmv"))
		}})}
}

// lostAndTaken moves a file out of a shard into the master, which loses its LMV, and gives the name in the shard to another file.
func (p *patient) lostAndTaken(s *seen) error {
	for i := range s.names {
		shard := p.w.objects[s.names[i].fid]
		if shard.mdt != s.mdt || len(shard.names) < 2 || shard.in.Flags&ext4.FlagIndex != 0 {
			continue
		}
		for k := range shard.names {
			n := shard.names[k]
			o := p.w.objects[n.fid]
			if !p.plainFile(o) || !p.once(o) {
				continue
			}
			other, err := p.other(s, func(x *seen) bool {
				return x != o && x.mdt == s.mdt && p.plainFile(x) && p.once(x) && p.ref(x).dir != shard
			})
			if err != nil {
				return err
			}
			in := n
			in.ino, in.fid, in.typ = other.in.Number, other.lma.FID, ext4.DirentTypeOf(other.in.Mode)
			if err := p.unname(p.ref(other)); err != nil {
				return err
			}
			if _, err := p.knife(s).addEntry(s.in.Number, in); err != nil {
				return err
			}
			if err := p.knife(s).setLink(other.in.Number, lustre.Link{Parent: s.lma.FID, Name: n.text}); err != nil {
				return err
			}
			p.touch(other)
			p.nameIn(other, s, in)
			return p.dropLMV(s)
		}
	}
	return errNoRoom
}
