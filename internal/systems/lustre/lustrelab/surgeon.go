package lustrelab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"fettle/internal/fault"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

var le = binary.LittleEndian

// errNoRoom says that an injury cannot be made at this place; another one is tried.
var errNoRoom = errors.New("there is no room for it")

// surgeon edits one image in place. After every edit all checksums and counts are right: nothing but what was asked for is wrong.
type surgeon struct {
	f  *os.File
	fs *ext4.FS // reads the same file, so that it sees every edit, except for group descriptors
	bs int      // bytes of a block
}

// openSurgeon opens an image for writing.
func openSurgeon(path string) (*surgeon, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, &fault.Error{Op: "injure", Err: err}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	fs, err := ext4.New(f, info.Size(), path)
	if err != nil {
		return nil, errors.Join(&fault.Error{Op: "injure", Err: err}, f.Close())
	}
	for _, r := range fs.Refusals() {
		if r.Reason != ext4.ReasonMountRO {
			return nil, errors.Join(&fault.Error{Op: "injure", Where: path, Err: r, Hint: r.Hint}, f.Close())
		}
	}
	return &surgeon{f, fs, int(fs.Super().BlockSize)}, nil
}

func (s *surgeon) close() error { return s.f.Close() }

func (s *surgeon) write(b []byte, at int64) error {
	if _, err := s.f.WriteAt(b, at); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(b), at, s.fs.Name(), err)
	}
	return nil
}

func (s *surgeon) writeBlock(block uint64, b []byte) error {
	return s.write(b, int64(block)*int64(s.bs))
}

func (s *surgeon) readBlock(block uint64) ([]byte, error) {
	b := make([]byte, s.bs)
	return b, s.fs.ReadBlock(block, b)
}

// editInode changes the raw bytes of an inode.
func (s *surgeon) editInode(ino uint32, edit func(raw []byte) error) error {
	in, err := s.fs.Inode(ino)
	if err != nil {
		return err
	}
	if err := edit(in.Raw); err != nil {
		return fmt.Errorf("inode %d: %w", ino, err)
	}
	s.fs.Sums().PutInode(ino, in.Raw)
	return s.write(in.Raw, in.Offset)
}

// setLinks sets the link count of an inode.
func (s *surgeon) setLinks(ino uint32, links uint16) error {
	return s.editInode(ino, func(raw []byte) error {
		le.PutUint16(raw[ext4.InodeLinks:], links)
		return nil
	})
}

// addLinks changes the link count of an inode. A directory that counts no sub-directories, which has 1, is left alone.
func (s *surgeon) addLinks(ino uint32, delta int) error {
	return s.editInode(ino, func(raw []byte) error {
		if n := int(le.Uint16(raw[ext4.InodeLinks:])); n > 1 || le.Uint16(raw[ext4.InodeMode:])&ext4.ModeTypeMask != ext4.ModeDir {
			le.PutUint16(raw[ext4.InodeLinks:], uint16(n+delta))
		}
		return nil
	})
}

// setLMA changes the LMA of an inode.
func (s *surgeon) setLMA(ino uint32, edit func(*lustre.LMA)) error {
	in, err := s.fs.Inode(ino)
	if err != nil {
		return err
	}
	b, _, err := s.fs.Xattr(in, ext4.XattrIndexTrusted, "lma")
	if err != nil {
		return err
	}
	l, err := lustre.DecodeLMA(b)
	if err != nil {
		return err
	}
	edit(&l)
	return s.setXattr(ino, "lma", append(l.Encode(), b[lustre.LMASize:]...))
}

// setLMV changes the LMV of an inode.
func (s *surgeon) setLMV(o *seen, edit func(*lustre.LMV)) error {
	v := *o.lmv
	edit(&v)
	return s.setXattr(o.in.Number, "lmv", v.Encode())
}

// setLink replaces the link EA of an inode.
func (s *surgeon) setLink(ino uint32, links ...lustre.Link) error {
	b, dropped := lustre.LinkEA{Links: links}.Encode(defaultDay)
	if dropped > 0 {
		return errNoRoom
	}
	return s.setXattr(ino, "link", b)
}

// editEntry changes the entry at a place; entry goes up to its record length.
func (s *surgeon) editEntry(dir uint32, at place, edit func(entry []byte) error) error {
	return s.editDirBlock(dir, at.block, at.logical, func(b []byte) error {
		n := int(le.Uint16(b[at.offset+ext4.DirentRecLen:]))
		if n < ext4.DirentMin || at.offset+n > len(b) {
			return fmt.Errorf("no entry at %d", at.offset)
		}
		return edit(b[at.offset : at.offset+n])
	})
}

// editDirBlock changes a block of a directory and its checksum.
func (s *surgeon) editDirBlock(dir uint32, block uint64, logical uint32, edit func(b []byte) error) error {
	in, err := s.fs.Inode(dir)
	if err != nil {
		return err
	}
	b, err := s.readBlock(block)
	if err != nil {
		return err
	}
	if err := edit(b); err != nil {
		return fmt.Errorf("directory %d, block %d: %w", dir, logical, err)
	}
	if in.Flags&ext4.FlagIndex != 0 && logical == 0 {
		root, err := s.fs.DxRoot(b)
		if err != nil {
			return err
		}
		if err := s.fs.Sums().PutDirNode(dir, in.Generation, b, root.CountAt); err != nil {
			return err
		}
	} else {
		s.fs.Sums().PutDirLeaf(dir, in.Generation, b)
	}
	return s.writeBlock(block, b)
}

// removeEntry takes a name out of a directory as a server does: the entry before it gets its room, and its bytes stay.
func (s *surgeon) removeEntry(dir uint32, at place) error {
	return s.editDirBlock(dir, at.block, at.logical, func(b []byte) error {
		before := -1
		for off := 0; off < at.offset; {
			n := int(le.Uint16(b[off+ext4.DirentRecLen:]))
			if n < ext4.DirentHeader {
				return fmt.Errorf("an entry of %d bytes at %d", n, off)
			}
			before, off = off, off+n
		}
		if before < 0 {
			le.PutUint32(b[at.offset:], 0)
			return nil
		}
		n := le.Uint16(b[before+ext4.DirentRecLen:]) + le.Uint16(b[at.offset+ext4.DirentRecLen:])
		le.PutUint16(b[before+ext4.DirentRecLen:], n)
		return nil
	})
}

// addEntry puts a name into free space of a directory without a hash tree, errNoRoom if there is none. Without a FID (zero) none stands
// behind the name. It gives the name with its place.
func (s *surgeon) addEntry(dir uint32, n name) (name, error) {
	in, err := s.fs.Inode(dir)
	if err != nil {
		return n, err
	}
	if in.Flags&ext4.FlagIndex != 0 {
		return n, errNoRoom
	}
	d := ext4.Dirent{Inode: n.ino, Type: n.typ, Name: []byte(n.text)}
	if !n.fid.IsZero() {
		d.Flags, d.Data = ext4.DirdataLUFID, ext4.LUFIDRecord([16]byte(n.fid.AppendBig(nil)))
	}
	var failed error = errNoRoom
	err = s.fs.DirBlocks(in, func(b ext4.DirBlock) bool {
		failed = s.editDirBlock(dir, b.Physical, b.Logical, func(raw []byte) error {
			off, err := s.insert(raw, d)
			n.at = place{b.Physical, b.Logical, off}
			return err
		})
		return errors.Is(failed, errNoRoom)
	}, nil)
	return n, errors.Join(err, failed)
}

// insert puts an entry behind one that does not need all of its room, or in the place of one that is not in use. It gives the
// byte at which it lies.
func (s *surgeon) insert(b []byte, d ext4.Dirent) (at int, err error) {
	end := len(b)
	if s.fs.Sums().Metadata {
		end -= ext4.DirTailSize
	}
	need := ext4.DirentLen(len(d.Name), len(d.Data))
	for off := 0; off+ext4.DirentHeader <= end; {
		n, used := int(le.Uint16(b[off+ext4.DirentRecLen:])), 0
		if n < ext4.DirentHeader || off+n > end {
			break
		}
		if le.Uint32(b[off:]) != 0 {
			used = lustre.EntryUsed(b[off : off+n])
		}
		if n-used >= need {
			if used > 0 {
				le.PutUint16(b[off+ext4.DirentRecLen:], uint16(used))
			}
			d.RecLen = n - used
			return off + used, ext4.PutDirent(b[off+used:off+n], d, s.bs)
		}
		off += n
	}
	return 0, errNoRoom
}

// setFID writes a FID behind a name that has one.
func setFID(entry []byte, f lustre.FID) error {
	at := ext4.DirentName + int(entry[ext4.DirentNameLen])
	if entry[ext4.DirentType]&ext4.DirdataLUFID == 0 || at+18 > len(entry) {
		return errNoRoom
	}
	lustre.AppendEntryFID(entry[:at], f)
	return nil
}

// dropFID takes the FID from behind a name.
func dropFID(entry []byte) error {
	if entry[ext4.DirentType]&ext4.DirdataLUFID == 0 {
		return errNoRoom
	}
	entry[ext4.DirentType] &= ext4.DirTypeMask
	at := ext4.DirentName + int(entry[ext4.DirentNameLen])
	clear(entry[at:min(at+18, len(entry))])
	return nil
}

// setType writes the type of a name.
func setType(entry []byte, typ uint8) {
	entry[ext4.DirentType] = entry[ext4.DirentType]&^ext4.DirTypeMask | typ
}
