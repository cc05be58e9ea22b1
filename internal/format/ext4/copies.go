package ext4

import (
	"context"
	"fmt"
)

// copies compares the places in the descriptors with those in a copy of the table. Kernels do not write to copies as long as the file
// system keeps its size, and places do not change. A copy in which most groups are elsewhere is an old one, and says nothing.
func (v *placing) copies(ctx context.Context) error {
	fs, s := v.fs, &v.fs.sb
	super, known := fs.copyOfTable()
	per := s.BlockSize / s.DescSize
	buf := fs.take()
	defer fs.give(buf)
	var differ []uint32
	at, compared, loaded := uint64(0), 0, false
	for g := range fs.groups {
		if g%per == 0 {
			if g%(1024*per) == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			at = s.copyBlock(g/per, super)
			loaded = at != 0 && fs.ReadBlock(at, *buf) == nil // what cannot be read says nothing
		}
		raw := (*buf)[g%per*s.DescSize:][:s.DescSize]
		if c := DecodeGroup(raw); !loaded || v.wrong.has(g) || g >= known || s.usesUninit() && fs.sums.Group(g, raw) != c.Checksum || !fs.within(&c) {
			continue
		}
		compared++
		if text, err := v.differs(g, raw); err != nil {
			return err
		} else if text != "" {
			differ = append(differ, g)
		}
	}
	if len(differ) > 1 && 2*len(differ) > compared {
		return nil
	}
	for _, g := range differ {
		at := s.copyBlock(g/per, super)
		if err := fs.ReadBlock(at, *buf); err != nil {
			continue
		}
		text, err := v.differs(g, (*buf)[g%per*s.DescSize:][:s.DescSize])
		if err != nil {
			return err
		}
		d, _ := fs.Group(g)
		v.wrong.set(g)
		v.report.group(KindGroupDesc, g, 0, d.Offset, "%s by the copy of its descriptor in block %d", text, at)
	}
	return nil
}

// within tells whether what a descriptor names lies in the file system.
func (fs *FS) within(d *GroupDesc) bool {
	return fs.BlockOK(d.BlockBitmap) && fs.BlockOK(d.InodeBitmap) && fs.rangeOK(d.InodeTable, fs.sb.TableBlocks())
}

// copyOfTable gives the block of a superblock copy behind which a copy of the descriptors lies, 0 if there is none, and how many groups it knows.
// Those of meta_bg need no superblock.
func (fs *FS) copyOfTable() (super uint64, groups uint32) {
	s := &fs.sb
	list := []uint32{1, 3, 5, 7}
	if s.Compat&CompatSparseSuper2 != 0 {
		list = s.BackupGroups[:]
	}
	for _, g := range list {
		if g == 0 || g >= fs.groups || !s.HasSuper(g) {
			continue
		}
		c := fs.superAt(s.backupOffset(uint64(g)))
		if c != nil && c.UUID == s.UUID && c.BlockSize == s.BlockSize && c.DescSize == s.DescSize && c.BlocksPerGroup == s.BlocksPerGroup && c.InodesPerGroup == s.InodesPerGroup {
			return s.GroupFirstBlock(g), uint32(min(c.Groups(), uint64(fs.groups)))
		}
	}
	if s.Incompat&IncompatMetaBG != 0 {
		return 0, fs.groups
	}
	return 0, 0
}

// copyBlock gives the block of a copy of part number index of the descriptors, 0 if there is none. super is the block of a superblock copy, or 0.
func (s *Superblock) copyBlock(index uint32, super uint64) uint64 {
	if s.Incompat&IncompatMetaBG == 0 || index < s.FirstMetaBG {
		if super == 0 {
			return 0
		}
		return super + 1 + uint64(index)
	}
	group := uint64(index)*uint64(s.BlockSize/s.DescSize) + 1
	if group >= s.Groups() {
		return 0
	}
	block := s.GroupFirstBlock(uint32(group))
	if s.HasSuper(uint32(group)) {
		block++
	}
	return block
}

// differs says what a copy has elsewhere, "" if nothing. A bitmap that matches its checksum is where it should be, whatever the copy says.
func (v *placing) differs(g uint32, raw []byte) (string, error) {
	d, err := v.fs.Group(g)
	if err != nil {
		return "", err
	}
	c := DecodeGroup(raw)
	for _, p := range []struct {
		what       string
		have, copy uint64
		bits       uint16
	}{{"block bitmap", d.BlockBitmap, c.BlockBitmap, GroupBlockUninit}, {"inode bitmap", d.InodeBitmap, c.InodeBitmap, GroupInodeUninit}, {"inode table", d.InodeTable, c.InodeTable, 0}} {
		if p.have == p.copy {
			continue
		}
		if v.fs.sums.Metadata && p.bits != 0 && d.Flags&p.bits == 0 {
			var told bool
			if _, err := v.fs.VerifyBitmaps(g, func(q Problem) { told = told || q.Block == p.have }); err != nil {
				return "", err
			}
			if !told {
				continue
			}
		}
		return fmt.Sprintf("%s at block %d, which is at block %d", p.what, p.have, p.copy), nil
	}
	return "", nil
}
