package ext4

import (
	"errors"
	"fmt"
)

// Where says where an extended attribute is kept.
type Where uint8

// Places of an attribute's entry.
const (
	InInode Where = iota // behind the fields of the inode
	InBlock              // in the block that FileACL names
)

// Xattr is one extended attribute. Name and Value are valid until the function that got it returns.
type Xattr struct {
	Index      uint8 // stands for a prefix of the name, see XattrIndexTrusted and its like
	Name       []byte
	Value      []byte
	Where      Where
	EntryAt    int64  // byte in the input at which the entry lies
	ValueAt    int64  // byte at which the value lies; -1 if it is empty or in an inode of its own
	ValueInode uint32 // the inode that holds the value, 0 if none
	ValueSize  uint32 // bytes, as the entry says
	Hash       uint32
}

// xattrPrefixes gives the prefixes that indexes stand for. Those of ACLs are whole names.
var xattrPrefixes = [...]string{1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 5: "lustre.",
	6: "security.", 7: "system.", 8: "system.richacl", 9: "encryption."}

// FullName gives prefix and name, as getfattr prints it.
func (x Xattr) FullName() string {
	if int(x.Index) < len(xattrPrefixes) && xattrPrefixes[x.Index] != "" {
		return xattrPrefixes[x.Index] + string(x.Name)
	}
	return fmt.Sprintf("index%d.%s", x.Index, x.Name)
}

// xattrArea gives the offset of the first in-inode entry within Raw. ok is false when there is no area: the inode is too small or
// never had an attribute. A bad size of the extra fields is reported.
func (in *Inode) xattrArea(report Report) (first int, ok bool) {
	if len(in.Raw) <= InodeGoodOldSize {
		return 0, false
	}
	extra := int(in.ExtraIsize)
	first = InodeGoodOldSize + extra + XattrPad
	if extra%4 != 0 || InodeGoodOldSize+extra > len(in.Raw) {
		report.inode(KindInode, in.Number, 0, in.Offset+InodeExtraIsize, "size of the extra fields is %d", extra)
		return 0, false
	}
	if first+XattrPad > len(in.Raw) || le.Uint32(in.Raw[first-XattrPad:]) != XattrMagic {
		return 0, false
	}
	return first, true
}

// InodeXattrs hands out the attributes kept in the inode, without I/O and without allocation. Attributes whose value lies in an
// inode of its own have a nil Value. fn returns false to stop; then InodeXattrs returns false as well.
func (in *Inode) InodeXattrs(fn func(Xattr) bool, report Report) bool {
	first, ok := in.xattrArea(report)
	if !ok {
		return true
	}
	a := xattrTable{area: in.Raw[first:], at: in.Offset + int64(first), where: InInode, ino: in.Number, report: report}
	return a.each(fn)
}

// Xattr gives the value of an attribute kept in the inode itself, without I/O and without allocation.
func (in *Inode) Xattr(index uint8, name string) (value []byte, ok bool) {
	in.InodeXattrs(func(x Xattr) bool {
		if x.Index == index && string(x.Name) == name && x.ValueInode == 0 {
			value, ok = x.Value, true
		}
		return !ok
	}, nil)
	return value, ok
}

// Xattrs hands out all attributes: those in the inode, then those in the attribute block, with values from inodes of their own read.
// The error is that of reading, other than a bad sector, which is reported.
func (in *Inode) Xattrs(fs *FS, fn func(Xattr) bool, report Report) error {
	var failed error
	whole := func(x Xattr) bool {
		if x.ValueInode != 0 {
			var ok bool
			if x.Value, ok, failed = fs.xattrInode(in, x, report); failed != nil {
				return false
			} else if !ok {
				return true
			}
		}
		return fn(x)
	}
	if !in.InodeXattrs(whole, report) || in.FileACL == 0 {
		return failed
	}
	buf := fs.take()
	defer fs.give(buf)
	ok, err := fs.XattrBlock(in, *buf, report)
	if err != nil || !ok {
		return err
	}
	if report != nil {
		fs.VerifyXattrBlock(in, *buf, report)
	}
	a := xattrTable{area: *buf, first: XattrBlockHeader, at: fs.offset(in.FileACL), where: InBlock, ino: in.Number, block: in.FileACL, report: report}
	a.each(whole)
	return failed
}

// Xattr gives a copy of the value of an attribute, wherever it is kept.
func (fs *FS) Xattr(in *Inode, index uint8, name string) (value []byte, ok bool, err error) {
	err = in.Xattrs(fs, func(x Xattr) bool {
		if x.Index == index && string(x.Name) == name {
			value, ok = append([]byte{}, x.Value...), true
		}
		return !ok
	}, nil)
	return value, ok, err
}

// XattrBlock reads the attribute block of an inode into buf (one block) and checks its header. ok is false when it cannot be used,
// which was reported. The error is that of reading.
func (fs *FS) XattrBlock(in *Inode, buf []byte, report Report) (ok bool, err error) {
	if !fs.BlockOK(in.FileACL) {
		report.inode(KindBlockRange, in.Number, in.FileACL, in.Offset+InodeFileACLLo, "attribute block %d lies outside the file system", in.FileACL)
		return false, nil
	}
	if ok, err := fs.readFor(in.Number, in.FileACL, buf, "the attribute block", report); !ok {
		return false, err
	}
	if m := le.Uint32(buf); m != XattrMagic || le.Uint32(buf[XattrHdrBlocks:]) != 1 {
		report.inode(KindXattrHeader, in.Number, in.FileACL, fs.offset(in.FileACL), "attribute block %d has magic %#08x and says it has %d blocks",
			in.FileACL, m, le.Uint32(buf[XattrHdrBlocks:]))
		return false, nil
	}
	return true, nil
}

// xattrTable is a table of attribute entries with the values at its end.
type xattrTable struct {
	area   []byte // value offsets count from its start
	first  int    // offset of the first entry
	at     int64  // byte of area[0] in the input
	where  Where
	ino    uint32
	block  uint64
	report Report
}

// end finds where the entries end: the offset of the four zero bytes behind the last one. Entries behind a damaged one are lost.
func (t *xattrTable) end() int {
	off := t.first
	for off+4 <= len(t.area) && le.Uint32(t.area[off:]) != 0 {
		next := off + XattrEntryLen(int(t.area[off]))
		if next+4 > len(t.area) {
			t.report.inode(KindXattrEntry, t.ino, t.block, t.at+int64(off), "attribute entry with a name of %d bytes passes the end of its area", t.area[off])
			return off
		}
		off = next
	}
	return off
}

// XattrEntryLen gives the bytes that an entry with a name of n bytes takes.
func XattrEntryLen(n int) int { return (XattrEntrySize + n + XattrPad - 1) &^ (XattrPad - 1) }

// XattrValueLen gives the bytes that a value of n bytes takes.
func XattrValueLen(n int) int { return (n + XattrPad - 1) &^ (XattrPad - 1) }

// each hands out the entries. It returns false if fn did.
func (t *xattrTable) each(fn func(Xattr) bool) bool {
	end := t.end()
	for off := t.first; off < end; {
		e := t.area[off:]
		n := int(e[0])
		x := Xattr{Index: e[1], ValueInode: le.Uint32(e[4:]), ValueSize: le.Uint32(e[8:]), Hash: le.Uint32(e[12:]),
			Name: e[XattrEntrySize : XattrEntrySize+n], Where: t.where, EntryAt: t.at + int64(off), ValueAt: -1}
		off += XattrEntryLen(n)
		if x.ValueInode == 0 && x.ValueSize > 0 {
			from, size := int(le.Uint16(e[2:])), uint64(x.ValueSize)
			if from < end+4 || uint64(from)+size > uint64(len(t.area)) {
				t.report.inode(KindXattrValue, t.ino, t.block, x.EntryAt, "value of attribute %s is said to be %d bytes at %d of an area of %d with entries up to %d",
					x.FullName(), size, from, len(t.area), end)
				continue
			}
			x.Value = t.area[from : from+int(size) : from+int(size)]
			x.ValueAt = t.at + int64(from)
		}
		if !fn(x) {
			return false
		}
	}
	return true
}

// xattrInode reads a value that is kept in an inode of its own. ok is false when it cannot be had, which was reported.
func (fs *FS) xattrInode(in *Inode, x Xattr, report Report) (value []byte, ok bool, err error) {
	bad := func(format string, args ...any) ([]byte, bool, error) {
		report.inode(KindXattrInode, in.Number, 0, x.EntryAt, "value of attribute %s in inode %d: %s", x.FullName(), x.ValueInode, fmt.Sprintf(format, args...))
		return nil, false, nil
	}
	if x.ValueSize > XattrMaxValue {
		return bad("%d bytes", x.ValueSize)
	}
	if x.ValueInode < fs.sb.FirstIno || x.ValueInode > fs.inodes || x.ValueInode == in.Number {
		return bad("no such inode")
	}
	holder, err := fs.Inode(x.ValueInode)
	if err != nil {
		if skippable(err) {
			return bad("%v", err)
		}
		return nil, false, err
	}
	if holder.Flags&FlagEAInode == 0 || !holder.IsRegular() {
		return bad("it is not marked as holding a value")
	}
	if holder.Size != uint64(x.ValueSize) {
		return bad("it has %d bytes, not %d", holder.Size, x.ValueSize)
	}
	value, err = fs.ReadAll(holder, int64(x.ValueSize))
	if err != nil {
		if skippable(err) || errors.Is(err, ErrExtents) {
			return bad("%v", err)
		}
		return nil, false, err
	}
	if len(value) != int(x.ValueSize) {
		return bad("only %d bytes can be read", len(value))
	}
	return value, true, nil
}
