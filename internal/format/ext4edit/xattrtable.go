package ext4edit

import (
	"bytes"
	"cmp"

	"fettle/internal/format/ext4"
)

// attr is one attribute of a table. Attributes whose value lies in an inode of its own have no value here and keep their numbers.
type attr struct {
	index uint8
	name  []byte
	value []byte
	inum  uint32 // the inode that holds the value
	size  uint32 // of the value
	hash  uint32
}

// is says whether an attribute has that name.
func (a attr) is(index uint8, name []byte) bool { return a.index == index && bytes.Equal(a.name, name) }

// attrFind gives the place of an attribute in a list, -1 if it is not there.
func attrFind(list []attr, index uint8, name []byte) int {
	for i, a := range list {
		if a.is(index, name) {
			return i
		}
	}
	return -1
}

// attrOrder is the order of entries in a block: by index, length of the name, name.
func attrOrder(a, b attr) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), bytes.Compare(a.name, b.name))
}

// attrParse reads the table in area whose entries begin at from; values lie in area, counted from its begin. Unlike a reader it gives
// up at the first thing that cannot be true, overlapping values included.
func attrParse(area []byte, from int) ([]attr, error) {
	var list []attr
	off, sum := from, 0
	low := len(area) // no value begins before it
	for {
		if off+ext4.XattrPad > len(area) {
			return nil, damaged("attribute entries have no end")
		}
		if le.Uint32(area[off:]) == 0 {
			break
		}
		n := int(area[off])
		next := off + ext4.XattrEntryLen(n)
		if next+ext4.XattrPad > len(area) {
			return nil, damaged("attribute entry at %d passes the end", off)
		}
		x := area[off:next]
		a := attr{index: x[1], inum: le.Uint32(x[4:]), size: le.Uint32(x[8:]), hash: le.Uint32(x[12:]), name: bytes.Clone(x[ext4.XattrEntrySize : ext4.XattrEntrySize+n])}
		if a.inum == 0 && a.size > 0 {
			at := int(le.Uint16(x[2:]))
			if uint64(at)+uint64(a.size) > uint64(len(area)) {
				return nil, damaged("value of the attribute entry at %d passes the end", off)
			}
			a.value = bytes.Clone(area[at : at+int(a.size)])
			low = min(low, at)
			sum += ext4.XattrValueLen(int(a.size))
		}
		if attrFind(list, a.index, a.name) >= 0 {
			return nil, damaged("attribute %d.%s is there twice", a.index, a.name)
		}
		list = append(list, a)
		off = next
	}
	if end := off + ext4.XattrPad; low < end || sum > len(area)-end {
		return nil, damaged("attribute values overlap each other or their entries")
	}
	return list, nil
}

// attrSize gives the bytes that a list takes behind from: entries, four zero bytes, values.
func attrSize(list []attr) int {
	n := ext4.XattrPad
	for _, a := range list {
		n += ext4.XattrEntryLen(len(a.name))
		if a.inum == 0 {
			n += ext4.XattrValueLen(len(a.value))
		}
	}
	return n
}

// attrBuild writes a list into area, which becomes zero elsewhere from from on. It must fit.
func attrBuild(area []byte, from int, list []attr) error {
	if from+attrSize(list) > len(area) {
		return ErrNoSpace
	}
	clear(area[from:])
	off, end := from, len(area)
	for _, a := range list {
		x := area[off:]
		x[0], x[1] = byte(len(a.name)), a.index
		le.PutUint32(x[4:], a.inum)
		le.PutUint32(x[8:], a.size)
		le.PutUint32(x[12:], a.hash)
		copy(x[ext4.XattrEntrySize:], a.name)
		if a.inum == 0 && len(a.value) > 0 {
			end -= ext4.XattrValueLen(len(a.value))
			le.PutUint16(x[2:], uint16(end))
			copy(area[end:], a.value)
		}
		off += ext4.XattrEntryLen(len(a.name))
	}
	return nil
}
