package ext4edit

import (
	"bytes"
	"slices"

	"fettle/internal/format/ext4"
)

// frame is a node of a hash tree on the way to a leaf.
type frame struct {
	logical uint32
	block   uint64
	buf     []byte
	dx      ext4.DxNode
	at      int // the entry that was followed
}

// directory reads a directory that may be changed, with its map.
func (e *Edit) directory(ino uint32) (*ext4.Inode, *place, error) {
	in, err := e.inode(ino)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !in.IsDir():
		return nil, nil, invalid("inode %d is no directory", ino)
	case in.Flags&(ext4.FlagInlineData|ext4.FlagEncrypt|ext4.FlagCasefold) != 0:
		return nil, nil, ErrUnsupported
	}
	p, err := e.dirPlaces(in)
	return in, p, err
}

// indexed says whether a directory is a hash tree.
func (e *Edit) indexed(in *ext4.Inode) bool {
	return in.Flags&ext4.FlagIndex != 0 && e.sb.Compat&ext4.CompatDirIndex != 0
}

// hash gives the hash of a name in a tree. Names with bytes above 127 have none when the superblock does not say how they count.
func (e *Edit) hash(version uint8, name []byte) (uint32, error) {
	if e.sb.Flags&(ext4.SuperFlagSignedHash|ext4.SuperFlagUnsignedHash) == 0 && slices.ContainsFunc(name, func(b byte) bool { return b > 127 }) {
		return 0, ErrUnsupported
	}
	h, _, ok := ext4.NameHash(e.sb.DirHashVersion(version), e.sb.HashSeed, name)
	if !ok {
		return 0, ErrUnsupported
	}
	return h, nil
}

// maxLevels gives how many levels of nodes may be below a root.
func (e *Edit) maxLevels() int {
	if e.sb.Incompat&ext4.IncompatLargeDir != 0 {
		return ext4.DxMaxLevels
	}
	return ext4.DxMaxLevels - 1
}

// node reads a node of a hash tree and checks all of it.
func (e *Edit) node(in *ext4.Inode, p *place, logical uint32) (frame, error) {
	f := frame{logical: logical}
	block, err := p.at(logical)
	if err != nil {
		return f, err
	}
	f.block = block
	if f.buf, err = e.change(block); err != nil {
		return f, err
	}
	if logical == 0 {
		f.dx, err = e.view.DxRoot(f.buf)
	} else {
		f.dx, err = e.view.DxInner(f.buf)
	}
	if err != nil {
		return f, damaged("block %d of directory %d: %v", logical, in.Number, err)
	}
	if f.dx.Limit != e.sb.DxLimit(f.dx.CountAt) || int(f.dx.Levels) > e.maxLevels() {
		return f, damaged("hash-tree block %d of directory %d has room for %d entries and %d levels", logical, in.Number, f.dx.Limit, f.dx.Levels)
	}
	for i, x := range f.dx.Entries {
		if i > 0 && x.Hash < f.dx.Entries[i-1].Hash || x.Block == 0 || x.Block >= p.blocks {
			return f, damaged("entry %d of hash-tree block %d of directory %d names block %d", i, logical, in.Number, x.Block)
		}
	}
	if e.sums.Metadata {
		off, sum, ok := e.sums.DirNode(in.Number, in.Generation, f.buf, f.dx.CountAt)
		if !ok || le.Uint32(f.buf[off:]) != sum {
			return f, damaged("checksum of hash-tree block %d of directory %d is wrong", logical, in.Number)
		}
	}
	return f, nil
}

// probe descends to the leaf in which a hash belongs.
func (e *Edit) probe(in *ext4.Inode, p *place, name []byte) (path []frame, hash uint32, err error) {
	f, err := e.node(in, p, 0)
	if err != nil {
		return nil, 0, err
	}
	if hash, err = e.hash(f.dx.HashVersion, name); err != nil {
		return nil, 0, err
	}
	for left := int(f.dx.Levels); ; left-- {
		f.at = 0
		for i := 1; i < len(f.dx.Entries) && f.dx.Entries[i].Hash <= hash; i++ {
			f.at = i
		}
		path = append(path, f)
		if left == 0 {
			return path, hash, nil
		}
		next := f.dx.Entries[f.at].Block
		for _, above := range path {
			if above.logical == next {
				return nil, 0, damaged("hash-tree block %d of directory %d is below itself", next, in.Number)
			}
		}
		if f, err = e.node(in, p, next); err != nil {
			return nil, 0, err
		}
	}
}

// next moves a path on to the next leaf if that begins with the same hash as the one before ends.
func (e *Edit) next(in *ext4.Inode, p *place, path []frame, hash uint32) (bool, error) {
	level := len(path) - 1
	for level >= 0 && path[level].at+1 >= len(path[level].dx.Entries) {
		level--
	}
	if level < 0 {
		return false, nil
	}
	path[level].at++
	if h := path[level].dx.Entries[path[level].at].Hash; h != hash|1 {
		return false, nil
	}
	for ; level < len(path)-1; level++ {
		f, err := e.node(in, p, path[level].dx.Entries[path[level].at].Block)
		if err != nil {
			return false, err
		}
		path[level+1] = f
	}
	return true, nil
}

// leafOf gives the logical block of the leaf that a path leads to.
func leafOf(path []frame) uint32 {
	f := path[len(path)-1]
	return f.dx.Entries[f.at].Block
}

// At is the place of an entry: the block of its directory and the offset in it.
type At struct {
	Logical uint32
	Offset  int
}

// Entry is a copy of a directory entry.
type Entry struct {
	At
	Name  []byte
	Inode uint32
	Type  uint8
	Flags uint8  // which data records there are
	Data  []byte // the records, each with its length byte first
}

// Find looks a name up as the kernel does: by its hash where there is a tree. ErrAbsent if it is not found.
func (e *Edit) Find(dir uint32, name []byte) (x Entry, err error) {
	err = e.do(func() error {
		in, p, err := e.directory(dir)
		if err != nil {
			return err
		}
		l, i, err := e.lookup(in, p, name)
		if err != nil {
			return err
		}
		x = e.entry(l, i)
		return nil
	}, "find %q in directory %d", name, dir)
	return x, err
}

// entry makes the copy of a slot.
func (e *Edit) entry(l *leaf, i int) Entry {
	s := l.slots[i]
	x := Entry{At: At{l.logical, s.off}, Name: bytes.Clone(l.name(s)), Inode: s.ino}
	e.view.Dirents(ext4.DirBlock{Physical: l.block, Logical: l.logical}, l.buf, func(d ext4.Dirent) bool {
		if d.Offset == s.off {
			x.Type, x.Flags, x.Data = d.Type, d.Flags, bytes.Clone(d.Data)
		}
		return d.Offset < s.off
	}, nil)
	return x
}

// lookup finds the slot of a name.
func (e *Edit) lookup(in *ext4.Inode, p *place, name []byte) (*leaf, int, error) {
	if !e.indexed(in) || string(name) == ".." || string(name) == "." {
		if e.indexed(in) {
			return nil, 0, invalid("%q is part of the hash tree's root", name)
		}
		for logical := range p.blocks {
			l, err := e.leaf(in, p, logical)
			if err != nil {
				return nil, 0, err
			}
			if i := l.find(name); i >= 0 {
				return l, i, nil
			}
		}
		return nil, 0, ErrAbsent
	}
	path, hash, err := e.probe(in, p, name)
	if err != nil {
		return nil, 0, err
	}
	for range p.blocks {
		l, err := e.leaf(in, p, leafOf(path))
		if err != nil {
			return nil, 0, err
		}
		if i := l.find(name); i >= 0 {
			return l, i, nil
		}
		if more, err := e.next(in, p, path, hash); err != nil || !more {
			return nil, 0, firstOf(err, ErrAbsent)
		}
	}
	return nil, 0, damaged("the hash tree of directory %d has more leaves than blocks", in.Number)
}
