package lustre

import (
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// draft is a finding before its path and its cause are known. It is kept in a spool.
type draft struct {
	Class    string             `json:"class"`
	Subject  string             `json:"subject"`
	Title    string             `json:"title,omitempty"`
	Why      string             `json:"why,omitempty"`
	Severity finding.Severity   `json:"severity,omitempty"`
	Prefer   finding.Action     `json:"prefer,omitempty"` // the action to suggest, if it is not the class's first
	Evidence []finding.Evidence `json:"evidence"`
	Detail   detail             `json:"detail"`

	Provides []string `json:"provides,omitempty"` // what the finding explains, see the key functions
	Causes   []string `json:"causes,omitempty"`   // it follows from the first of these that some finding provides
	DropIf   []string `json:"drop_if,omitempty"`  // it is no finding at all if some finding provides one of these
	Dir      place2   `json:"dir"`                // the directory of the path, if Named
	Name     string   `json:"name,omitempty"`
	Named    bool     `json:"named,omitempty"`
	Rests    []record `json:"rests,omitempty"` // what it rests on
	Harm     *harm    `json:"harm,omitempty"`  // damage that the sweep met
}

// place2 is a place in JSON.
type place2 struct {
	MDT int    `json:"mdt"`
	Ino uint32 `json:"ino"`
}

// rank is the turn in which a finding is reported: causes come before what follows from them.
func (d *draft) rank() int {
	switch {
	case len(d.Causes)+len(d.DropIf) == 0 && len(d.Provides) > 0:
		return 0
	case len(d.Provides) > 0:
		return 1
	}
	return 2
}

const ranks = 3

// Keys by which findings explain each other.
func keyGone(f lustre.FID) string   { return "gone " + f.String() }   // the object does not exist any more
func keyObject(f lustre.FID) string { return "object " + f.String() } // something else is wrong with the object
func keyLMV(f lustre.FID) string    { return "lmv " + f.String() }    // the directory's layout is wrong
func keyCount(f lustre.FID) string  { return "count " + f.String() }  // the master counts other shards than there are
func keyChild(f lustre.FID) string  { return "child " + f.String() }  // a sub-directory of it is lost, found or mistaken
func keyInode(mdt int, ino uint32) string {
	return "inode " + strconv.Itoa(mdt) + " " + strconv.Itoa(int(ino)) // it is known why no name leads to this inode
}
func keyNamed(f lustre.FID) string { return "named " + f.String() } // likewise for an object on another MDT
func keyType(f lustre.FID, delta int) string {
	return "type " + f.String() + " " + strconv.Itoa(delta) // the type of a name in the directory is wrong: it counts so many links too few
}

// keyLost says that an object tells of a directory that does not exist, and keyHash that a name of the object is in the wrong shard.
func keyLost(f lustre.FID) string { return "lost " + f.String() }
func keyHash(f lustre.FID) string { return "hash " + f.String() }

// keyTwice: the directory has more names than one, and its link EA need not know them all.
func keyTwice(f lustre.FID) string { return "twice " + f.String() }

func keyHarm(mdt int, ino uint32) string {
	return "harm " + strconv.Itoa(mdt) + " " + strconv.Itoa(int(ino))
}
func keyMissed(f lustre.FID) string { return "missed " + f.String() } // one of several names of the object is lost
func keyBehind(mdt int, ino uint32) string {
	return "behind " + strconv.Itoa(mdt) + " " + strconv.Itoa(int(ino)) // it is known why the inode behind a name is not its agent
}
func keyDuplicate(f lustre.FID) string { return "duplicate " + f.String() }

// detail is the machine-readable part of a finding: everything that a planner needs to find the records again.
type detail struct {
	FID        string           `json:"fid,omitempty"`
	MDT        *uint32          `json:"mdt,omitempty"` // index of the MDT that holds the inode
	Inode      uint32           `json:"inode,omitempty"`
	Generation uint32           `json:"generation,omitempty"`
	Entry      *entryDetail     `json:"entry,omitempty"`   // the directory entry it is about
	Entries    []entryDetail    `json:"entries,omitempty"` // all names of the object
	Links      []mdtrecord.Link `json:"links,omitempty"`   // what the link EA should hold
	Surplus    []mdtrecord.Link `json:"surplus,omitempty"` // records of it that should go
	Parent     string           `json:"parent,omitempty"`  // FID of the directory that the object belongs in
	Name       string           `json:"name,omitempty"`    // its name there
	NameRaw    []byte           `json:"name_raw,omitempty"`
	ParentMDT  *uint32          `json:"parent_mdt,omitempty"`
	ParentIno  uint32           `json:"parent_inode,omitempty"`
	Type       string           `json:"type,omitempty"` // of the object
	Have       string           `json:"have,omitempty"`
	Want       string           `json:"want,omitempty"`
	WantInode  uint32           `json:"want_inode,omitempty"`
	WantLinks  int              `json:"want_links,omitempty"` // of a wrong link count, what it should be
	Stripe     *int             `json:"stripe,omitempty"`
	WantStripe *int             `json:"want_stripe,omitempty"`
	Inodes     []inodeDetail    `json:"inodes,omitempty"`
	LostName   string           `json:"lost_name,omitempty"` // under .lustre/lost+found/MDTxxxx
	Backup     []string         `json:"backup,omitempty"`    // paths in file-level backups: "MDT0000:ROOT/dir/file"
	Records    []record         `json:"records,omitempty"`   // what has to be unchanged for the finding to hold
}

// entryDetail is a directory entry.
type entryDetail struct {
	MDT     uint32 `json:"mdt"`
	Dir     uint32 `json:"dir_inode"`
	At      int64  `json:"at"` // byte of the target
	Parent  string `json:"parent,omitempty"`
	Name    string `json:"name"`
	NameRaw []byte `json:"name_raw,omitempty"`
	Inode   uint32 `json:"inode"`
	Type    uint8  `json:"type"`
	FID     string `json:"fid,omitempty"`
}

type inodeDetail struct {
	MDT   uint32 `json:"mdt"`
	Inode uint32 `json:"inode"`
	Says  string `json:"says"`
}

func linkText(ls []lustre.Link) string {
	if len(ls) == 0 {
		return "no names"
	}
	var parts []string
	for i, l := range ls {
		if i == 8 {
			parts = append(parts, fmt.Sprintf("and %d more", len(ls)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%q in %v", l.Name, l.Parent))
	}
	return strings.Join(parts, ", ")
}

// says is one line of evidence.
func says(witness, format string, args ...any) finding.Evidence {
	return finding.Evidence{Witness: witness, Says: fmt.Sprintf(format, args...)}
}
