package lustre

import (
	"fmt"
	"strconv"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// byAnother is the outcome of a finding that has no step of its own: what caused it, or what follows from it, is put right, and with it this.
const byAnother = "put right by the repair of another finding"

// act does what was decided about one finding and says what it leads to.
func (p *planner) act() (string, error) {
	x := p.doing
	if at, ok := p.objectPlace(x.d); ok && p.denied[at] == x.d.FID && x.d.FID != "" && takesForObject(x.f.Class) {
		return "", left("inode %d of MDT%04x turned out not to be %s: check again after the repair", at.ino, p.u.indexes[at.mdt], x.d.FID)
	}
	if at, ok := p.objectPlace(x.d); ok && p.gone[at] {
		return byAnother + ": the object is no more", nil
	}
	result, err := p.actClass(x)
	if err != nil || x.act == Keep {
		return result, err
	}
	if !p.touched {
		return byAnother, nil
	}
	return result, nil
}

// takesForObject tells whether the repair of a class rests on it that the inode of the finding is the object.
func takesForObject(class string) bool {
	switch class {
	case DirentInode, UnmatchedPair, LinkMissing, LinkCrashed, LinkInvalidParent, LinkRedundant, LinkRepeated, LinkOverflow,
		Orphan, LostName, MultipleReferenced, DotdotMismatch, BadNlink:
		return true
	}
	return false
}

func (p *planner) actClass(x *doing) (string, error) {
	switch x.f.Class {
	case DanglingName, StripeLost, Orphan, MultipleReferenced, LostName:
		return p.actLost(x)
	case BadNameHash, MasterName, DirectoryTwice, ShardName:
		return p.actName(x)
	case MasterLMVMissing, MasterLMVWrong:
		return p.masterLMV(x)
	case ShardLMVMissing, ShardLMVWrong:
		return p.shardLMV(x)
	case WrongMDT:
		return p.changeFID(x)
	case AgentMissing, AgentStale, AgentType, RemoteFlag, RemoteMissing, RemoteStale, IndexMissing, IndexStale:
		return p.actTarget(x)
	case UnmatchedPair:
		if x.act == TrustLinkEA {
			return p.renameToLinkEA(x)
		}
		return p.relink(x)
	case LinkMissing, LinkCrashed, LinkInvalidParent, LinkRedundant, LinkRepeated, LinkOverflow:
		return p.relink(x)
	}
	return p.actEntry(x)
}

// actEntry corrects single fields of names and inodes.
func (p *planner) actEntry(x *doing) (string, error) {
	switch x.f.Class {
	case BadType:
		return p.direntType(x)
	case NoFID, DirentFIDInsane:
		return p.direntFID(x, x.d.FID)
	case DirentFIDMismatch:
		if x.act == TrustName {
			return p.inodeFID(x, x.d.Have)
		}
		return p.direntFID(x, x.d.FID)
	case DirentInode:
		e, err := p.entry(x.d.Entry)
		if err != nil {
			return "", err
		}
		e.rec.Inode = x.d.WantInode
		return fmt.Sprintf("inode number in the name set to %d", x.d.WantInode), p.putEntry(e)
	case MissingLMA:
		return p.inodeFID(x, x.d.Want)
	case DuplicateFID:
		return p.duplicates(x)
	case DotdotMismatch:
		at, ok := p.objectPlace(x.d)
		if !ok {
			return "", left("its MDT was not given")
		}
		rec := mdtrecord.Dirent{Inode: x.d.WantInode, FID: x.d.Parent}
		if !p.u.dirdata[at.mdt] {
			rec.FID = ""
		}
		return "'..' set to " + x.d.Parent, p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindDotdot, at.ino), mdtrecord.Encode(rec), "'..' of "+x.d.FID)
	case BadNlink:
		return p.linkCount(x)
	}
	return "", left("there is no way to %s it", x.act)
}

// objectPlace is where the inode of a finding is.
func (p *planner) objectPlace(d *detail) (place, bool) {
	if d.MDT == nil || d.Inode == 0 {
		return place{}, false
	}
	mdt, ok := p.u.places[*d.MDT]
	return place{mdt, d.Inode}, ok
}

// object is where the inode of a finding is, and its FID.
func (p *planner) object(d *detail) (place, lustre.FID, error) {
	at, ok := p.objectPlace(d)
	if !ok {
		return at, lustre.FID{}, left("its MDT was not given")
	}
	fid, err := lustre.ParseFID(d.FID)
	return at, fid, err
}

// namedEntry is a directory entry that is to be changed.
type namedEntry struct {
	dir  place
	name string
	rec  mdtrecord.Dirent
}

// entry reads the entry of a finding anew.
func (p *planner) entry(d *entryDetail) (*namedEntry, error) {
	if d == nil {
		return nil, left("the finding does not say which name it is about")
	}
	mdt, ok := p.u.places[d.MDT]
	if !ok {
		return nil, left("MDT%04x was not given", d.MDT)
	}
	return p.lookupName(place{mdt, d.Dir}, lustre.NameOf(d.Name, d.NameRaw))
}

// lookupName reads a name.
func (p *planner) lookupName(dir place, name string) (*namedEntry, error) {
	rec, err := p.mdts.Dirent(dir.mdt, dir.ino, name)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, left("the name %q is not there any more", lustre.NameText(name))
	}
	return &namedEntry{dir, name, *rec}, nil
}

// has tells whether a directory has a name.
func (p *planner) has(dir place, name string) (bool, error) {
	rec, err := p.mdts.Dirent(dir.mdt, dir.ino, name)
	return rec != nil, err
}

// putEntry writes an entry. Other data records stay as they are.
func (p *planner) putEntry(e *namedEntry) error {
	if e.rec.FID != "" && e.dir.ino != p.u.remotes[e.dir.mdt] {
		keep(p, p.given, e.rec.FID, true)
	}
	return p.set(e.dir.mdt, mdtrecord.NameAddr(e.dir.ino, e.name), mdtrecord.Encode(e.rec), "name in "+p.dirText(e.dir))
}

// dirText names a directory for the reader of a plan.
func (p *planner) dirText(dir place) string {
	if l, ok := p.mdts.LMA(dir.mdt, dir.ino); ok {
		return l.FID.String()
	}
	if dir.ino == p.u.remotes[dir.mdt] {
		return "REMOTE_PARENT_DIR"
	}
	return p.u.inodeText(dir.mdt, dir.ino)
}

func (p *planner) direntType(x *doing) (string, error) {
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	was := e.rec.Type
	e.rec.Type = x.d.Type
	// A link count that goes with the wrong type goes with the right one as well. One that is right already stays.
	counted, err := p.subdirs(e.dir)
	if err != nil {
		return "", err
	}
	if err := p.putEntry(e); err != nil {
		return "", err
	}
	in, err := p.mdts.Inode(e.dir.mdt, e.dir.ino)
	if err != nil {
		return "", err
	}
	by, dir := 0, ext4.TypeName(ext4.TypeDir)
	switch {
	case in.Links == 1 || int(in.Links) != 2+counted:
	case was == dir:
		by = -1
	case x.d.Type == dir:
		by = 1
	}
	if by != 0 {
		err = p.addLinks(e.dir, by)
	}
	return "type in the name set to " + x.d.Type, err
}

// direntFID sets the FID in a name.
func (p *planner) direntFID(x *doing, fid string) (string, error) {
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	// An inode that had lost its LMA was only known by its number when this was found.
	if was, err := lustre.ParseFID(fid); err == nil && was.IsIGIF() {
		if l, ok := p.mdts.LMA(e.dir.mdt, e.rec.Inode); ok {
			fid = l.FID.String()
		}
	}
	e.rec.FID = fid
	return "FID in the name set to " + fid, p.putEntry(e)
}

// inodeFID sets the FID that an inode says it has.
func (p *planner) inodeFID(x *doing, text string) (string, error) {
	at, ok := p.objectPlace(x.d)
	fid, err := lustre.ParseFID(text)
	if !ok || err != nil {
		return "", left("it is not known which FID the inode should have")
	}
	l, had := p.mdts.LMA(at.mdt, at.ino)
	if !had {
		l = lustre.LMA{}
		if in, err := p.remoteName(at.mdt, fid); err == nil && in != nil {
			l.Incompat |= lustre.LMAIRemoteParent
		}
		if lmv, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLMV); err == nil && lmv != nil {
			if m := lustre.LMVMagic(lmv); m == lustre.LMVMaster || m == lustre.LMVShard {
				l.Incompat |= lustre.LMAIStriped
			}
		}
	}
	if was := l.FID.String(); had && l.FID != fid {
		if _, there := p.denied[at]; !there {
			p.denied[at] = was
			p.back = append(p.back, func() { delete(p.denied, at) })
		}
	}
	l.FID = fid
	if err := p.putLMA(at, l); err != nil {
		return "", err
	}
	if !had && lustre.InOI(fid, l.Compat) && !fid.IsLocal() {
		err = p.fileIndex(at, fid)
	}
	return "the inode is " + fid.String() + " again", err
}

func (p *planner) putLMA(at place, l lustre.LMA) error {
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLMA, at.ino), mdtrecord.Encode(mdtrecord.LMA{FID: l.FID.String(), Compat: l.Compat, Incompat: l.Incompat}), "LMA of "+l.FID.String())
}

// flagLMA sets and clears bits of an LMA.
func (p *planner) flagLMA(at place, set, clear uint32) error {
	l, ok := p.mdts.LMA(at.mdt, at.ino)
	if !ok {
		return left("inode %d of MDT%04x has no LMA", at.ino, p.u.indexes[at.mdt])
	}
	l.Incompat = l.Incompat&^clear | set
	return p.putLMA(at, l)
}

// linkCount sets a link count.
func (p *planner) linkCount(x *doing) (string, error) {
	at, ok := p.objectPlace(x.d)
	if !ok {
		return "", left("its MDT was not given")
	}
	in, err := p.mdts.Inode(at.mdt, at.ino)
	if err != nil {
		return "", err
	}
	n := x.d.WantLinks
	switch {
	case in.IsDir(): // its names may be others by now
		if n, err = p.subdirs(at); err != nil {
			return "", err
		}
		n += 2
	case n < 1:
		return "", left("it is not known how many links there should be")
	}
	return fmt.Sprintf("link count set to %d", n), p.putLinks(at, n)
}

// maxDirLinks is how many links an inode counts (Linux: EXT4_LINK_MAX). A directory with more of them says 1.
const maxDirLinks = 65000

func (p *planner) putLinks(at place, n int) error {
	if n > maxDirLinks {
		in, err := p.mdts.Inode(at.mdt, at.ino)
		if err != nil || !in.IsDir() {
			return left("%d links are more than an inode can have", n)
		}
		n = 1
	}
	return p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindNlink, at.ino), []byte(strconv.Itoa(n)), "link count of "+p.dirText(at))
}

// addLinks changes the link count of a directory by what a sub-directory adds or takes.
func (p *planner) addLinks(dir place, by int) error {
	in, err := p.mdts.Inode(dir.mdt, dir.ino)
	if err != nil {
		return err
	}
	if n := int(in.Links); n > 1 { // 1 stands for more than can be counted
		return p.putLinks(dir, max(n+by, 2))
	}
	return nil
}

// lose counts what is gone after the repair.
func (p *planner) lose(what string) {
	p.loss++
	if p.doing.loses != "" {
		p.doing.loses += ", "
	}
	p.doing.loses += what
}
