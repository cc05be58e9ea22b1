package mkldiskfs

import (
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
)

// DirStream writes a directory name by name, without a hash tree, for directories that need not fit in memory.
type DirStream struct {
	im    *Image
	ino   uint32
	gen   uint32
	seed  uint32
	room  int    // bytes of a block that entries may use
	block []byte // that is being filled
	used  int
	last  int // where the last entry of it begins
	runs  []Run
	count uint64 // blocks written
}

// StreamDir begins a directory. parent is what '..' says, see Dir.
func (im *Image) StreamDir(ino, generation uint32, parent Entry) (*DirStream, error) {
	s := &DirStream{im: im, ino: ino, gen: generation, seed: im.inodeSeed(ino, generation), room: BlockSize, block: make([]byte, BlockSize)}
	if im.opt.MetadataCsum {
		s.room -= ext4.DirTailSize
	}
	if err := s.Add(Entry{Name: ".", Ino: ino, Type: ext4.TypeDir}); err != nil {
		return nil, err
	}
	return s, s.Add(Entry{Name: "..", Ino: parent.Ino, Type: ext4.TypeDir, FID: parent.FID})
}

// Add writes the next name.
func (s *DirStream) Add(e Entry) error {
	n := e.size()
	if len(e.Name) == 0 || len(e.Name) > 255 || n > s.room {
		return fmt.Errorf("directory %d: a name of %d bytes", s.ino, len(e.Name))
	}
	if s.used+n > s.room {
		if err := s.flush(); err != nil {
			return err
		}
	}
	e.put(s.block[s.used:], n)
	s.last = s.used
	s.used += n
	return nil
}

// flush gives the last entry the rest of the block and writes it.
func (s *DirStream) flush() error {
	le.PutUint16(s.block[s.last+ext4.DirentRecLen:], ext4.EncodeRecLen(s.room-s.last, BlockSize))
	s.im.sealDir(s.seed, s.block)
	runs, err := s.im.AllocBlocks(s.im.Group(s.ino), 1)
	if err != nil {
		return err
	}
	if err := s.im.WriteBlock(runs[0].First, s.block); err != nil {
		return err
	}
	if k := len(s.runs) - 1; k >= 0 && s.runs[k].First+uint64(s.runs[k].Blocks) == runs[0].First {
		s.runs[k].Blocks++
	} else {
		s.runs = append(s.runs, runs[0])
	}
	s.count++
	clear(s.block)
	s.used, s.last = 0, 0
	return nil
}

// Finish writes what is left and gives the map of the directory.
func (s *DirStream) Finish() (Map, error) {
	if err := s.flush(); err != nil {
		return Map{}, err
	}
	return s.im.MapRuns(s.ino, s.gen, s.runs, s.count*BlockSize)
}

// SetContent gives an inode that PutInode wrote without a map the map and the number of links that it turned out to have. Images with
// metadata_csum cannot do that.
func (im *Image) SetContent(ino uint32, links uint16, m Map) error {
	return im.amend(ino, func(raw []byte) {
		le.PutUint16(raw[ext4.InodeLinks:], links)
		le.PutUint32(raw[ext4.InodeSizeLo:], uint32(m.Size))
		le.PutUint32(raw[ext4.InodeSizeHi:], uint32(m.Size>>32))
		used := uint64(le.Uint32(raw[ext4.InodeBlocksLo:])) + uint64(le.Uint16(raw[ext4.InodeBlocksHi:]))<<32 + m.Used*(BlockSize/512)
		le.PutUint32(raw[ext4.InodeBlocksLo:], uint32(used))
		le.PutUint16(raw[ext4.InodeBlocksHi:], uint16(used>>32))
		le.PutUint32(raw[ext4.InodeFlags:], le.Uint32(raw[ext4.InodeFlags:])|m.Flags)
		copy(raw[ext4.InodeBlock:], m.Block[:])
	})
}

// SetLinks gives an inode that PutInode wrote the number of links that it turned out to have. Images with metadata_csum cannot do that.
func (im *Image) SetLinks(ino uint32, links uint16) error {
	return im.amend(ino, func(raw []byte) { le.PutUint16(raw[ext4.InodeLinks:], links) })
}

// amend changes the first 128 bytes of an inode that was written.
func (im *Image) amend(ino uint32, change func(raw []byte)) error {
	if im.opt.MetadataCsum {
		return fmt.Errorf("inode %d: an inode with a checksum is not changed any more", ino)
	}
	group, index, offset := im.geo.inodeAt(ino)
	if group == im.windowGroup {
		change(im.window[index*im.geo.inodeSize:][:ext4.InodeGoodOldSize])
		return nil
	}
	raw := make([]byte, ext4.InodeGoodOldSize)
	if _, err := im.f.ReadAt(raw, offset); err != nil {
		return fmt.Errorf("read inode %d of %s: %w", ino, im.f.Name(), err)
	}
	change(raw)
	if _, err := im.f.WriteAt(raw, offset); err != nil {
		return fmt.Errorf("write inode %d of %s: %w", ino, im.f.Name(), err)
	}
	return nil
}

// Fits tells whether PutInode finds room for attributes.
func (im *Image) Fits(xs []Xattr) bool {
	all := slices.Clone(xs)
	for i, x := range all {
		if im.opt.EAInode && xattrSize(x) > BlockSize-ext4.XattrBlockHeader-4 {
			all[i].inode = 1
		}
	}
	_, outside := splitXattrs(all, im.geo.inodeSize-ext4.InodeGoodOldSize-extraISize-4-4)
	size := ext4.XattrBlockHeader + 4
	for _, x := range outside {
		size += xattrSize(x)
	}
	return size <= BlockSize
}
