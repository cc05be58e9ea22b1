package ext4edit

import (
	"bytes"
	"errors"

	"fettle/internal/format/ext4"
)

// Name is what an entry shall be.
type Name struct {
	Name  []byte
	Inode uint32
	Type  uint8  // ext4.TypeRegular, ...
	Flags uint8  // which data records there are: ext4.DirdataLUFID, ...
	Data  []byte // the records in the order of their flags, each with its length byte first; see ext4.LUFIDRecord
}

// dirent checks a name and gives it as an entry.
func (e *Edit) dirent(n Name) (ext4.Dirent, error) {
	d := ext4.Dirent{Inode: n.Inode, Type: n.Type, Flags: n.Flags, Name: n.Name, Data: n.Data}
	switch {
	case len(n.Name) == 0 || len(n.Name) > 255 || bytes.ContainsAny(n.Name, "/\x00") || string(n.Name) == "." || string(n.Name) == "..":
		return d, invalid("name %q", n.Name)
	case n.Type > ext4.TypeSymlink || n.Flags&^ext4.DirdataMask != 0:
		return d, invalid("type %d with flags %#x", n.Type, n.Flags)
	case n.Flags != 0 && !e.sb.Dirdata():
		return d, invalid("data records without the feature dirdata")
	}
	rest := n.Data
	for f := uint8(ext4.DirdataLUFID); f != 0; f <<= 1 {
		if n.Flags&f == 0 {
			continue
		}
		if len(rest) < 1 || rest[0] < 1 || int(rest[0]) > len(rest) || f == ext4.DirdataLUFID && rest[0] != ext4.DirdataLUFIDLen {
			return d, invalid("data records %x do not go with flags %#x", n.Data, n.Flags)
		}
		rest = rest[rest[0]:]
	}
	if len(rest) > 0 || ext4.DirentLen(len(n.Name), len(n.Data)) > e.leafEnd()-ext4.DirentMin-ext4.DirentMin {
		return d, invalid("data records %x do not go with flags %#x", n.Data, n.Flags)
	}
	used, err := e.InUse(n.Inode)
	if err == nil && !used {
		err = invalid("name %q for inode %d, which is free", n.Name, n.Inode)
	}
	return d, err
}

// InsertName puts a name into a directory and gives its place. The name goes behind the true end of another entry, into a new block
// when no block has room, and in a hash tree where its hash belongs: leaves are split and the tree grows as far as the format lets
// it (ErrNeedsSplit then). A directory of one full block becomes a hash tree where the feature dir_index is set. Entries that are
// moved keep all of their bytes. Link counts are the caller's.
func (e *Edit) InsertName(dir uint32, n Name) (at At, err error) {
	err = e.do(func() error {
		d, err := e.dirent(n)
		if err != nil {
			return err
		}
		at, err = e.insert(dir, d)
		return err
	}, "insert %q into directory %d", n.Name, dir)
	return at, err
}

func (e *Edit) insert(dir uint32, d ext4.Dirent) (At, error) {
	in, p, err := e.directory(dir)
	if err != nil {
		return At{}, err
	}
	if _, _, err := e.lookup(in, p, d.Name); !errors.Is(err, ErrAbsent) {
		return At{}, firstOf(err, ErrExists)
	}
	if e.indexed(in) {
		return e.insertIndexed(in, p, d)
	}
	need := ext4.DirentLen(len(d.Name), len(d.Data))
	for logical := range p.blocks {
		l, err := e.leaf(in, p, logical)
		if err != nil {
			return At{}, err
		}
		if logical == 0 && !l.dotdot() {
			return At{}, damaged("directory %d does not begin with '.' and '..'", dir)
		}
		if i := l.room(need); i >= 0 {
			return e.insertHere(in, l, i, d)
		}
	}
	if p.blocks == 1 && e.mayIndex() {
		if p, err = e.makeIndex(in, p); err != nil {
			return At{}, err
		}
		return e.insertIndexed(in, p, d)
	}
	logical, block, err := e.appendBlock(in)
	if err != nil {
		return At{}, err
	}
	raw, err := e.encode(d)
	if err != nil {
		return At{}, err
	}
	l := &leaf{logical: logical, block: block}
	if l.buf, err = e.pack([][]byte{raw}); err != nil {
		return At{}, err
	}
	return At{logical, 0}, e.putLeaf(in, l)
}

// insertHere puts an entry into a leaf that has room behind slot i.
func (e *Edit) insertHere(in *ext4.Inode, l *leaf, i int, d ext4.Dirent) (At, error) {
	off, err := e.insertAt(l, i, d)
	if err == nil {
		err = e.putLeaf(in, l)
	}
	if err != nil {
		return At{}, err
	}
	e.touch(in, true)
	return At{l.logical, off}, e.putInode(in)
}

// encode gives the bytes of an entry, no longer than it must be.
func (e *Edit) encode(d ext4.Dirent) ([]byte, error) {
	d.RecLen = ext4.DirentLen(len(d.Name), len(d.Data))
	raw := make([]byte, d.RecLen)
	return raw, ext4.PutDirent(raw, d, e.over.size)
}

// mayIndex says whether hash trees may be made: the feature is there and the superblock says how names are hashed.
func (e *Edit) mayIndex() bool {
	return e.sb.Compat&ext4.CompatDirIndex != 0 && e.sb.HashVersion <= ext4.HashTEA &&
		e.sb.Flags&(ext4.SuperFlagSignedHash|ext4.SuperFlagUnsignedHash) != 0
}

// makeIndex turns a directory of one block into a hash tree with one leaf, and gives its new map.
func (e *Edit) makeIndex(in *ext4.Inode, p *place) (*place, error) {
	l, err := e.leaf(in, p, 0)
	if err != nil {
		return nil, err
	}
	dotdot := l.slots[1]
	info := dotdot.off + dotdot.used
	if info+ext4.DxInfoSize+2*ext4.DxEntrySize+ext4.DxTailSize > len(l.buf) {
		return nil, damaged("the entry '..' of directory %d takes %d bytes", in.Number, dotdot.used)
	}
	var entries [][]byte
	for _, s := range l.slots[2:] {
		if s.ino != 0 {
			entries = append(entries, l.raw(s))
		}
	}
	logical, block, err := e.appendBlock(in)
	if err != nil {
		return nil, err
	}
	moved := &leaf{logical: logical, block: block}
	if moved.buf, err = e.pack(entries); err != nil {
		return nil, err
	}
	if err := e.putLeaf(in, moved); err != nil {
		return nil, err
	}
	clear(l.buf[info:])
	e.setRecLen(l.buf[dotdot.off:], len(l.buf)-dotdot.off)
	l.buf[info+ext4.DxInfoVersion], l.buf[info+ext4.DxInfoLength] = e.sb.HashVersion, ext4.DxInfoSize
	root := frame{logical: 0, block: l.block, buf: l.buf}
	root.dx = ext4.DxNode{Root: true, InfoAt: info, CountAt: info + ext4.DxInfoSize, Entries: []ext4.DxEntry{{Block: logical}}}
	if err := e.putFrame(in, &root); err != nil {
		return nil, err
	}
	le.PutUint32(in.Raw[ext4.InodeFlags:], in.Flags|ext4.FlagIndex)
	if err := e.putInode(in); err != nil {
		return nil, err
	}
	return e.dirPlaces(in)
}
