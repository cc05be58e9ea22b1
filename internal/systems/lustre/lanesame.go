package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// This file finds a name that a directory has twice. Equal names have one hash, so that in a hash tree they lie in one leaf; a directory
// without a tree has one block, as long as nobody took the tree away. So it is enough to look at the names of one block together. Clients
// reach what the first of them leads to, and never the other.

const (
	sameBits = 1 << 14 // of the filter: a block has a few hundred names
	sameMask = sameBits - 1
)

// sameNames are the names of the block that is being read. They are bounded by its size.
type sameNames struct {
	filter [sameBits / 64]uint64
	names  []sameName
}

// sameName is a name that was met.
type sameName struct {
	hash uint64
	ino  uint32
}

// begin forgets the last block.
func (s *sameNames) begin() {
	if len(s.names) > 0 {
		clear(s.filter[:])
		s.names = s.names[:0]
	}
}

// met takes in a name and gives the inode number of an equal one in the same block.
func (s *sameNames) met(hash uint64, ino uint32) (other uint32, same bool) {
	word, bit := &s.filter[hash&sameMask/64], uint64(1)<<(hash%64)
	if *word&bit != 0 {
		for i := range s.names {
			if s.names[i].hash == hash {
				return s.names[i].ino, true
			}
		}
	}
	*word |= bit
	s.names = append(s.names, sameName{hash, ino})
	return 0, false
}

// sameName tells of a name that the directory has already.
func (r *runner) sameName(d *dirState, e ext4.Dirent, first uint32) {
	r.note(ext4.Problem{Kind: kindSameName, Inode: d.ino, Offset: e.At,
		Text: fmt.Sprintf("inode %d: the directory has the name %q twice; it leads to inode %d and to inode %d, and clients reach only the first", d.ino, lustre.NameText(string(e.Name)), first, e.Inode)})
}
