package mdtrecord

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Write makes a record what after says, nil that there is none. If it fails nothing of it stays.
func (s *Set) Write(mdt int, addr string, after store.Bytes) error {
	return s.edits[mdt].Try(func() error { return s.write(mdt, addr, after) })
}

func (s *Set) write(mdt int, addr string, after store.Bytes) error {
	if isAccount(addr) {
		return s.writeAccount(mdt, addr, after)
	}
	p, err := parseAddress(addr)
	if err != nil {
		return err
	}
	e := s.edits[mdt]
	switch p.kind {
	case KindDirent:
		return s.writeDirent(mdt, p.ino, p.name, after)
	case KindDotdot:
		var rec Dirent
		if err := json.Unmarshal(after, &rec); err != nil {
			return err
		}
		fid, err := bigFID(rec.FID)
		if err != nil {
			return err
		}
		return e.SetDotDot(p.ino, rec.Inode, fid)
	case KindLink, KindLMA, KindLMV, KindLOV:
		return s.writeXattr(mdt, p.ino, p.kind, after)
	case KindNlink:
		n, err := strconv.ParseUint(string(after), 10, 16)
		if err != nil {
			return err
		}
		return e.SetLinks(p.ino, uint16(n))
	case KindOI:
		return s.writeOI(mdt, p.fid, after)
	case KindObject:
		if after != nil {
			return fmt.Errorf("record %s cannot become %s", addr, after)
		}
		return e.DestroyInode(p.ino)
	case KindInode:
		if after == nil {
			return e.FreeInode(p.ino)
		}
		ino, err := s.makeInode(mdt, after)
		if err == nil && ino != p.ino {
			err = fmt.Errorf("the next free inode is %d and not %d; make a new plan", ino, p.ino)
		}
		return err
	}
	return s.writeSpace(mdt, after)
}

// bigFID reads the text of a FID, nil for none.
func bigFID(text string) (*[16]byte, error) {
	if text == "" {
		return nil, nil
	}
	f, err := lustre.ParseFID(text)
	if err != nil {
		return nil, err
	}
	var out [16]byte
	copy(out[:], f.AppendBig(nil))
	return &out, nil
}

// typeNumber is the type that a word of a record means.
func typeNumber(name string) (uint8, error) {
	t, ok := ext4.ParseTypeName(name)
	if !ok {
		return 0, fmt.Errorf("a name cannot be that of an %q: %w", name, ext4edit.ErrUnsupported)
	}
	return t, nil
}

func (s *Set) writeDirent(mdt int, dir uint32, name string, after store.Bytes) error {
	e := s.edits[mdt]
	x, have, err := s.dirent(mdt, dir, name)
	if err != nil {
		return err
	}
	if after == nil {
		if have == nil {
			return nil
		}
		return e.RemoveName(dir, []byte(name), x.At)
	}
	var want Dirent
	if err := json.Unmarshal(after, &want); err != nil {
		return err
	}
	typ, err := typeNumber(want.Type)
	if err != nil {
		return err
	}
	fid, err := bigFID(want.FID)
	if err != nil {
		return err
	}
	if have == nil {
		n := ext4edit.Name{Name: []byte(name), Inode: want.Inode, Type: typ}
		if fid != nil {
			n.Flags, n.Data = ext4.DirdataLUFID, ext4.LUFIDRecord(*fid)
		}
		_, err := e.InsertName(dir, n)
		return err
	}
	if have.Inode != want.Inode {
		if err := e.SetTarget(dir, []byte(name), x.At, want.Inode); err != nil {
			return err
		}
	}
	if have.Type != want.Type {
		if err := e.SetType(dir, []byte(name), x.At, typ); err != nil {
			return err
		}
	}
	if fid != nil && have.FID != want.FID {
		_, err = e.SetLUFID(dir, []byte(name), x.At, *fid)
	}
	return err
}

func (s *Set) writeXattr(mdt int, ino uint32, kind string, after store.Bytes) error {
	e := s.edits[mdt]
	if after == nil {
		err := e.RemoveXattr(ino, ext4.XattrIndexTrusted, kind)
		if errors.Is(err, ext4edit.ErrAbsent) {
			return nil
		}
		return err
	}
	raw, err := xattrBytes(kind, after)
	if err != nil {
		return err
	}
	return e.SetXattr(ino, ext4.XattrIndexTrusted, kind, raw)
}

// xattrBytes makes an attribute of its record.
func xattrBytes(kind string, after store.Bytes) ([]byte, error) {
	switch kind {
	case KindLMA:
		var rec LMA
		if err := json.Unmarshal(after, &rec); err != nil || rec.Raw != nil {
			return rec.Raw, err
		}
		f, err := lustre.ParseFID(rec.FID)
		return lustre.LMA{Compat: rec.Compat, Incompat: rec.Incompat, FID: f}.Encode(), err
	case KindLMV, KindLOV:
		var rec Layout
		err := json.Unmarshal(after, &rec)
		return rec.Raw, err
	}
	var rec LinkEA
	if err := json.Unmarshal(after, &rec); err != nil || rec.Raw != nil {
		return rec.Raw, err
	}
	ea := lustre.LinkEA{Overflow: rec.Overflow}
	for _, l := range rec.Links {
		link, err := l.Decode()
		if err != nil {
			return nil, err
		}
		ea.Links = append(ea.Links, link)
	}
	raw, dropped := ea.Encode(rec.Overflow)
	if dropped > 0 {
		return nil, fmt.Errorf("%d names do not fit in a link EA", dropped)
	}
	return raw, nil
}

func (s *Set) writeOI(mdt int, f lustre.FID, after store.Bytes) error {
	file, err := s.oiFile(mdt, f)
	if err != nil {
		return err
	}
	e := s.edits[mdt]
	_, err = e.OIFind(file, f)
	if err != nil && !errors.Is(err, ext4edit.ErrAbsent) {
		return err
	}
	there := err == nil
	if after == nil {
		return e.OIRemove(file, f)
	}
	var rec OIEntry
	if err := json.Unmarshal(after, &rec); err != nil {
		return err
	}
	x := lustre.OIEntry{FID: f, Ino: rec.Inode, Generation: rec.Generation}
	if there {
		return e.OIReplace(file, x)
	}
	return e.OIInsert(file, x)
}

// MakeInode makes the inode that the content of a record says and gives its number.
func (s *Set) MakeInode(mdt int, after store.Bytes) (ino uint32, err error) {
	err = s.edits[mdt].Try(func() error {
		ino, err = s.makeInode(mdt, after)
		return err
	})
	return ino, err
}

func (s *Set) makeInode(mdt int, after store.Bytes) (uint32, error) {
	var rec Inode
	if err := json.Unmarshal(after, &rec); err != nil {
		return 0, err
	}
	var passed []uint32
	for {
		ino, err := s.allocate(mdt, &rec)
		if err != nil {
			return 0, err
		}
		if slices.Contains(rec.Not, ino) && !slices.Contains(passed, ino) {
			passed = append(passed, ino)
			continue
		}
		for _, p := range passed {
			if err := s.edits[mdt].FreeInode(p); err != nil {
				return 0, err
			}
		}
		return ino, nil
	}
}

func (s *Set) allocate(mdt int, rec *Inode) (uint32, error) {
	typ, err := typeNumber(rec.Type)
	if err != nil {
		return 0, err
	}
	n := ext4edit.NewInode{Near: rec.Near, Mode: rec.Mode, Not: rec.Not}
	if typ == ext4.TypeDir {
		fid, err := bigFID(rec.UpFID)
		if err != nil {
			return 0, err
		}
		return s.edits[mdt].MakeDir(n, rec.Up, fid)
	}
	switch typ {
	case ext4.TypeSymlink:
		n.Mode, n.Target = n.Mode|ext4.ModeSymlink, rec.Target
	case ext4.TypeFIFO:
		n.Mode |= ext4.ModeFIFO
	case ext4.TypeSocket:
		n.Mode |= ext4.ModeSocket
	default:
		n.Mode |= ext4.ModeRegular
	}
	return s.edits[mdt].AllocInode(n)
}

func (s *Set) writeSpace(mdt int, after store.Bytes) error {
	var rec Sequences
	if err := json.Unmarshal(after, &rec); err != nil {
		return err
	}
	start, err := strconv.ParseUint(rec.Start, 0, 64)
	if err != nil {
		return err
	}
	_, _, ino, err := s.space(mdt)
	if err != nil {
		return err
	}
	return s.edits[mdt].WriteFile(ino, 0, binary.LittleEndian.AppendUint64(nil, start))
}
