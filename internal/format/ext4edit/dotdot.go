package ext4edit

import (
	"slices"

	"fettle/internal/format/ext4"
)

// SetDotDot sets the inode number of '..' and, when fid is not nil, the FID behind it. A '..' without a FID gets one: entries that
// stand in its way in the first block move, and a hash tree's root moves up. ErrNeedsSplit when such a root is too full.
func (e *Edit) SetDotDot(dir, parent uint32, fid *[16]byte) error {
	return e.do(func() error {
		used, err := e.InUse(parent)
		switch {
		case err != nil:
			return err
		case !used:
			return invalid("inode %d is free", parent)
		case fid != nil && !e.sb.Dirdata():
			return invalid("a FID without the feature dirdata")
		}
		in, p, err := e.directory(dir)
		if err != nil {
			return err
		}
		if e.indexed(in) {
			err = e.dotdotOfRoot(in, p, parent, fid)
		} else {
			err = e.dotdotOfLeaf(in, p, parent, fid)
		}
		if err != nil {
			return err
		}
		if in, err = e.inode(dir); err != nil {
			return err
		}
		e.touch(in, true)
		return e.putInode(in)
	}, "set '..' of directory %d", dir)
}

// dotdotOfRoot changes the root of a hash tree. Its index begins behind '..', so it is moved when '..' grows.
func (e *Edit) dotdotOfRoot(in *ext4.Inode, p *place, parent uint32, fid *[16]byte) error {
	f, err := e.node(in, p, 0)
	if err != nil {
		return err
	}
	at := ext4.DirentLen(1, 0)
	l := &leaf{buf: f.buf, slots: []slot{{off: at, rec: len(f.buf) - at, used: f.dx.InfoAt - at, ino: le.Uint32(f.buf[at:])}}}
	if l.slots[0].ino == 0 {
		return damaged("'..' of directory %d has no inode", in.Number)
	}
	dirType(f.buf[at:])
	if fid != nil {
		d := e.withLUFID(l, 0, *fid)
		info := slices.Clone(f.buf[f.dx.InfoAt : f.dx.InfoAt+ext4.DxInfoSize])
		clear(f.buf[at:])
		d.RecLen = len(f.buf) - at
		if err := ext4.PutDirent(f.buf[at:], d, e.over.size); err != nil {
			return err
		}
		f.dx.InfoAt = at + ext4.DirentLen(2, len(d.Data))
		f.dx.CountAt = f.dx.InfoAt + ext4.DxInfoSize
		copy(f.buf[f.dx.InfoAt:], info)
	}
	le.PutUint32(f.buf[at:], parent)
	return e.putFrame(in, &f)
}

// dotdotOfLeaf changes the first block of a linear directory.
func (e *Edit) dotdotOfLeaf(in *ext4.Inode, p *place, parent uint32, fid *[16]byte) error {
	l, err := e.leaf(in, p, 0)
	if err != nil {
		return err
	}
	if !l.dotdot() {
		return damaged("directory %d does not begin with '.' and '..'", in.Number)
	}
	s := l.slots[1]
	dirType(l.buf[s.off:])
	le.PutUint32(l.buf[s.off:], parent)
	if fid == nil {
		return e.putLeaf(in, l)
	}
	d := e.withLUFID(l, 1, *fid)
	d.Inode = parent
	need := ext4.DirentLen(2, len(d.Data))
	if need <= s.rec {
		d.RecLen = s.rec
		if err := ext4.PutDirent(l.buf[s.off:s.off+s.rec], d, e.over.size); err != nil {
			return err
		}
		return e.putLeaf(in, l)
	}
	return e.growDotDot(in, l, d)
}

// dirType corrects the type in an entry to that of a directory. File systems without types have 0 there. The upper bits tell of data records.
func dirType(entry []byte) {
	if t := entry[ext4.DirentType]; t&0xf != 0 {
		entry[ext4.DirentType] = t&^0xf | ext4.TypeDir
	}
}

// growDotDot packs the first block of a linear directory anew, with a longer '..'. What does not fit any more is put elsewhere.
func (e *Edit) growDotDot(in *ext4.Inode, l *leaf, d ext4.Dirent) error {
	raw, err := e.encode(d)
	if err != nil {
		return err
	}
	entries, sum := [][]byte{l.raw(l.slots[0]), raw}, l.slots[0].used+len(raw)
	var out []ext4.Dirent
	for i, s := range l.slots {
		if i < 2 || s.ino == 0 {
			continue
		}
		if sum += s.used; sum <= e.leafEnd() {
			entries = append(entries, l.raw(s))
			continue
		}
		sum -= s.used
		x := e.entry(l, i)
		if s.used != ext4.DirentLen(len(x.Name), len(x.Data)) {
			return damaged("the data records behind %q cannot be read", x.Name)
		}
		out = append(out, ext4.Dirent{Inode: x.Inode, Type: x.Type, Flags: x.Flags, Name: x.Name, Data: x.Data})
	}
	if l.buf, err = e.pack(entries); err != nil {
		return err
	}
	if err := e.putLeaf(in, l); err != nil {
		return err
	}
	for _, d := range out {
		if _, err := e.insert(in.Number, d); err != nil {
			return err
		}
	}
	return nil
}
