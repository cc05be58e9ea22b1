package lustre

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// FID names one object of a Lustre file system for ever: a sequence that is given to one client, a number in it, a version (0).
type FID struct {
	Seq      uint64
	OID, Ver uint32
}

// FIDSize is the length of an encoded FID.
const FIDSize = 16

// LittleFID decodes the first 16 bytes of b as LMA, LMV and LOV hold them. b must have that many.
func LittleFID(b []byte) FID {
	return FID{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
}

// BigFID decodes the first 16 bytes of b as directory entries, link EA and index keys hold them. b must have that many.
func BigFID(b []byte) FID {
	return FID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
}

// AppendLittle appends the little-endian form.
func (f FID) AppendLittle(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, f.Seq)
	b = binary.LittleEndian.AppendUint32(b, f.OID)
	return binary.LittleEndian.AppendUint32(b, f.Ver)
}

// AppendBig appends the big-endian form.
func (f FID) AppendBig(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	b = binary.BigEndian.AppendUint32(b, f.OID)
	return binary.BigEndian.AppendUint32(b, f.Ver)
}

// String gives the form with brackets that Lustre's tools print: [0x200000402:0x2:0x0].
func (f FID) String() string { return "[" + f.Bare() + "]" }

// Bare gives the form without brackets, as names in REMOTE_PARENT_DIR and PENDING have it.
func (f FID) Bare() string {
	b := make([]byte, 0, 40)
	b = strconv.AppendUint(append(b, "0x"...), f.Seq, 16)
	b = strconv.AppendUint(append(b, ":0x"...), uint64(f.OID), 16)
	b = strconv.AppendUint(append(b, ":0x"...), uint64(f.Ver), 16)
	return string(b)
}

// ParseFID reads a FID with or without brackets. Numbers are hexadecimal with 0x, or decimal.
func ParseFID(s string) (FID, error) {
	inner := s
	if strings.HasPrefix(s, "[") != strings.HasSuffix(s, "]") {
		return FID{}, fmt.Errorf("parse FID %q: one bracket is missing", s)
	}
	if strings.HasPrefix(s, "[") {
		inner = s[1 : len(s)-1]
	}
	parts := strings.Split(inner, ":")
	if len(parts) != 3 {
		return FID{}, fmt.Errorf("parse FID %q: want sequence:number:version, as in [0x200000402:0x2:0x0]", s)
	}
	var n [3]uint64
	for i, p := range parts {
		bits := 32
		if i == 0 {
			bits = 64
		}
		v, err := parseNumber(p, bits)
		if err != nil {
			return FID{}, fmt.Errorf("parse FID %q: %w", s, err)
		}
		n[i] = v
	}
	return FID{n[0], uint32(n[1]), uint32(n[2])}, nil
}

// parseNumber takes hexadecimal with 0x and decimal; a sign, an underscore or 0b is no number here.
func parseNumber(s string, bits int) (uint64, error) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(hex, 16, bits)
	}
	return strconv.ParseUint(s, 10, bits)
}

// Compare orders FIDs by sequence, number, version: -1, 0 or 1. The big-endian form sorts the same way.
func (f FID) Compare(g FID) int {
	return cmp.Or(cmp.Compare(f.Seq, g.Seq), cmp.Compare(f.OID, g.OID), cmp.Compare(f.Ver, g.Ver))
}

// IsZero reports whether the FID is all zero, which names nothing.
func (f FID) IsZero() bool { return f == FID{} }

// Flatten is the inode number that a 64-bit client shows for the object (fid_flatten64).
func (f FID) Flatten() uint64 {
	if f.IsIGIF() {
		return f.Seq
	}
	return f.Seq<<24 + (f.Seq>>24)&0xffffff0000 + uint64(f.OID)
}
