package lustrelab

import (
	"fmt"

	"fettle/internal/format/lustre"
)

// Options say what file system to make. The zero value of a field means its default.
type Options struct {
	FSName string // of the file system; "lab"
	MDTs   int    // 2
	Files  int    // in the namespace, over all MDTs; 1000
	Dirs   int    // likewise, besides ROOT; a 20th of Files
	Seed   uint64

	InodeSize    int // bytes; 512
	Extents      bool
	MetadataCsum bool
	Bit64        bool
	EAInode      bool // attributes too long for a block get inodes of their own
	Linear       bool // no hash trees
	Fragment     bool // free blocks between those of a file

	// Fanout is how many sub-directories a directory has; 16.
	Fanout int
	// Hashes of the striped directories, in turn, in Lustre's words; all four.
	Hashes []string
	// Striped is the number of striped directories; 8, or none if there is one MDT. -1 for none.
	Striped int
	// Shards of a striped directory; as many as MDTs. More than MDTs is possible.
	Shards int
	// Remote is how many of 1000 directories are on another MDT than their parent; 100. -1 for none.
	Remote int
	// HardLinks is how many of 1000 files have more than one name; 20. -1 for none.
	HardLinks int
	// BigDir is the number of files of the first directory, beside those of Files.
	BigDir int
	// Pending is the number of open but unlinked files per MDT; 2. -1 for none.
	Pending int
	// LostFound makes .lustre/lost+found/MDTxxxx, as the first run of LFSCK does.
	LostFound bool
	// Changing gives the last three striped directories the layouts of such as are being split, merged and migrated, with
	// names in old and new shards.
	Changing bool
	// Foreign makes a directory whose layout belongs to another system.
	Foreign bool
	// Deleted is how many of 1000 files were followed by one that was deleted: its inode is free, with its old content, and
	// bytes of its name are left; 10. -1 for none.
	Deleted int
}

// Made says what was made.
type Made struct {
	Paths  []string `json:"paths"`        // of the images, by MDT
	Inodes []int    `json:"inodes"`       // in use by objects, agents and local files, by MDT
	Dirs   int      `json:"directories"`  // directories of the namespace with ROOT, shards not counted
	Files  int      `json:"files"`        // files of the namespace
	Names  int      `json:"names"`        // names in the namespace as a client sees them
	Remote int      `json:"remote_names"` // names whose object is on another MDT, those of shards included
	Links  int      `json:"more_names"`   // names beyond the first of a file
}

const (
	maxMDTs    = 64
	defaultDay = 1700000000 // the time of everything in the images
)

func (o Options) withDefaults() (Options, error) {
	set := func(v *int, def int) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = 0
		}
	}
	if o.FSName == "" {
		o.FSName = "lab"
	}
	set(&o.MDTs, 2)
	set(&o.Files, 1000)
	set(&o.Dirs, max(o.Files/20, 4))
	set(&o.InodeSize, 512)
	set(&o.Fanout, 16)
	set(&o.Shards, o.MDTs)
	set(&o.Remote, 100)
	set(&o.HardLinks, 20)
	set(&o.Pending, 2)
	set(&o.Deleted, 10)
	if o.MDTs == 1 {
		o.Remote = 0
	}
	if o.Striped == 0 && o.MDTs > 1 {
		o.Striped = min(8, o.Dirs/2)
	}
	o.Striped = max(o.Striped, 0)
	if len(o.Hashes) == 0 {
		o.Hashes = []string{"all_char", "fnv_1a_64", "crush", "crush2"}
	}
	for _, h := range o.Hashes {
		if _, err := lustre.ParseHash(h); err != nil {
			return o, err
		}
	}
	switch {
	case o.MDTs > maxMDTs:
		return o, fmt.Errorf("%d MDTs: possible are 1 to %d", o.MDTs, maxMDTs)
	case len(o.FSName) > 8:
		return o, fmt.Errorf("file system name %q: it may have 8 characters", o.FSName)
	case o.Striped > o.Dirs:
		return o, fmt.Errorf("%d striped directories of %d in all", o.Striped, o.Dirs)
	case o.Shards > lustre.LMVMaxCount:
		return o, fmt.Errorf("%d shards: possible are %d", o.Shards, lustre.LMVMaxCount)
	case o.InodeSize < 512:
		return o, fmt.Errorf("inodes of %d bytes have no room for the attributes of Lustre: want 512 at least", o.InodeSize)
	}
	return o, nil
}
