package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Link is one record of a link EA: a name of the object in the directory Parent.
type Link struct {
	Parent FID
	Name   string
}

// LinkEA is the attribute trusted.link: all names of an object, seen from the object.
type LinkEA struct {
	Links []Link
	// Overflow is when a record did not fit, in seconds since 1970. If it is not 0, Links may lack names.
	Overflow uint32
	// Padding is the last word of the header; no server uses it, and it is kept as it is.
	Padding uint32
	// Swapped says that the header was in big-endian order: a server of that order wrote it.
	Swapped bool
}

// Facts of trusted.link.
const (
	LinkEAMagic  = 0x11eaf1df
	LinkEAHeader = 24
	LinkEAMax    = 4096 // what does not fit in that many bytes is dropped and the time noted
	linkRecord   = 18   // bytes of a record beside the name
	nameMax      = 255
)

// ErrLinkEACrashed means that the attribute has no usable header; a server treats it as destroyed.
var ErrLinkEACrashed = errors.New("the link EA is crashed")

// Codes of the problems of a link EA.
const (
	LinkBadLength   = "length"    // the header's length is not that of the value
	LinkBadRecord   = "record"    // a record length is impossible; what follows cannot be read
	LinkBadCount    = "count"     // the header counts other records than there are
	LinkRepeated    = "repeated"  // the same parent and name twice
	LinkBadName     = "name"      // empty, too long, "." or "..", or with '/' or NUL
	LinkBadParent   = "parent"    // the parent is no sane FID
	LinkTooBig      = "too-big"   // longer than a server writes
	LinkNoRecord    = "no-record" // neither records nor overflow: a server reads it as absent
	LinkBytesBehind = "behind"    // bytes behind the last record
)

// DecodeLinkEA reads trusted.link. Every record that can be read is given, with what is wrong about the rest. The error is
// ErrLinkEACrashed when the header is too short or has no magic.
func DecodeLinkEA(b []byte) (LinkEA, []Problem, error) {
	if len(b) < LinkEAHeader {
		return LinkEA{}, nil, fmt.Errorf("decode trusted.link: %d bytes, the header needs %d: %w", len(b), LinkEAHeader, ErrLinkEACrashed)
	}
	var order binary.ByteOrder = binary.LittleEndian
	var ea LinkEA
	switch {
	case order.Uint32(b) == LinkEAMagic:
	case binary.BigEndian.Uint32(b) == LinkEAMagic:
		order, ea.Swapped = binary.BigEndian, true
	default:
		return LinkEA{}, nil, fmt.Errorf("decode trusted.link: magic 0x%08x, want 0x%08x: %w", order.Uint32(b), LinkEAMagic, ErrLinkEACrashed)
	}
	count, length := order.Uint32(b[4:]), order.Uint64(b[8:])
	ea.Overflow, ea.Padding = order.Uint32(b[16:]), order.Uint32(b[20:])
	var ps problems
	if length != uint64(len(b)) {
		ps.add(LinkBadLength, 8, "the header says %d bytes, the value has %d", length, len(b))
	}
	if len(b) > LinkEAMax {
		ps.add(LinkTooBig, 0, "%d bytes, servers write at most %d", len(b), LinkEAMax)
	}
	end := decodeLinks(b, count, &ea, &ps)
	if uint32(len(ea.Links)) != count {
		ps.add(LinkBadCount, 4, "the header counts %d records, %d can be read", count, len(ea.Links))
	}
	if rest := len(b) - end; rest > 0 && len(ea.Links) == int(count) {
		ps.add(LinkBytesBehind, end, "%d bytes behind the last record", rest)
	}
	if count == 0 && ea.Overflow == 0 {
		ps.add(LinkNoRecord, 4, "no record and no overflow time")
	}
	return ea, ps, nil
}

// decodeLinks reads up to count records, and returns where the last one ends.
func decodeLinks(b []byte, count uint32, ea *LinkEA, ps *problems) int {
	var seen map[Link]bool // stays nil for the one name that most objects have
	if count > 1 {
		seen = map[Link]bool{}
	}
	at := LinkEAHeader
	for n := uint32(0); n < count && at < len(b); n++ {
		if len(b)-at < linkRecord {
			ps.add(LinkBadRecord, at, "%d bytes are left, a record needs more than %d", len(b)-at, linkRecord)
			break
		}
		size := int(binary.BigEndian.Uint16(b[at:]))
		if size < linkRecord || size > len(b)-at {
			ps.add(LinkBadRecord, at, "record length %d, possible are %d to %d", size, linkRecord, len(b)-at)
			break
		}
		l := Link{BigFID(b[at+2:]), string(b[at+linkRecord : at+size])}
		if why := BadName(l.Name); why != "" {
			ps.add(LinkBadName, at, "name %q %s", l.Name, why)
		}
		if !l.Parent.Sane() {
			ps.add(LinkBadParent, at+2, "parent %v is not a sane FID", l.Parent)
		}
		if seen[l] {
			ps.add(LinkRepeated, at, "%q in %v is recorded more than once", l.Name, l.Parent)
		}
		if seen != nil {
			seen[l] = true
		}
		ea.Links = append(ea.Links, l)
		at += size
	}
	return at
}

// BadName says why a name cannot stand in a directory, or "" if it can.
func BadName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > nameMax:
		return fmt.Sprintf("has %d bytes, possible are %d", len(name), nameMax)
	case name == "." || name == "..":
		return "is reserved"
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' || name[i] == 0 {
			return fmt.Sprintf("has byte 0x%02x at %d", name[i], i)
		}
	}
	return ""
}

// Encode gives the attribute in the byte order of the machine that wrote it. Records that do not fit in LinkEAMax bytes are
// left out and the overflow time is set to now (seconds; 0 counts as 1), as a server does. dropped counts them.
func (ea LinkEA) Encode(now uint32) (b []byte, dropped int) {
	b = make([]byte, LinkEAHeader, LinkEAHeader+len(ea.Links)*(linkRecord+16))
	count, overflow := uint32(0), ea.Overflow
	for _, l := range ea.Links {
		size := linkRecord + len(l.Name)
		if len(b)+size > LinkEAMax {
			dropped++
			overflow = max(now, 1)
			continue
		}
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		b = l.Parent.AppendBig(b)
		b = append(b, l.Name...)
		count++
	}
	var order binary.ByteOrder = binary.LittleEndian
	if ea.Swapped {
		order = binary.BigEndian
	}
	order.PutUint32(b, LinkEAMagic)
	order.PutUint32(b[4:], count)
	order.PutUint64(b[8:], uint64(len(b)))
	order.PutUint32(b[16:], overflow)
	order.PutUint32(b[20:], ea.Padding)
	return b, dropped
}

// Has reports whether there is a record of that parent and name.
func (ea LinkEA) Has(parent FID, name string) bool { return ea.index(parent, name) >= 0 }

func (ea LinkEA) index(parent FID, name string) int {
	for i, l := range ea.Links {
		if l.Parent == parent && l.Name == name {
			return i
		}
	}
	return -1
}

// Add gives a link EA with one more record at its end, or the same if it is there already.
func (ea LinkEA) Add(parent FID, name string) LinkEA {
	if ea.Has(parent, name) {
		return ea
	}
	ea.Links = append(ea.Links[:len(ea.Links):len(ea.Links)], Link{parent, name})
	return ea
}

// Remove gives a link EA without any record of that parent and name.
func (ea LinkEA) Remove(parent FID, name string) LinkEA {
	links := make([]Link, 0, len(ea.Links))
	for _, l := range ea.Links {
		if l.Parent != parent || l.Name != name {
			links = append(links, l)
		}
	}
	ea.Links = links
	return ea
}

// IsLinkEA reports whether the value begins with the magic of a link EA in either order.
func IsLinkEA(b []byte) bool {
	magic := binary.LittleEndian.AppendUint32(nil, LinkEAMagic)
	swapped := binary.BigEndian.AppendUint32(nil, LinkEAMagic)
	return bytes.HasPrefix(b, magic) || bytes.HasPrefix(b, swapped)
}
