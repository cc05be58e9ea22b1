package lustre

import (
	"encoding/binary"

	"fettle/internal/format/lustre"
)

// eachLink hands out the records of a link EA without allocating. odd says that something is wrong with it, which
// lustre.DecodeLinkEA can tell; the error is that of an attribute without a usable header.
func eachLink(b []byte, fn func(parent lustre.FID, name []byte)) (odd, overflow bool, err error) {
	if len(b) < lustre.LinkEAHeader || binary.LittleEndian.Uint32(b) != lustre.LinkEAMagic {
		if !lustre.IsLinkEA(b) || len(b) < lustre.LinkEAHeader {
			return false, false, lustre.ErrLinkEACrashed
		}
		return slowLinks(b, fn)
	}
	count, length := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])
	overflow = binary.LittleEndian.Uint32(b[16:]) != 0
	odd = length != uint64(len(b)) || len(b) > lustre.LinkEAMax || count == 0 && !overflow
	at, n := lustre.LinkEAHeader, uint32(0)
	const fixed = 2 + lustre.FIDSize
	for ; n < count && at < len(b); n++ {
		if len(b)-at < fixed {
			break
		}
		size := int(binary.BigEndian.Uint16(b[at:]))
		if size < fixed || size > len(b)-at {
			break
		}
		name := b[at+fixed : at+size]
		if len(name) == 0 || len(name) > 255 {
			odd = true
		}
		fn(lustre.BigFID(b[at+2:]), name)
		at += size
	}
	return odd || n != count || at != len(b), overflow, nil
}

// slowLinks is for an attribute that a machine of the other byte order wrote.
func slowLinks(b []byte, fn func(parent lustre.FID, name []byte)) (odd, overflow bool, err error) {
	ea, problems, err := lustre.DecodeLinkEA(b)
	if err != nil {
		return false, false, err
	}
	for _, l := range ea.Links {
		fn(l.Parent, []byte(l.Name))
	}
	return len(problems) > 0, ea.Overflow != 0, nil
}
