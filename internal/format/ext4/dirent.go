package ext4

import "bytes"

// Dirent is one directory entry. Name and Data are valid until the function that got it returns.
type Dirent struct {
	Inode   uint32
	Type    uint8  // file type; with dirdata the low 4 bits of the byte on disk
	Flags   uint8  // with dirdata the high 4 bits of it (DirdataLUFID, ...): which records Data has
	Name    []byte // as on disk
	Data    []byte // the data records behind the name, each with its length byte first; nil if none
	Logical uint32 // block within the directory
	Block   uint64 // physical block; 0 in inline directories
	Offset  int    // of the entry within the block; in inline directories within the raw inode, -1 for '.'
	RecLen  int    // bytes from this entry to the next
	At      int64  // byte in the input at which the entry lies; -1 for '.' of inline directories
}

// LUFID gives the content of the record that DirdataLUFID announces: a FID of 16 bytes, big-endian. ok is false when there is none
// or it has another length.
func (d Dirent) LUFID() (fid []byte, ok bool) {
	if d.Flags&DirdataLUFID == 0 || len(d.Data) < DirdataLUFIDLen || d.Data[0] != DirdataLUFIDLen {
		return nil, false
	}
	return d.Data[1:DirdataLUFIDLen], true
}

// LUFIDAt gives the byte in the input at which the 16 bytes of the FID lie, -1 if there is none.
func (d Dirent) LUFIDAt() int64 {
	if _, ok := d.LUFID(); !ok {
		return -1
	}
	return d.At + DirentHeader + int64(len(d.Name)) + 2
}

// DirentLen gives the bytes that an entry needs: name and, when there are any, n bytes of data records behind one zero byte.
func DirentLen(name, data int) int {
	if data > 0 {
		data++
	}
	return (DirentHeader + name + data + 3) &^ 3
}

// recLen decodes rec_len. In blocks of 64 KiB, 0 and 65535 stand for the whole block and the low two bits for bits 16 and 17
// (kernel: ext4_rec_len_from_disk).
func recLen(raw uint16, blockSize int) int {
	switch {
	case blockSize < 65536:
		return int(raw)
	case raw == 0 || raw == 65535:
		return blockSize
	}
	return int(raw&^3) | int(raw&3)<<16
}

// EncodeRecLen is the reverse of what a reader does with rec_len.
func EncodeRecLen(n, blockSize int) uint16 {
	switch {
	case n < 65536:
		return uint16(n)
	case n == blockSize:
		return 65535
	}
	return uint16(n&^3) | uint16(n>>16&3)
}

// Dirents hands out the entries of one directory block that are in use, in the order in which they lie. It works for all blocks of
// a directory: in a hash-tree root it finds '.' and '..', in its other inner blocks nothing, and the checksum at the end of a
// block is no entry. An entry whose rec_len cannot be true ends the block: what is behind it is lost and reported. Entries with a bad
// inode number or an odd name are reported and handed out. fn returns false to stop; then Dirents returns false as well.
// buf must hold the block that b describes. Nothing is allocated.
func (fs *FS) Dirents(b DirBlock, buf []byte, fn func(Dirent) bool, report Report) bool {
	w := direntWalk{fs: fs, b: b, at: fs.offset(b.Physical), base: 0, report: report}
	return w.each(buf, fn)
}

// direntWalk goes over a stretch of entries.
type direntWalk struct {
	fs     *FS
	b      DirBlock
	at     int64 // byte of buf[0] in the input
	base   int   // added to offsets
	report Report
}

// each hands out the entries of buf.
func (w *direntWalk) each(buf []byte, fn func(Dirent) bool) bool {
	dirdata := w.fs.sb.Incompat&IncompatDirdata != 0
	for off := 0; off < len(buf); {
		if off+DirentHeader > len(buf) {
			w.bad(KindDirentRecLen, off, "%d bytes at the end are too few for an entry", len(buf)-off)
			return true
		}
		e := buf[off:]
		n := recLen(le.Uint16(e[DirentRecLen:]), len(buf))
		ino, nameLen := le.Uint32(e), int(e[DirentNameLen])
		if n < DirentMin || n%4 != 0 || n > len(buf)-off {
			w.bad(KindDirentRecLen, off, "entry has rec_len %d where %d bytes are left", n, len(buf)-off)
			return true
		}
		at := off
		off += n
		if ino == 0 {
			continue
		}
		e = e[:n:n]
		if DirentHeader+nameLen > n || nameLen == 0 {
			w.bad(KindDirentName, at, "entry for inode %d has a name of %d bytes in %d", ino, nameLen, n)
			if nameLen == 0 {
				continue
			}
			nameLen = n - DirentHeader
		}
		d := Dirent{Inode: ino, Type: e[DirentType], Name: e[DirentName : DirentName+nameLen], Logical: w.b.Logical, Block: w.b.Physical,
			Offset: w.base + at, RecLen: n, At: w.at + int64(at)}
		if dirdata {
			d.Flags, d.Type = d.Type&DirdataMask, d.Type&DirTypeMask
			if d.Flags != 0 {
				d.Data = w.data(e[DirentName+nameLen:], d.Flags, at)
			}
		}
		w.check(d, at)
		if !fn(d) {
			return false
		}
	}
	return true
}

// check reports what a kernel would not have written.
func (w *direntWalk) check(d Dirent, off int) {
	if d.Inode > w.fs.inodes {
		w.bad(KindDirentInode, off, "entry %q names inode %d of %d", d.Name, d.Inode, w.fs.inodes)
	}
	if bytes.IndexByte(d.Name, 0) >= 0 || bytes.IndexByte(d.Name, '/') >= 0 {
		w.bad(KindDirentName, off, "entry %q has a slash or NUL in its name", d.Name)
	}
}

// data cuts the records that flags announce out of what follows a name: one zero byte, then per flag {length counting itself, ...}.
func (w *direntWalk) data(rest []byte, flags uint8, off int) []byte {
	if len(rest) < 1 {
		w.bad(KindDirdata, off, "entry says it has data records (%#02x) and has no room for them", flags)
		return nil
	}
	rest = rest[1:]
	n := 0
	for f := uint8(DirdataLUFID); f != 0; f <<= 1 {
		if flags&f == 0 {
			continue
		}
		if n >= len(rest) || rest[n] < 1 || n+int(rest[n]) > len(rest) {
			w.bad(KindDirdata, off, "data record %#02x is missing or passes the end of its entry", f)
			break
		}
		n += int(rest[n])
	}
	return rest[:n:n]
}

// bad reports a problem of the entry at off. It is kept out of the way of the hot path.
func (w *direntWalk) bad(kind Kind, off int, format string, args ...any) {
	if w.report == nil {
		return
	}
	format = "directory block %d at %d: " + format
	args = append([]any{w.b.Logical, w.base + off}, args...)
	w.report.inode(kind, w.b.Inode, w.b.Physical, w.at+int64(off), format, args...)
}
