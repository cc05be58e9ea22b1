package mkldiskfs

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
)

// Xattr is an extended attribute. Name has no prefix; Index stands for it (ext4.XattrIndexTrusted and others).
type Xattr struct {
	Index uint8
	Name  string
	Value []byte
	inode uint32 // that holds the value, if it is too long for a block
}

// Inode is what is written for one inode.
type Inode struct {
	Mode       uint16 // type and permissions
	Links      uint16
	Flags      uint32 // beside those of the map
	Generation uint32
	UID, GID   uint32
	Deleted    uint32 // time of deletion
	Map        Map
	Xattrs     []Xattr
	valueHash  uint32 // of an inode that holds a value
}

// Map says where the content of an inode is. A fast symbolic link or a device has its content in Block and no blocks.
type Map struct {
	Block [60]byte
	Size  uint64 // bytes
	Used  uint64 // blocks, with those of the map itself
	Flags uint32 // ext4.FlagExtents and ext4.FlagIndex
}

// FastSymlink is the map of a symbolic link with a target of less than 60 bytes.
func FastSymlink(target string) Map {
	m := Map{Size: uint64(len(target))}
	copy(m.Block[:], target)
	return m
}

// PutInode writes an inode. Attributes that do not fit go to a block of their own, the longest first.
func (im *Image) PutInode(ino uint32, in *Inode) error {
	room := im.geo.inodeSize - ext4.InodeGoodOldSize - extraISize - 4 - 4
	xs, err := im.longXattrs(in.Xattrs)
	if err != nil {
		return fmt.Errorf("inode %d: %w", ino, err)
	}
	inside, outside := splitXattrs(xs, room)
	var acl uint64
	if len(outside) > 0 {
		block, err := im.putXattrBlock(ino, outside)
		if err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
		acl = block
	}
	raw, flush, err := im.inodeBytes(ino)
	if err != nil {
		return err
	}
	im.encodeInode(raw, ino, in, inside, acl)
	return flush()
}

// inodeBytes gives zeroed memory for an inode, and what has to be called when it is filled.
func (im *Image) inodeBytes(ino uint32) ([]byte, func() error, error) {
	group, index, offset := im.geo.inodeAt(ino)
	size := im.geo.inodeSize
	if group > im.windowGroup {
		if err := im.flushWindow(); err != nil {
			return nil, nil, err
		}
		im.windowGroup = group
		if im.window == nil {
			im.window = make([]byte, im.geo.perGroup*size)
		}
		clear(im.window)
	}
	if group == im.windowGroup {
		raw := im.window[index*size : (index+1)*size]
		clear(raw)
		return raw, nothing, nil
	}
	raw := make([]byte, size)
	return raw, func() error {
		if _, err := im.f.WriteAt(raw, offset); err != nil {
			return fmt.Errorf("write inode %d of %s: %w", ino, im.f.Name(), err)
		}
		return nil
	}, nil
}

func nothing() error { return nil }

// flushWindow writes the inode table that is held in memory, up to the last inode in use.
func (im *Image) flushWindow() error {
	if im.windowGroup < 0 {
		return nil
	}
	end := len(im.window)
	for end > 0 && im.window[end-1] == 0 {
		end--
	}
	end = (end + BlockSize - 1) / BlockSize * BlockSize
	return im.WriteBlock(im.geo.inodeTable(im.windowGroup), im.window[:end])
}

func (im *Image) encodeInode(raw []byte, ino uint32, in *Inode, inside []Xattr, acl uint64) {
	le.PutUint16(raw[ext4.InodeMode:], in.Mode)
	le.PutUint16(raw[ext4.InodeUIDLo:], uint16(in.UID))
	le.PutUint16(raw[ext4.InodeUIDHi:], uint16(in.UID>>16))
	le.PutUint16(raw[ext4.InodeGIDLo:], uint16(in.GID))
	le.PutUint16(raw[ext4.InodeGIDHi:], uint16(in.GID>>16))
	le.PutUint32(raw[ext4.InodeSizeLo:], uint32(in.Map.Size))
	le.PutUint32(raw[ext4.InodeSizeHi:], uint32(in.Map.Size>>32))
	for _, at := range []int{ext4.InodeAtime, ext4.InodeCtime, ext4.InodeMtime, ext4.InodeCrtime} {
		le.PutUint32(raw[at:], im.opt.Time)
	}
	le.PutUint32(raw[ext4.InodeDtime:], in.Deleted)
	le.PutUint16(raw[ext4.InodeLinks:], in.Links)
	used := in.Map.Used
	if acl != 0 {
		used++
	}
	for _, x := range inside {
		if x.inode != 0 { // the inode is charged for values that it has elsewhere
			used += uint64(len(x.Value)+BlockSize-1) / BlockSize
		}
	}
	le.PutUint32(raw[ext4.InodeBlocksLo:], uint32(used*(BlockSize/512)))
	le.PutUint16(raw[ext4.InodeBlocksHi:], uint16(used*(BlockSize/512)>>32))
	le.PutUint32(raw[ext4.InodeFlags:], in.Flags|in.Map.Flags)
	copy(raw[ext4.InodeBlock:], in.Map.Block[:])
	le.PutUint32(raw[ext4.InodeGeneration:], in.Generation)
	le.PutUint32(raw[ext4.InodeFileACLLo:], uint32(acl))
	le.PutUint16(raw[ext4.InodeFileACLHi:], uint16(acl>>32))
	le.PutUint16(raw[ext4.InodeExtraIsize:], extraISize)
	if in.Flags&ext4.FlagEAInode != 0 {
		// Such an inode has the hash of the value for its atime, and the number of its users in version and ctime.
		le.PutUint32(raw[ext4.InodeAtime:], in.valueHash)
		le.PutUint32(raw[ext4.InodeCtime:], 0)
		le.PutUint32(raw[ext4.InodeVersionLo:], 1)
	}
	im.putInodeXattrs(raw[ext4.InodeGoodOldSize+extraISize:], inside)
	if im.opt.MetadataCsum {
		crc := ext4.CRC32C(im.inodeSeed(ino, in.Generation), raw)
		le.PutUint16(raw[ext4.InodeChecksumLo:], uint16(crc))
		le.PutUint16(raw[ext4.InodeChecksumHi:], uint16(crc>>16))
	}
}

// inodeSeed is what the checksums of an inode and of its directory blocks begin with.
func (im *Image) inodeSeed(ino, generation uint32) uint32 {
	var b [8]byte
	le.PutUint32(b[:], ino)
	le.PutUint32(b[4:], generation)
	return ext4.CRC32C(im.sum, b[:])
}

func pad4(n int) int { return (n + 3) &^ 3 }

// xattrSize is what an attribute takes: entry with name, and value.
func xattrSize(x Xattr) int {
	n := pad4(ext4.XattrEntrySize + len(x.Name))
	if x.inode == 0 {
		n += pad4(len(x.Value))
	}
	return n
}

// longXattrs puts values that do not fit in a block into inodes of their own, if the image has that feature.
func (im *Image) longXattrs(all []Xattr) ([]Xattr, error) {
	if !im.opt.EAInode {
		return all, nil
	}
	for i, x := range all {
		if xattrSize(x) <= BlockSize-ext4.XattrBlockHeader-4 {
			continue
		}
		ino, err := im.AllocInode(false)
		if err != nil {
			return nil, err
		}
		in := Inode{Mode: ext4.ModeRegular | 0o600, Links: 1, Flags: ext4.FlagEAInode, Generation: im.Generation(ino)}
		in.valueHash = ext4.CRC32C(im.sum, x.Value)
		if in.Map, err = im.PutFile(ino, in.Generation, x.Value); err != nil {
			return nil, err
		}
		if err := im.PutInode(ino, &in); err != nil {
			return nil, err
		}
		all = slices.Clone(all)
		all[i].inode = ino
	}
	return all, nil
}

// splitXattrs says which attributes stay in the inode: all if they fit, else all but the longest ones.
func splitXattrs(all []Xattr, room int) (inside, outside []Xattr) {
	total := 0
	for _, x := range all {
		total += xattrSize(x)
	}
	if total <= room {
		return all, nil
	}
	inside = slices.Clone(all)
	for total > room {
		longest := 0
		for i, x := range inside {
			if xattrSize(x) > xattrSize(inside[longest]) {
				longest = i
			}
		}
		total -= xattrSize(inside[longest])
		outside = append(outside, inside[longest])
		inside = slices.Delete(inside, longest, longest+1)
	}
	return inside, outside
}

// putInodeXattrs writes magic, entries and values into the space behind the fields of an inode. Hashes stay 0 there, but for
// values in inodes of their own.
func (im *Image) putInodeXattrs(space []byte, xs []Xattr) {
	if len(xs) == 0 {
		return
	}
	le.PutUint32(space, ext4.XattrMagic)
	im.putXattrs(space[4:], 0, len(space)-4, xs, false)
}

// putXattrs writes entries from at on and values from end down. Offsets of values count from the begin of b.
func (im *Image) putXattrs(b []byte, at, end int, xs []Xattr, hashes bool) []uint32 {
	var out []uint32
	for _, x := range xs {
		e := b[at:]
		e[0], e[1] = byte(len(x.Name)), x.Index
		le.PutUint32(e[8:], uint32(len(x.Value)))
		hashed := x.Value
		if x.inode != 0 {
			le.PutUint32(e[4:], x.inode)
			hashed = le.AppendUint32(nil, ext4.CRC32C(im.sum, x.Value))
		} else {
			end -= pad4(len(x.Value))
			copy(b[end:], x.Value)
			le.PutUint16(e[2:], uint16(end))
		}
		if hashes || x.inode != 0 {
			h := ext4.XattrEntryHash([]byte(x.Name), hashed)
			le.PutUint32(e[12:], h)
			out = append(out, h)
		}
		copy(e[ext4.XattrEntrySize:], x.Name)
		at += pad4(ext4.XattrEntrySize + len(x.Name))
	}
	return out
}

// putXattrBlock writes attributes into a block of their own and returns its number.
func (im *Image) putXattrBlock(ino uint32, xs []Xattr) (uint64, error) {
	size := ext4.XattrBlockHeader + 4
	for _, x := range xs {
		size += xattrSize(x)
	}
	if size > BlockSize {
		return 0, fmt.Errorf("attributes of %d bytes do not fit in a block", size)
	}
	// Entries of a block are sorted by index, length of name, name.
	slices.SortFunc(xs, func(a, b Xattr) int {
		if d := int(a.Index) - int(b.Index); d != 0 {
			return d
		}
		if d := len(a.Name) - len(b.Name); d != 0 {
			return d
		}
		return slices.Compare([]byte(a.Name), []byte(b.Name))
	})
	runs, err := im.AllocBlocks(im.Group(ino), 1)
	if err != nil {
		return 0, err
	}
	b, block := make([]byte, BlockSize), runs[0].First
	le.PutUint32(b, ext4.XattrMagic)
	le.PutUint32(b[ext4.XattrHdrRefcount:], 1)
	le.PutUint32(b[ext4.XattrHdrBlocks:], 1)
	hashes := im.putXattrs(b, ext4.XattrBlockHeader, BlockSize, xs, true)
	le.PutUint32(b[ext4.XattrHdrHash:], ext4.XattrBlockHash(hashes))
	if im.opt.MetadataCsum {
		var num [8]byte
		le.PutUint64(num[:], block)
		le.PutUint32(b[ext4.XattrHdrChecksum:], ext4.CRC32C(ext4.CRC32C(im.sum, num[:]), b))
	}
	return block, im.WriteBlock(block, b)
}
