package mdtrecord

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Read gives the content of a record, nil if there is none.
func (s *Set) Read(mdt int, addr string) (store.Bytes, error) {
	if isAccount(addr) {
		return s.readAccount(mdt, addr)
	}
	p, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	switch p.kind {
	case KindDirent:
		rec, err := s.Dirent(mdt, p.ino, p.name)
		if rec == nil || err != nil {
			return nil, err
		}
		return Encode(*rec), nil
	case KindDotdot:
		return s.readDotdot(mdt, p.ino)
	case KindLink, KindLMA, KindLMV, KindLOV:
		return s.readXattr(mdt, p.ino, p.kind)
	case KindNlink:
		in, err := s.Inode(mdt, p.ino)
		if err != nil {
			return nil, err
		}
		return store.Bytes(strconv.Itoa(int(in.Links))), nil
	case KindOI:
		file, err := s.oiFile(mdt, p.fid)
		if err != nil {
			return nil, err
		}
		x, err := s.edits[mdt].OIFind(file, p.fid)
		if errors.Is(err, ext4edit.ErrAbsent) {
			return nil, nil
		}
		return Encode(OIEntry{x.Ino, x.Generation}), err
	case KindInode:
		return s.readInode(mdt, p.ino)
	case KindObject:
		return s.readObject(mdt, p.ino)
	}
	start, end, err := s.Space(mdt)
	return Encode(SequencesOf(start, end)), err
}

// Dirent finds a name in a directory, nil if there is none.
func (s *Set) Dirent(mdt int, dir uint32, name string) (*Dirent, error) {
	_, rec, err := s.dirent(mdt, dir, name)
	return rec, err
}

func (s *Set) dirent(mdt int, dir uint32, name string) (ext4edit.Entry, *Dirent, error) {
	x, err := s.edits[mdt].Find(dir, []byte(name))
	if errors.Is(err, ext4edit.ErrAbsent) {
		return x, nil, nil
	}
	if err != nil {
		return x, nil, err
	}
	rec := &Dirent{Inode: x.Inode, Type: ext4.TypeName(x.Type & lustre.DirTypeMask), Other: x.Flags &^ ext4.DirdataLUFID}
	if x.Flags&ext4.DirdataLUFID != 0 && len(x.Data) > lustre.FIDSize {
		rec.FID = lustre.BigFID(x.Data[1:]).String()
	}
	return x, rec, nil
}

// Inode reads an inode, whether it is in use or not.
func (s *Set) Inode(mdt int, ino uint32) (*ext4.Inode, error) {
	return s.edits[mdt].View().Inode(ino)
}

// readDotdot reads '..', which is the second entry of a directory.
func (s *Set) readDotdot(mdt int, ino uint32) (store.Bytes, error) {
	in, err := s.Inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	var out store.Bytes
	n := 0
	err = s.edits[mdt].View().Dir(in, func(d ext4.Dirent) bool {
		if n++; string(d.Name) == ".." {
			rec := Dirent{Inode: d.Inode}
			if f, ok := d.LUFID(); ok {
				rec.FID = lustre.BigFID(f).String()
			}
			if d.Type != ext4.TypeDir && d.Type != 0 {
				rec.Type = ext4.TypeName(d.Type)
			}
			out = Encode(rec)
		}
		return n < 2
	}, nil)
	return out, err
}

// Xattr gives a copy of a trusted attribute (KindLMA, KindLink, KindLMV, KindLOV), nil if the inode has none.
func (s *Set) Xattr(mdt int, ino uint32, name string) ([]byte, error) {
	in, err := s.Inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	v, ok, err := s.edits[mdt].View().Xattr(in, ext4.XattrIndexTrusted, name)
	if err != nil || !ok {
		return nil, err
	}
	return append([]byte{}, v...), nil
}

func (s *Set) readXattr(mdt int, ino uint32, kind string) (store.Bytes, error) {
	raw, err := s.Xattr(mdt, ino, kind)
	if raw == nil || err != nil {
		return nil, err
	}
	switch kind {
	case KindLMA:
		if l, err := lustre.DecodeLMA(raw); err == nil && string(l.Encode()) == string(raw) {
			return Encode(LMA{FID: l.FID.String(), Compat: l.Compat, Incompat: l.Incompat}), nil
		}
		return Encode(LMA{Raw: raw}), nil
	case KindLMV:
		rec := Layout{Raw: raw}
		if v, err := lustre.DecodeLMV(raw); err == nil {
			rec.Says = v.String()
		}
		return Encode(rec), nil
	case KindLOV:
		rec := Layout{Raw: raw}
		if v, err := lustre.DecodeLOV(raw); err == nil {
			rec.Says = v.String()
		}
		return Encode(rec), nil
	}
	ea, _, err := lustre.DecodeLinkEA(raw)
	if err == nil {
		if again, dropped := ea.Encode(ea.Overflow); dropped == 0 && string(again) == string(raw) {
			return Encode(LinkEA{Links: Links(ea.Links), Overflow: ea.Overflow}), nil
		}
	}
	return Encode(LinkEA{Raw: raw}), nil
}

func (s *Set) readInode(mdt int, ino uint32) (store.Bytes, error) {
	used, err := s.edits[mdt].InUse(ino)
	if err != nil || !used {
		return nil, err
	}
	in, err := s.Inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	rec := Inode{Type: ext4.TypeName(ext4.DirentTypeOf(in.Mode)), Mode: in.Mode &^ ext4.ModeTypeMask}
	if l, ok := s.LMA(mdt, ino); ok && l.Has(lustre.LMAIAgent) {
		rec.Agent = l.FID.String()
	}
	return Encode(rec), nil
}

// LMA gives the LMA of an inode in use. What is left in a free one means nothing, nor in one that was cleared and is still marked.
func (s *Set) LMA(mdt int, ino uint32) (lustre.LMA, bool) {
	if used, err := s.edits[mdt].InUse(ino); err != nil || !used {
		return lustre.LMA{}, false
	}
	if in, err := s.Inode(mdt, ino); err != nil || in.IsFree() {
		return lustre.LMA{}, false
	}
	raw, err := s.Xattr(mdt, ino, KindLMA)
	if raw == nil || err != nil {
		return lustre.LMA{}, false
	}
	l, err := lustre.DecodeLMA(raw)
	return l, err == nil
}

// oiFile is the inode of the file of the object index that holds a FID.
func (s *Set) oiFile(mdt int, f lustre.FID) (uint32, error) {
	oi := s.oi[mdt]
	n, err := lustre.OIFile(f, len(oi))
	if err == nil && oi[n] == 0 {
		err = fmt.Errorf("the file %s of the object index is missing: %w", lustre.OIName(n), ext4edit.ErrDamaged)
	}
	if err != nil {
		return 0, err
	}
	return oi[n], nil
}

// Space gives the sequences that a target has still to give: from start up to, not including, end.
func (s *Set) Space(mdt int) (start, end uint64, err error) {
	start, end, _, err = s.space(mdt)
	return start, end, err
}

// space gives the inode of the file as well.
func (s *Set) space(mdt int) (start, end uint64, ino uint32, err error) {
	x, err := s.edits[mdt].Find(ext4.InoRoot, []byte(seqFile))
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read %s: %w", seqFile, err)
	}
	var buf [lustre.RangeSize]byte
	n, err := s.edits[mdt].View().ReadFile(x.Inode, 0, buf[:])
	if n < len(buf) {
		return 0, 0, 0, errors.Join(fmt.Errorf("%s is too short", seqFile), err)
	}
	return binary.LittleEndian.Uint64(buf[:]), binary.LittleEndian.Uint64(buf[8:]), x.Inode, nil
}

// readObject gives what is destroyed with an inode, nil if it is free.
func (s *Set) readObject(mdt int, ino uint32) (store.Bytes, error) {
	l, ok := s.LMA(mdt, ino)
	if !ok || l.Has(lustre.LMAIAgent) {
		return nil, nil
	}
	in, err := s.Inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	raw, err := s.Xattr(mdt, ino, KindLOV)
	if err != nil {
		return nil, err
	}
	layout, _ := lustre.DecodeLOV(raw) // of one that cannot be read as far as it can be
	return Encode(Object{ext4.TypeName(ext4.DirentTypeOf(in.Mode)), l.FID.String(), in.Links, in.Size, layout.Objects}), nil
}
