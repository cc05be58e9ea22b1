package ext4edit

import (
	"bytes"

	"fettle/internal/format/ext4"
)

// slotAt finds an entry by its place and makes sure that it is the one.
func (e *Edit) slotAt(dir uint32, name []byte, at At) (*ext4.Inode, *leaf, int, error) {
	in, p, err := e.directory(dir)
	if err != nil {
		return nil, nil, 0, err
	}
	if at.Logical >= p.blocks {
		return nil, nil, 0, ErrAbsent
	}
	l, err := e.leaf(in, p, at.Logical)
	if err != nil {
		return nil, nil, 0, err
	}
	for i, s := range l.slots {
		if s.off == at.Offset && s.ino != 0 && bytes.Equal(l.name(s), name) {
			return in, l, i, nil
		}
	}
	return nil, nil, 0, ErrAbsent
}

// changeEntry runs fn on the leaf and slot of an entry and writes both leaf and directory.
func (e *Edit) changeEntry(dir uint32, name []byte, at At, fn func(l *leaf, i int) error) error {
	if s := string(name); s == "." || s == ".." {
		return invalid("name %q", name)
	}
	in, l, i, err := e.slotAt(dir, name, at)
	if err == nil {
		err = fn(l, i)
	}
	if err == nil {
		err = e.putLeaf(in, l)
	}
	if err != nil {
		return err
	}
	e.touch(in, true)
	return e.putInode(in)
}

// RemoveName takes a name out of a directory: the entry before it gets its bytes, or its place stays free when it is the first of its
// block. ErrAbsent when there is no such name at that place. Link counts and the inode are the caller's.
func (e *Edit) RemoveName(dir uint32, name []byte, at At) error {
	return e.do(func() error {
		return e.changeEntry(dir, name, at, func(l *leaf, i int) error { return e.removeAt(l, i) })
	}, "remove %q from directory %d", name, dir)
}

// SetType sets the file type of an entry; which data records it has stays.
func (e *Edit) SetType(dir uint32, name []byte, at At, kind uint8) error {
	return e.do(func() error {
		if kind > ext4.TypeSymlink {
			return invalid("type %d", kind)
		}
		return e.changeEntry(dir, name, at, func(l *leaf, i int) error {
			t := &l.buf[l.slots[i].off+ext4.DirentType]
			if e.sb.Dirdata() {
				kind |= *t & ext4.DirdataMask
			}
			*t = kind
			return nil
		})
	}, "set the type of %q in directory %d", name, dir)
}

// SetTarget sets the inode number of an entry. Its data records stay.
func (e *Edit) SetTarget(dir uint32, name []byte, at At, ino uint32) error {
	return e.do(func() error {
		if used, err := e.InUse(ino); err != nil || !used {
			return firstOf(err, invalid("inode %d is free", ino))
		}
		return e.changeEntry(dir, name, at, func(l *leaf, i int) error {
			le.PutUint32(l.buf[l.slots[i].off:], ino)
			return nil
		})
	}, "set the inode of %q in directory %d", name, dir)
}

// SetLUFID sets the FID (16 bytes, big-endian) behind a name: in place where there is one, behind the name where its entry has the
// bytes, and otherwise the entry is put where it fits. It gives the place of the entry afterwards.
func (e *Edit) SetLUFID(dir uint32, name []byte, at At, fid [16]byte) (now At, err error) {
	err = e.do(func() error {
		if !e.sb.Dirdata() {
			return invalid("a FID without the feature dirdata")
		}
		var moved *ext4.Dirent
		now = at
		err := e.changeEntry(dir, name, at, func(l *leaf, i int) error {
			d := e.withLUFID(l, i, fid)
			s := l.slots[i]
			if d.RecLen = s.rec; ext4.DirentLen(len(d.Name), len(d.Data)) <= s.rec {
				return ext4.PutDirent(l.buf[s.off:s.off+s.rec], d, e.over.size)
			}
			moved = &d
			return e.removeAt(l, i)
		})
		if err == nil && moved != nil {
			now, err = e.insert(dir, *moved)
		}
		return err
	}, "set the FID of %q in directory %d", name, dir)
	return now, err
}

// withLUFID gives an entry as it is, but with a FID. Records that cannot be read are given up.
func (e *Edit) withLUFID(l *leaf, i int, fid [16]byte) ext4.Dirent {
	x := e.entry(l, i)
	d := ext4.Dirent{Inode: x.Inode, Type: x.Type, Flags: ext4.DirdataLUFID, Name: x.Name, Data: ext4.LUFIDRecord(fid)}
	rest := x.Data
	if x.Flags&ext4.DirdataLUFID != 0 {
		if _, ok := (ext4.Dirent{Flags: x.Flags, Data: x.Data}).LUFID(); !ok {
			return d
		}
		rest = rest[ext4.DirdataLUFIDLen:]
	}
	if l.slots[i].used == ext4.DirentLen(len(x.Name), len(x.Data)) {
		d.Flags |= x.Flags
		d.Data = append(d.Data, rest...)
	}
	return d
}
