package lustrelab

import (
	"slices"

	"fettle/internal/format/lustre"
)

// What recipes ask of the objects that they injure.

func (s *seen) isDir() bool    { return s.in.IsDir() }
func (s *seen) isMaster() bool { return s.lmv != nil && s.lmv.IsMaster() }
func (s *seen) isShard() bool  { return s.lmv != nil && s.lmv.IsShard() }

// holds tells whether a directory has the name.
func (s *seen) holds(text string) bool {
	return slices.ContainsFunc(s.names, func(n name) bool { return n.text == text })
}

// named tells whether the object has n names.
func (p *patient) named(s *seen, n int) bool { return len(p.w.refs[s.lma.FID]) == n }

// near tells whether all names of an object are on its own MDT.
func (p *patient) near(s *seen) bool {
	return !slices.ContainsFunc(p.w.refs[s.lma.FID], func(r ref) bool { return r.dir.mdt != s.mdt })
}

// plainFile fits anything but directories that has one name, on its own MDT.
func (p *patient) plainFile(s *seen) bool { return !s.isDir() && p.named(s, 1) && p.near(s) }

// plainDir fits directories that are not striped and have their name on their own MDT.
func (p *patient) plainDir(s *seen) bool { return s.isDir() && s.lmv == nil && p.near(s) }

// farDir fits directories that are not striped and have their name on another MDT.
func (p *patient) farDir(s *seen) bool { return s.isDir() && s.lmv == nil && !p.near(s) }

// anyFar fits objects all of whose names are on another MDT.
func (p *patient) anyFar(s *seen) bool {
	return !slices.ContainsFunc(p.w.refs[s.lma.FID], func(r ref) bool { return r.dir.mdt == s.mdt })
}

// linked fits objects whose link EA has all of their names.
func (p *patient) linked(s *seen) bool { return s.link != nil && s.link.Overflow == 0 && !s.isShard() }

// severalNear fits files with two names or more on their own MDT, all known to the link EA.
func (p *patient) severalNear(s *seen) bool {
	return !s.isDir() && p.linked(s) && len(p.nearRefs(s)) > 1
}

// nearRefs are the names on the object's own MDT.
func (p *patient) nearRefs(s *seen) (out []ref) {
	for _, r := range p.w.refs[s.lma.FID] {
		if r.dir.mdt == s.mdt {
			out = append(out, r)
		}
	}
	return out
}

func (p *patient) master(s *seen) bool { return s.isMaster() }
func (p *patient) shard(s *seen) bool  { return s.isShard() }

// stable tells whether a layout is not being changed.
func stable(v *lustre.LMV) bool { return v != nil && !v.Changing() }
