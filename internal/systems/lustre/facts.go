package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/say"
)

// place is an inode of a target.
type place struct {
	mdt int
	ino uint32
}

// tenant is what an inode says of itself when it is read again.
type tenant struct {
	unread   bool // it cannot be read
	free     bool
	held     bool // belongs to the target itself
	agent    bool
	known    bool // has an LMA
	fid      lustre.FID
	mode     uint16
	links    uint16
	gen      uint32
	hasLink  bool
	link     lustre.LinkEA
	crash    error // the link EA has no usable header
	problems []lustre.Problem
	lov      uint64  // digest of trusted.lov, 0 for none
	blocks   uint64  // digest of where its blocks are, 0 if it has none
	intact   *tenant // of one that is marked as free and was never deleted: what it would say. nil for all others
}

// lost gives what an inode is of which only the mark is lost, nil for all others.
func (t *tenant) lost() *tenant {
	if t == nil {
		return nil
	}
	return t.intact
}

// knows tells whether the link EA has the record.
func (t *tenant) knows(l lustre.Link) bool { return t != nil && t.link.Has(l.Parent, l.Name) }

// bareAgent tells whether an inode looks like an agent that has lost its LMA: no object is made without any permission.
func (t *tenant) bareAgent() bool {
	return t != nil && !t.unread && !t.free && !t.held && !t.known && !t.hasLink && t.lov == 0 && t.mode&0o7777 == 0
}

// String says in a line what the inode is.
func (t *tenant) String() string {
	switch {
	case t == nil || t.unread:
		return "cannot be read"
	case t.intact != nil:
		return fmt.Sprintf("is marked as free, and was never deleted: it %v, with %s; its link EA says %s", t.intact, say.Count(int(t.intact.links), "link"), linkText(t.intact.link.Links))
	case t.free:
		return "is free"
	case t.held:
		return "is a file of the target itself"
	case t.agent:
		return "is an agent for " + t.fid.String()
	case !t.known:
		return fmt.Sprintf("is a %s without an LMA", ext4.TypeName(ext4.DirentTypeOf(t.mode)))
	}
	return fmt.Sprintf("is the %s %v", ext4.TypeName(ext4.DirentTypeOf(t.mode)), t.fid)
}

// written is what a directory entry says when it is read again.
type written struct {
	text   string
	parent lustre.FID // of the directory
	sure   bool       // the directory says which FID it has
	typ    uint8
	ino    uint32
	fid    lustre.FID
	hasFID bool
}

func (w *written) link() lustre.Link { return lustre.Link{Parent: w.parent, Name: w.text} }

// What is known of the place that a record of a link EA speaks of.
const (
	lookUnseen = iota // the parent's MDT was not given
	lookGone          // there is no such directory
	lookFree          // the directory has no such name
	lookTaken         // the name leads elsewhere
)

// lookup is what a directory has under the name of a link EA's record.
type lookup struct {
	state  int
	dir    place
	entry  written
	at     int64
	agent  lustre.FID // the entry's inode is an agent for this FID
	exists bool       // the object that the entry's FID names exists
}

// facts are what was read again for one group.
type facts struct {
	inodes  map[place]*tenant
	far     map[lustre.FID]*tenant // objects that agents under a name of the group stand for
	texts   []written              // of the names, in their order
	lookups map[lustre.Link]*lookup
	told    *shardsWord  // of a shard: the layout that the shards tell for the master, nil if the master is right or nobody can tell
	blocked []lustre.FID // directories of which it is not known where they are
}

// tenant gives what was read of an inode, nil if it was not looked at.
func (f *facts) tenant(mdt int, ino uint32) *tenant { return f.inodes[place{mdt, ino}] }

// links are the sane records of an object's link EA, each once.
func (f *facts) links(o *object) []lustre.Link {
	t := f.tenant(o.mdt, o.ino)
	if t == nil {
		return nil
	}
	seen := map[lustre.Link]bool{}
	var out []lustre.Link
	for _, l := range t.link.Links {
		if l.Parent.Sane() && lustre.BadName(l.Name) == "" && !seen[l] {
			seen[l] = true
			out = append(out, l)
		}
	}
	return out
}

// whole tells whether what is left in an inode that is marked as free is the object that a name means.
func whole(t *tenant, fid lustre.FID, name lustre.Link, typ uint8) bool {
	return t != nil && t.fid == fid && t.knows(name) && ext4.DirentTypeOf(t.mode) == typ
}
