package lustre

import (
	"encoding/binary"
	"fmt"
)

// Magic numbers of trusted.lov.
const (
	LOVv1        = 0x0bd10bd0
	LOVv3        = 0x0bd30bd0
	LOVComposite = 0x0bd60bd0
	LOVForeign   = 0x0bd70bd0
	// LOVDefined is set in the magic of a layout whose objects are chosen at the first write.
	LOVDefined = 0x10000000
)

const (
	lovPatternMDT      = 0x100
	lovPatternReleased = 0x80000000
	lovHeaderV1        = 32
	lovHeaderV3        = 48
	lovObject          = 24
	lovCompInit        = 0x10 // flag of a component whose objects exist
	lovCompHeader      = 32
	lovCompEntry       = 48
	lovAllStripes      = 0xffe0 // from here on the count is a request ("all OSTs"), not a number
)

// LOV is as much of trusted.lov as an MDT's checker needs.
type LOV struct {
	Magic uint32
	// Owner is the FID of the file as the layout repeats it; zero in composite layouts that have no plain component.
	Owner FID
	// Components is 1 for a plain layout.
	Components int
	// Objects is the number of OST objects that the layout names.
	Objects int
	// Released says that the data is in an archive; OnMDT that some of it is in the MDT's inode.
	Released, OnMDT bool
}

// String gives the layout in one line.
func (l LOV) String() string {
	kind := fmt.Sprintf("magic=0x%08x", l.Magic)
	switch l.Magic &^ LOVDefined {
	case LOVv1 &^ LOVDefined:
		kind = "v1"
	case LOVv3 &^ LOVDefined:
		kind = "v3"
	case LOVComposite &^ LOVDefined:
		kind = "composite"
	case LOVForeign &^ LOVDefined:
		return "foreign"
	}
	text := fmt.Sprintf("%s owner=%v components=%d objects=%d", kind, l.Owner, l.Components, l.Objects)
	if l.Released {
		text += " released"
	}
	if l.OnMDT {
		text += " data-on-mdt"
	}
	return text
}

// DecodeLOV reads trusted.lov as far as it is understood here. A foreign layout gives Magic only.
func DecodeLOV(b []byte) (LOV, error) {
	if len(b) < 4 {
		return LOV{}, fmt.Errorf("decode trusted.lov: %d bytes", len(b))
	}
	magic := binary.LittleEndian.Uint32(b)
	l := LOV{Magic: magic}
	switch magic &^ LOVDefined {
	case LOVForeign:
		return l, nil
	case LOVComposite:
		return l, l.composite(b)
	}
	l.Components = 1
	return l, l.plain(b, true)
}

// plain adds what a layout of version 1 or 3 says. Without hasObjects its stripe count is only a wish.
func (l *LOV) plain(b []byte, hasObjects bool) error {
	if len(b) < lovHeaderV1 {
		return fmt.Errorf("decode trusted.lov: %d bytes, the header needs %d", len(b), lovHeaderV1)
	}
	le := binary.LittleEndian
	header := lovHeaderV1
	switch m := le.Uint32(b) &^ LOVDefined; m {
	case LOVv1:
	case LOVv3:
		header = lovHeaderV3
	default:
		return fmt.Errorf("decode trusted.lov: unknown magic 0x%08x", m)
	}
	if len(b) < header {
		return fmt.Errorf("decode trusted.lov: %d bytes, the header needs %d", len(b), header)
	}
	pattern := le.Uint32(b[4:])
	l.Released = l.Released || pattern&lovPatternReleased != 0
	l.OnMDT = l.OnMDT || pattern&lovPatternMDT != 0
	// ost_id: for files since 2.0 the first word is the FID's number, the second its sequence.
	l.Owner = FID{Seq: le.Uint64(b[16:]), OID: uint32(le.Uint64(b[8:]))}
	count := int(le.Uint16(b[28:]))
	if !hasObjects || pattern&(lovPatternReleased|lovPatternMDT) != 0 || count >= lovAllStripes || le.Uint32(b)&LOVDefined != 0 {
		return nil
	}
	if room := (len(b) - header) / lovObject; count > room {
		return fmt.Errorf("decode trusted.lov: %d stripes, there is room for %d", count, room)
	}
	l.Objects += count
	return nil
}

// composite adds what the components of a composite layout say.
func (l *LOV) composite(b []byte) error {
	if len(b) < lovCompHeader {
		return fmt.Errorf("decode trusted.lov: %d bytes, the header of a composite layout needs %d", len(b), lovCompHeader)
	}
	le := binary.LittleEndian
	count := int(le.Uint16(b[14:]))
	if most := (len(b) - lovCompHeader) / lovCompEntry; count > most {
		return fmt.Errorf("decode trusted.lov: %d components, there is room for %d", count, most)
	}
	l.Components = count
	for i := range count {
		e := b[lovCompHeader+i*lovCompEntry:]
		offset, size := uint64(le.Uint32(e[24:])), uint64(le.Uint32(e[28:]))
		if offset+size > uint64(len(b)) {
			return fmt.Errorf("decode trusted.lov: component %d is at %d with %d bytes, the value has %d", i, offset, size, len(b))
		}
		part := b[offset : offset+size]
		if len(part) >= 4 && le.Uint32(part)&^LOVDefined == LOVForeign {
			continue
		}
		if err := l.plain(part, le.Uint32(e[4:])&lovCompInit != 0); err != nil {
			return fmt.Errorf("component %d: %w", i, err)
		}
	}
	return nil
}
