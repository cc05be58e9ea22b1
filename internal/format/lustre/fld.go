package lustre

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Range is a span of sequences [Start, End) and the target it belongs to.
type Range struct {
	Start, End uint64
	Index      uint32
	Flags      uint32 // RangeMDT or RangeOST
}

// Kinds of targets in Range.Flags.
const (
	RangeMDT  = 0
	RangeOST  = 1
	rangeMask = 3
)

// RangeSize is the length of an encoded range.
const RangeSize = 24

// LittleRange decodes the content of seq_srv or seq_ctl: the sequences that a server may still give.
func LittleRange(b []byte) (Range, error) {
	if len(b) < RangeSize {
		return Range{}, fmt.Errorf("decode sequence range: %d bytes, want %d", len(b), RangeSize)
	}
	le := binary.LittleEndian
	return Range{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:])}, nil
}

// AppendLittle appends the form of seq_srv and seq_ctl.
func (r Range) AppendLittle(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.Start)
	b = binary.LittleEndian.AppendUint64(b, r.End)
	b = binary.LittleEndian.AppendUint32(b, r.Index)
	return binary.LittleEndian.AppendUint32(b, r.Flags)
}

// BigRange decodes a record of the FLD. b must have RangeSize bytes.
func BigRange(b []byte) Range {
	be := binary.BigEndian
	return Range{be.Uint64(b), be.Uint64(b[8:]), be.Uint32(b[16:]), be.Uint32(b[20:])}
}

// AppendBig appends the form of the FLD.
func (r Range) AppendBig(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Start)
	b = binary.BigEndian.AppendUint64(b, r.End)
	b = binary.BigEndian.AppendUint32(b, r.Index)
	return binary.BigEndian.AppendUint32(b, r.Flags)
}

// IsOST reports whether the span belongs to an OST.
func (r Range) IsOST() bool { return r.Flags&rangeMask == RangeOST }

// String gives the span as Lustre prints it.
func (r Range) String() string {
	kind := "mdt"
	if r.IsOST() {
		kind = "ost"
	}
	return fmt.Sprintf("[0x%x-0x%x):%x:%s", r.Start, r.End, r.Index, kind)
}

// FLDRanges calls fn with each range of a leaf of the FLD index. The all-zero record is left out.
func FLDRanges(block []byte, fn func(Range) bool) ([]Problem, error) {
	var ps problems
	more, err := ShapeFLD.Records(block, func(key, record []byte) bool {
		r := BigRange(record)
		if start := binary.BigEndian.Uint64(key); start != r.Start {
			ps.add("key", 0, "the key is 0x%x, the range begins at 0x%x", start, r.Start)
		}
		return r == Range{} || fn(r)
	})
	return append(more, ps...), err
}

// BuildFLD makes the file fld from ranges.
func BuildFLD(blockSize int, ranges []Range) ([][]byte, error) {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var records []IAMRecord
	for _, r := range ranges {
		records = append(records, IAMRecord{binary.BigEndian.AppendUint64(nil, r.Start), r.AppendBig(nil)})
	}
	return ShapeFLD.Build(blockSize, 192, records)
}

// FLD maps sequences to targets.
type FLD struct {
	ranges []Range
}

// NewFLD makes a map from the ranges of MDT0, or of all MDTs if that one is missing. Equal ranges are merged; empty and
// overlapping ones are reported, and of those that overlap the one that begins first wins.
func NewFLD(ranges []Range) (*FLD, []Problem) {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Flags, b.Flags))
	})
	sorted = slices.Compact(sorted)
	var ps problems
	f := &FLD{}
	for _, r := range sorted {
		if r.Start >= r.End {
			ps.add("empty", 0, "range %v is empty", r)
			continue
		}
		if n := len(f.ranges); n > 0 && r.Start < f.ranges[n-1].End {
			ps.add("overlap", 0, "range %v overlaps %v", r, f.ranges[n-1])
			if r.Start = f.ranges[n-1].End; r.Start >= r.End {
				continue
			}
		}
		f.ranges = append(f.ranges, r)
	}
	return f, ps
}

// Ranges gives the spans in ascending order. The caller must not change them.
func (f *FLD) Ranges() []Range { return f.ranges }

// Place says on what kind of target an object is.
type Place uint8

// Places of objects.
const (
	PlaceUnknown Place = iota // no range holds the sequence
	PlaceMDT
	PlaceOST
	PlaceLocal // every target has its own object of that FID
)

// Lookup gives the target on which an object of that FID is. Root, .lustre and IGIFs are on MDT0 by rule. IGIFs of internal
// files exist on every MDT: only the caller knows whether an IGIF is one of those.
func (f *FLD) Lookup(id FID) (index uint32, place Place) {
	switch {
	case id.IsIGIF() || id.IsRoot() || id.IsDotLustre():
		return 0, PlaceMDT
	case id.IsLocal():
		return 0, PlaceLocal
	}
	n, found := slices.BinarySearchFunc(f.ranges, id.Seq, func(r Range, seq uint64) int {
		switch {
		case r.End <= seq:
			return -1
		case r.Start > seq:
			return 1
		}
		return 0
	})
	switch {
	case !found:
		return 0, PlaceUnknown
	case f.ranges[n].IsOST():
		return f.ranges[n].Index, PlaceOST
	}
	return f.ranges[n].Index, PlaceMDT
}
