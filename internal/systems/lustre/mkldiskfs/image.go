package mkldiskfs

import (
	"encoding/binary"
	"fmt"
	"os"

	"fettle/internal/format/ext4"
)

var le = binary.LittleEndian

// Image is an image that is being made. It is not safe for concurrent use.
type Image struct {
	f    *os.File
	opt  Options
	geo  geometry
	uuid [16]byte
	hash [16]byte
	sum  uint32 // what crc32c checksums begin with

	blocks []bitmap // in use, by group
	inodes []bitmap
	cursor []int // by group: no block before it is free for allocation
	dirs   []int // directories, by group
	next   uint32

	window      []byte // inode table of windowGroup, not yet written
	windowGroup int
	journal     [60]byte
}

// bitmap has one bit per block or inode of a group.
type bitmap [BlockSize]byte

func (b *bitmap) set(i int)      { b[i>>3] |= 1 << (i & 7) }
func (b *bitmap) unset(i int)    { b[i>>3] &^= 1 << (i & 7) }
func (b *bitmap) has(i int) bool { return b[i>>3]&(1<<(i&7)) != 0 }

// Create begins an image at a path where nothing is yet. Call Close to complete it.
func Create(path string, opt Options) (*Image, error) {
	if _, err := opt.geometry(); err != nil {
		return nil, fmt.Errorf("make image %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	return CreateIn(f, opt)
}

// CreateIn begins an image in an empty file that is open for reading and writing. The file belongs to the image then: Close, Abandon and an error
// close it, but Finish does not.
func CreateIn(f *os.File, opt Options) (*Image, error) {
	geo, err := opt.geometry()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make image %s: %w", f.Name(), err)
	}
	im := &Image{f: f, opt: opt, geo: geo, next: firstInode, windowGroup: -1}
	im.uuid, im.hash = bytes16(opt.Seed, 1), bytes16(opt.Seed, 2)
	im.uuid[6], im.uuid[8] = im.uuid[6]&0x0f|0x40, im.uuid[8]&0x3f|0x80
	im.sum = ext4.CRC32C(^uint32(0), im.uuid[:])
	for range geo.groups {
		im.addGroup()
	}
	for ino := range firstInode - 1 {
		im.inodes[0].set(ino)
	}
	if err := f.Truncate(int64(geo.blocks()) * BlockSize); err != nil {
		return nil, im.abandon(fmt.Errorf("make image: %w", err))
	}
	if err := im.putJournal(); err != nil {
		return nil, im.abandon(err)
	}
	return im, nil
}

// addGroup takes the next group into use.
func (im *Image) addGroup() {
	g := len(im.blocks)
	im.blocks, im.inodes = append(im.blocks, bitmap{}), append(im.inodes, bitmap{})
	im.cursor, im.dirs = append(im.cursor, im.geo.overhead(g)), append(im.dirs, 0)
	for i := range im.geo.overhead(g) {
		im.blocks[g].set(i)
	}
	im.geo.groups = max(im.geo.groups, g+1)
}

// grow adds a group, if the image may grow. The space of the file is taken when the image is completed.
func (im *Image) grow() bool {
	if !im.opt.Grow || im.geo.groups >= im.geo.most {
		return false
	}
	im.addGroup()
	return true
}

// abandon closes the file after an error. What was written stays; it has no superblock and nobody will take it for an image.
func (im *Image) abandon(err error) error {
	im.f.Close()
	return err
}

// Abandon ends the making of an image that will not be completed.
func (im *Image) Abandon() { im.f.Close() }

// Generation is what an inode gets as its generation: something that differs between inodes and between images.
func (im *Image) Generation(ino uint32) uint32 {
	return uint32(im.opt.Seed)*2654435761 ^ ino*2246822519 ^ 0x5bd1e995
}

// AllocInode gives the next free inode number.
func (im *Image) AllocInode(dir bool) (uint32, error) {
	group, index, _ := im.geo.inodeAt(im.next)
	if group >= im.geo.groups && !im.grow() {
		return 0, fmt.Errorf("%s: all %d inodes are in use", im.opt.Label, im.geo.groups*im.geo.perGroup)
	}
	im.inodes[group].set(index)
	if dir {
		im.dirs[group]++
	}
	im.next++
	return im.next - 1, nil
}

// FreeInode gives an inode back; what PutInode wrote stays in the table, as after a deletion.
func (im *Image) FreeInode(ino uint32, dir bool) {
	group, index, _ := im.geo.inodeAt(ino)
	im.inodes[group].unset(index)
	if dir {
		im.dirs[group]--
	}
}

// Run is a sequence of blocks that lie side by side.
type Run struct {
	First  uint64
	Blocks int
}

// Group is the group of an inode, which is where its blocks should be.
func (im *Image) Group(ino uint32) int {
	group, _, _ := im.geo.inodeAt(ino)
	return group
}

// AllocBlocks takes n free blocks, in the given group or the next ones that have some.
func (im *Image) AllocBlocks(group, n int) ([]Run, error) {
	var runs []Run
	for tried := 0; n > 0; {
		g := group % im.geo.groups
		at := im.cursor[g]
		if at >= blocksPerGroup {
			group++
			if tried++; tried > im.geo.groups {
				if !im.grow() {
					return nil, fmt.Errorf("%s: no free blocks", im.opt.Label)
				}
				group = im.geo.groups - 1
			}
			continue
		}
		take := min(n, blocksPerGroup-at)
		if im.opt.Fragment {
			take = min(take, 3)
		}
		for i := range take {
			im.blocks[g].set(at + i)
		}
		im.cursor[g] += take
		if im.opt.Fragment {
			im.cursor[g]++
		}
		runs = append(runs, Run{im.geo.first(g) + uint64(at), take})
		n -= take
	}
	return runs, nil
}

// FreeBlocks gives back blocks that were never written. They are not used again.
func (im *Image) FreeBlocks(r Run) {
	for i := range uint64(r.Blocks) {
		b := r.First + i
		im.blocks[b/blocksPerGroup].unset(int(b % blocksPerGroup))
	}
}

// WriteBlock writes whole blocks from a block number on.
func (im *Image) WriteBlock(block uint64, data []byte) error {
	if _, err := im.f.WriteAt(data, int64(block)*BlockSize); err != nil {
		return fmt.Errorf("write block %d of %s: %w", block, im.f.Name(), err)
	}
	return nil
}

// writeRuns writes data over runs in order; the last block is filled up with zeros.
func (im *Image) writeRuns(runs []Run, data []byte) error {
	for _, r := range runs {
		n := min(r.Blocks*BlockSize, len(data))
		if n == 0 {
			return nil
		}
		if _, err := im.f.WriteAt(data[:n], int64(r.First)*BlockSize); err != nil {
			return fmt.Errorf("write block %d of %s: %w", r.First, im.f.Name(), err)
		}
		data = data[n:]
	}
	return nil
}

// UseRoot takes inode 2 into use, as a directory. PutInode has to follow.
func (im *Image) UseRoot() {
	im.inodes[0].set(ext4.InoRoot - 1)
	im.dirs[0]++
}
