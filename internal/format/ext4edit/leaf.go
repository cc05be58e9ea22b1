package ext4edit

import (
	"bytes"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// leaf is a block of a directory that holds entries.
type leaf struct {
	logical uint32
	block   uint64
	buf     []byte
	slots   []slot
}

// slot is one entry of a leaf, in use or not.
type slot struct {
	off, rec int
	used     int // bytes that the entry really needs, data records included; 0 when it is free
	ino      uint32
}

// name gives the bytes of a slot's name.
func (l *leaf) name(s slot) []byte {
	return l.buf[s.off+ext4.DirentName:][:l.buf[s.off+ext4.DirentNameLen]]
}

// dotdot says that block 0 of a directory has its own first two entries.
func (l *leaf) dotdot() bool {
	return len(l.slots) >= 2 && l.slots[0].off == 0 && l.slots[0].ino != 0 && string(l.name(l.slots[0])) == "." &&
		l.slots[0].rec == ext4.DirentLen(1, 0) && l.slots[1].ino != 0 && string(l.name(l.slots[1])) == ".."
}

// leaf reads a block of a directory that must hold entries only, and checks all of it.
func (e *Edit) leaf(dir *ext4.Inode, p *place, logical uint32) (*leaf, error) {
	block, err := p.at(logical)
	if err != nil {
		return nil, err
	}
	l := &leaf{logical: logical, block: block}
	if l.buf, err = e.change(block); err != nil {
		return nil, err
	}
	if e.indexed(dir) {
		if _, err := e.view.DxInner(l.buf); err == nil || logical == 0 {
			return nil, damaged("block %d of directory %d is a hash-tree block where entries are due", logical, dir.Number)
		}
	}
	if e.sums.Metadata {
		b := ext4.DirBlock{Physical: block, Inode: dir.Number, Generation: dir.Generation, Logical: logical}
		if err := e.leafSum(b, l.buf); err != nil {
			return nil, err
		}
	}
	if l.slots, err = e.parse(l.buf); err != nil {
		return nil, damaged("block %d of directory %d: %v", logical, dir.Number, err)
	}
	return l, nil
}

// leafSum checks the false entry at the end of a leaf and the checksum in it.
func (e *Edit) leafSum(b ext4.DirBlock, buf []byte) error {
	tail := buf[len(buf)-ext4.DirTailSize:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[ext4.DirentRecLen:]) != ext4.DirTailSize || tail[ext4.DirentNameLen] != 0 || tail[ext4.DirentType] != ext4.DirTailType {
		return damaged("block %d of directory %d has no checksum", b.Logical, b.Inode)
	}
	if want := e.sums.DirLeaf(b.Inode, b.Generation, buf); le.Uint32(tail[8:]) != want {
		return damaged("checksum of block %d of directory %d is %#08x, should be %#08x", b.Logical, b.Inode, le.Uint32(tail[8:]), want)
	}
	return nil
}

// leafEnd gives where the entries of a leaf end: before the checksum, if there is one.
func (e *Edit) leafEnd() int {
	if e.sums.Metadata {
		return e.over.size - ext4.DirTailSize
	}
	return e.over.size
}

// parse finds the entries of a leaf. Unlike a reader it gives up at the first thing that cannot be true.
func (e *Edit) parse(buf []byte) ([]slot, error) {
	end := e.leafEnd()
	var slots []slot
	for off := 0; off < end; {
		if end-off < ext4.DirentMin {
			return nil, damaged("%d bytes at the end are too few for an entry", end-off)
		}
		s := slot{off: off, rec: e.recLen(buf[off:]), ino: le.Uint32(buf[off:])}
		if s.rec < ext4.DirentMin || s.rec%4 != 0 || s.rec > end-off {
			return nil, damaged("entry at %d has rec_len %d where %d bytes are left", off, s.rec, end-off)
		}
		if s.ino != 0 {
			n := int(buf[off+ext4.DirentNameLen])
			if n == 0 || ext4.DirentHeader+n > s.rec {
				return nil, damaged("entry at %d has a name of %d bytes in %d", off, n, s.rec)
			}
			s.used = e.entryUsed(buf[off : off+s.rec])
		}
		slots = append(slots, s)
		off += s.rec
	}
	return slots, nil
}

// recLen decodes the length of an entry; in blocks of 64 KiB bits 16 and 17 lie in the low two bits.
func (e *Edit) recLen(entry []byte) int {
	raw := le.Uint16(entry[ext4.DirentRecLen:])
	switch {
	case e.over.size < 65536:
		return int(raw)
	case raw == 0 || raw == 65535:
		return e.over.size
	}
	return int(raw&^3) | int(raw&3)<<16
}

// setRecLen writes the length of an entry.
func (e *Edit) setRecLen(entry []byte, n int) {
	le.PutUint16(entry[ext4.DirentRecLen:], ext4.EncodeRecLen(n, e.over.size))
}

// entryUsed gives the bytes that an entry needs. Data records that cannot be read take all there is.
func (e *Edit) entryUsed(entry []byte) int {
	if !e.sb.Dirdata() {
		return ext4.DirentLen(int(entry[ext4.DirentNameLen]), 0)
	}
	return lustre.EntryUsed(entry)
}

// putLeaf writes a leaf with its checksum.
func (e *Edit) putLeaf(dir *ext4.Inode, l *leaf) error {
	e.sums.PutDirLeaf(dir.Number, dir.Generation, l.buf)
	e.ofDir[l.block] = true
	return e.over.write(l.block, l.buf)
}

// find looks for a name in a leaf; -1 if it is not there.
func (l *leaf) find(name []byte) int {
	for i, s := range l.slots {
		if s.ino != 0 && bytes.Equal(l.name(s), name) {
			return i
		}
	}
	return -1
}

// room finds the first place of n bytes: a free slot, or what lies behind the true end of an entry. -1 if there is none.
func (l *leaf) room(n int) int {
	for i, s := range l.slots {
		if s.rec-s.used >= n {
			return i
		}
	}
	return -1
}

// insertAt puts an entry behind the true end of slot i. Its RecLen is set here. It gives the entry's offset.
func (e *Edit) insertAt(l *leaf, i int, d ext4.Dirent) (off int, err error) {
	s := l.slots[i]
	off = s.off + s.used
	d.RecLen = s.rec - s.used
	if err := ext4.PutDirent(l.buf[off:s.off+s.rec], d, e.over.size); err != nil {
		return 0, err
	}
	if s.used > 0 {
		e.setRecLen(l.buf[s.off:], s.used)
	}
	l.slots, err = e.parse(l.buf)
	return off, err
}

// removeAt takes slot i away: the entry before it gets its bytes; the first one stays as a free slot. The bytes become zero.
func (e *Edit) removeAt(l *leaf, i int) (err error) {
	s := l.slots[i]
	clear(l.buf[s.off : s.off+s.rec])
	if i == 0 {
		e.setRecLen(l.buf, s.rec)
	} else {
		before := l.slots[i-1]
		e.setRecLen(l.buf[before.off:], before.rec+s.rec)
	}
	l.slots, err = e.parse(l.buf)
	return err
}

// raw gives a copy of the true bytes of a slot's entry.
func (l *leaf) raw(s slot) []byte { return bytes.Clone(l.buf[s.off : s.off+s.used]) }

// pack makes the entries of a leaf from whole entries, one behind the other; the last one gets the rest. It fails when they do not fit.
func (e *Edit) pack(entries [][]byte) ([]byte, error) {
	buf, end := make([]byte, e.over.size), e.leafEnd()
	off, last := 0, 0
	for _, raw := range entries {
		if off+len(raw) > end {
			return nil, ErrNeedsSplit
		}
		copy(buf[off:], raw)
		e.setRecLen(buf[off:], len(raw))
		last = off
		off += len(raw)
	}
	e.setRecLen(buf[last:], end-last)
	return buf, nil
}
