package ext4edit

import "fettle/internal/format/ext4"

// Turn says when a block is best written. Whoever writes the blocks of one edit in the order of their turns leaves no name behind on the way:
// what an entry is moved to is there, and part of its directory, before the entry goes. It is no replacement for a journal: on the
// way counts and bitmaps do not agree, and after a power failure any of the writes may be missing.
type Turn uint8

// Turns.
const (
	TurnNew    Turn = iota // blocks that were free, or became so
	TurnInodes             // inodes, maps of blocks, attributes, content of files
	TurnCounts             // bitmaps, descriptors, superblock
	TurnNames              // blocks of directories that keep every name they have
	TurnGone               // blocks of directories out of which names go, to other blocks or for good
)

// turn finds the turn of a block.
func (e *Edit) turn(b *Block) Turn {
	switch {
	case e.fresh[b.Number]:
		return TurnNew
	case e.ofDir[b.Number]:
		return e.turnOfNames(b)
	}
	// Inode tables are as good as known by the length of their runs.
	if s, meta, err := e.metaAt(b.Number); err == nil && meta && s.n != e.sb.TableBlocks() {
		return TurnCounts
	}
	return TurnInodes
}

func (e *Edit) turnOfNames(b *Block) Turn {
	after := e.entries(b.After)
	for name := range e.entries(b.Before) {
		if !after[name] {
			return TurnGone
		}
	}
	return TurnNames
}

// entries gives the names in a block of a directory, as far as it can be read.
func (e *Edit) entries(buf []byte) map[string]bool {
	out := map[string]bool{}
	e.view.Dirents(ext4.DirBlock{}, buf, func(d ext4.Dirent) bool {
		out[string(d.Name)] = true
		return true
	}, nil)
	return out
}
