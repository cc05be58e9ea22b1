package lustre

import (
	"fmt"

	"fettle/internal/claim"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/match"
)

// agent is an inode that stands for an object of another MDT.
type agent struct {
	mdt   int
	ino   uint32
	links uint16
	typ   uint8 // upper 4 bits of the mode
}

// indexed is an entry of an object index.
type indexed struct {
	mdt      int
	ino, gen uint32
}

// listed is an entry of REMOTE_PARENT_DIR, PENDING or lost+found of a target.
type listed struct {
	mdt int
	at  int64
	ino uint32
}

// about is everything that was said of one FID.
type about struct {
	fid     lustre.FID
	own     int64 // index of the MDT for FIDs that mean something within one target only, else -1
	objects []object
	dirs    []dirSum
	names   []name
	agents  []agent
	index   []indexed
	remote  []listed
	pending []listed
	backend []listed
	cut     bool // more was said than is kept

	*facts // what was read again; nil until then
}

// maxSaid is how many claims about one object are kept: a file can have 65000 names, and as much again may be said of them.
const maxSaid = 200_000

// gather decodes a group. a is used again for the next one; it points into the group's memory.
func (a *about) gather(g match.Group) error {
	*a = about{objects: a.objects[:0], dirs: a.dirs[:0], names: a.names[:0], agents: a.agents[:0], index: a.index[:0],
		remote: a.remote[:0], pending: a.pending[:0], backend: a.backend[:0]}
	var err error
	if a.fid, a.own, err = fidOf(g.Subject); err != nil {
		return err
	}
	if !g.Huge {
		for _, c := range g.Claims {
			if err := a.take(c); err != nil {
				return fmt.Errorf("claim about %v: %w", a.fid, err)
			}
		}
		return nil
	}
	n := 0
	for c, err := range g.All() {
		if err != nil {
			return err
		}
		if n++; n > maxSaid {
			a.cut = true
			break
		}
		c = c.Clone()
		if err := a.take(c); err != nil {
			return fmt.Errorf("claim about %v: %w", a.fid, err)
		}
	}
	return nil
}

// take adds one claim.
func (a *about) take(c claim.Claim) error {
	mdt, at, sub := int(c.Witness.Target), c.Witness.At, c.Witness.Sub
	switch c.Kind {
	case kObject:
		a.objects = append(a.objects, object{})
		return a.objects[len(a.objects)-1].read(c)
	case kDir:
		a.dirs = append(a.dirs, dirSum{})
		return a.dirs[len(a.dirs)-1].read(c)
	case kName:
		a.names = append(a.names, name{})
		return a.names[len(a.names)-1].read(c)
	case kAgent:
		if len(c.Says) < 1 {
			return errShortClaim
		}
		a.agents = append(a.agents, agent{mdt, uint32(at), uint16(sub), c.Says[0]})
	case kIndex:
		a.index = append(a.index, indexed{mdt, uint32(at), uint32(sub)})
	case kRemote:
		a.remote = append(a.remote, listed{mdt, int64(at), uint32(sub)})
	case kPending:
		a.pending = append(a.pending, listed{mdt, int64(at), uint32(sub)})
	case kBackend:
		a.backend = append(a.backend, listed{mdt, int64(at), uint32(sub)})
	default:
		return fmt.Errorf("unknown kind %d", c.Kind)
	}
	return nil
}

// object gives the inode of the group, nil if there is none or several.
func (a *about) object() *object {
	if len(a.objects) != 1 {
		return nil
	}
	return &a.objects[0]
}

// dirOf gives what the blocks of an inode of the group say, nil if nothing.
func (a *about) dirOf(o *object) *dirSum {
	for i := range a.dirs {
		if a.dirs[i].mdt == o.mdt && a.dirs[i].ino == o.ino {
			return &a.dirs[i]
		}
	}
	return nil
}

// agentAt gives the inode of a target if it is an agent for the object, else nil.
func (a *about) agentAt(mdt int, ino uint32) *agent {
	for i := range a.agents {
		if g := &a.agents[i]; g.mdt == mdt && g.ino == ino {
			return g
		}
	}
	return nil
}

// astray tells whether the object is on a target that does not own its FID.
func (a *about) astray(o *object, s *shape) bool {
	if a.own >= 0 || !a.fid.IsNormal() {
		return false
	}
	home, known := s.home(a.fid)
	return known && home >= 0 && home != o.mdt
}

// used tells whether some name goes through the agent.
func (a *about) used(g agent) bool {
	for i := range a.names {
		if a.names[i].mdt == g.mdt && a.names[i].ino == g.ino {
			return true
		}
	}
	return false
}

// indexOK tells whether the object index has the object where it is, and nowhere else.
func (a *about) indexOK(o *object, s *shape) bool {
	if !s.hasOI[o.mdt] {
		return true
	}
	if !s.inIndex(a.fid, o) {
		return len(a.index) == 0
	}
	return len(a.index) == 1 && a.index[0] == indexed{o.mdt, o.ino, o.gen}
}

// unnamed tells whether the object is one that has no name by rule: opened and unlinked, or a file of the target itself.
func (a *about) unnamed(o *object) bool {
	return o.has(objHeld) || len(a.pending) > 0 || o.incompat&lustre.LMAIOrphan != 0 || o.links == 0 && len(a.names) == 0 && !a.fid.IsRoot()
}

// fine tells whether all agree, at no cost: what it does not approve of is judged with care, and may turn out to be well.
func (a *about) fine(s *shape) bool {
	o := a.object()
	if o == nil || a.cut || !a.indexOK(o, s) || len(a.backend) > 0 {
		return false
	}
	if a.unnamed(o) {
		for _, p := range a.pending {
			if p.mdt == o.mdt && p.ino != o.ino {
				return false
			}
		}
		return len(a.names) == 0 && len(a.agents) == 0 && len(a.remote) == 0
	}
	if o.incompat&lustre.LMAIAgent != 0 || o.bits&^(objLink|objLMV) != 0 || o.bits&objLink == 0 || len(a.names) == 0 || len(a.names) != len(o.hashes) {
		return false
	}
	local, near := 0, 0
	for i := range a.names {
		n := &a.names[i]
		if n.bits&(nameInsane|nameMisplaced) != 0 || n.has(nameNoFID) && !s.fromBackup(n.mdt) || n.typ != ext4.DirentTypeOf(o.mode) || !o.knows(n.hash) {
			return false
		}
		if n.mdt == o.mdt {
			local++
			if n.ino != o.ino {
				return false
			}
		} else if g := a.agentAt(n.mdt, n.ino); g == nil || g.typ != uint8(o.mode>>12) {
			return false
		} else {
			near++
		}
	}
	if len(a.agents) != near || !a.remoteOK(o, local) || a.astray(o, s) {
		return false
	}
	if !dirMode(o.mode) {
		return len(a.dirs) == 0 && (int(o.links) == len(a.names) || s.fromBackup(o.mdt))
	}
	return len(a.names) == 1 && a.dirFine(o, &a.names[0], s)
}

// knows tells whether the link EA has a record with the hash.
func (o *object) knows(hash uint64) bool {
	for _, h := range o.hashes {
		if h == hash {
			return true
		}
	}
	return false
}

// remoteOK tells whether REMOTE_PARENT_DIR has the object if all its names are on other targets, and does not have it if none is. It may
// have one with names here and there. The mark in the LMA goes with it.
func (a *about) remoteOK(o *object, local int) bool {
	if (len(a.remote) > 0) != (o.incompat&lustre.LMAIRemoteParent != 0) {
		return false
	}
	if len(a.remote) == 0 {
		return local > 0
	}
	return len(a.remote) == 1 && local < len(a.names) && a.remote[0].mdt == o.mdt && a.remote[0].ino == o.ino
}

// dirFine goes on with a directory that has one name.
func (a *about) dirFine(o *object, n *name, s *shape) bool {
	if len(a.dirs) != 1 {
		return false
	}
	d := &a.dirs[0]
	if o.links != 1 && uint32(o.links) != 2+d.subdirs || !d.has(dirUp) || d.has(dirUpType) || d.has(dirUpFID) == s.fromBackup(o.mdt) || d.has(dirUpFID) && d.up != n.parent {
		return false
	}
	if n.mdt == o.mdt && d.upIno != n.dir || n.mdt != o.mdt && d.upIno != s.remotes[o.mdt] {
		return false
	}
	striped := o.has(objLMV) || n.has(nameShardForm) || n.has(nameInMaster) || d.shards > 0 || o.incompat&lustre.LMAIStriped != 0
	return !striped || len(stripeFaults(a, o, n, d, s)) == 0 && !d.mostAstray()
}
