package hostlist

import (
	"slices"
	"strconv"
	"strings"
)

// MaxID is the greatest id of an id set (Flux: INT_MAX).
const MaxID = 1<<31 - 1

// Range is the ids Lo to Hi, both included.
type Range struct{ Lo, Hi uint32 }

// IDSet is a set of ids: ascending ranges that neither overlap nor touch.
// nil is the empty set.
type IDSet []Range

// ParseIDSet reads an id set: ascending ids and ranges separated by commas,
// all of it in brackets or not. Leading zeros are errors; empty items are
// skipped, as in Flux. "" is the empty set.
func ParseIDSet(s string) (IDSet, error) {
	t, off := s, 0
	if len(t) >= 2 && t[0] == '[' && t[len(t)-1] == ']' {
		t, off = t[1:len(t)-1], 1
	}
	var set IDSet
	next := uint64(0) // the least id that may follow
	for item := range strings.SplitSeq(t, ",") {
		if item != "" {
			lo, hi, ok := idRange(item)
			if !ok {
				return nil, bad(ErrSyntax, "id set", s, off, "not an id or an ascending range below 2^31")
			}
			if lo < next {
				return nil, bad(ErrSyntax, "id set", s, off, "ids do not ascend")
			}
			next = hi + 1
			set = set.extend(uint32(lo), uint32(hi))
		}
		off += len(item) + 1
	}
	return set, nil
}

func (s IDSet) extend(lo, hi uint32) IDSet {
	if n := len(s); n > 0 && s[n-1].Hi+1 == lo {
		s[n-1].Hi = hi
		return s
	}
	return append(s, Range{lo, hi})
}

func idRange(item string) (lo, hi uint64, ok bool) {
	a, b, isRange := strings.Cut(item, "-")
	lo, ok = oneID(a)
	if !ok || !isRange {
		return lo, lo, ok
	}
	hi, ok = oneID(b)
	return lo, hi, ok && lo < hi
}

func oneID(s string) (uint64, bool) {
	if len(s) > 1 && s[0] == '0' || len(s) > 10 {
		return 0, false
	}
	v, ok := number(s)
	return v, ok && v <= MaxID
}

// NewIDSet is the set of these ids in any order; ids above MaxID are an error.
func NewIDSet(ids ...uint32) (IDSet, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var set IDSet
	for _, id := range slices.Compact(ids) {
		if id > MaxID {
			return nil, bad(ErrSyntax, "id", strconv.FormatUint(uint64(id), 10), 0, "above 2^31-1")
		}
		set = set.extend(id, id)
	}
	return set, nil
}

// Count is the number of ids.
func (s IDSet) Count() uint64 {
	n := uint64(0)
	for _, r := range s {
		n += uint64(r.Hi-r.Lo) + 1
	}
	return n
}

// IDs lists the ids in ascending order, at most limit of them.
func (s IDSet) IDs(limit int) []uint32 {
	var out []uint32
	for _, r := range s {
		for id := r.Lo; id <= r.Hi && len(out) < limit; id++ {
			out = append(out, id)
		}
	}
	return out
}

// String is the notation that Flux writes: "0-3,7".
func (s IDSet) String() string {
	var sb strings.Builder
	for i, r := range s {
		if i > 0 {
			sb.WriteByte(',')
		}
		sb.WriteString(strconv.FormatUint(uint64(r.Lo), 10))
		if r.Hi > r.Lo {
			sb.WriteString("-" + strconv.FormatUint(uint64(r.Hi), 10))
		}
	}
	return sb.String()
}
