// Package fluid converts Flux job ids (FLUID, RFC 19) between their forms and
// finds them in KVS keys.
//
// A FLUID has 64 bits: 40 bits of time in milliseconds since the instance
// began its id sequence, 14 bits of generator id, 10 bits of sequence number.
// Every 64 bit number is a valid FLUID: the "timestamp below 2^40" rule of
// RFC 19 holds by construction.
//
// The room must NOT know what is stored under a job's keys.
package fluid

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ID is a job id.
type ID uint64

// Widths of the three parts in bits.
const (
	TimestampBits = 40
	GeneratorBits = 14
	SequenceBits  = 10
)

// Max is the greatest id.
const Max = ID(1<<64 - 1)

// ErrSyntax is wrapped by all errors of the parsers.
var ErrSyntax = errors.New("not a job id")

// Parts of an id.
type Parts struct {
	Timestamp uint64 // ms since the start of the id sequence, below 2^40
	Generator uint16 // below 2^14
	Sequence  uint16 // below 2^10
}

// Parts splits an id.
func (id ID) Parts() Parts {
	return Parts{
		Timestamp: uint64(id) >> (GeneratorBits + SequenceBits),
		Generator: uint16(uint64(id) >> SequenceBits & (1<<GeneratorBits - 1)),
		Sequence:  uint16(uint64(id) & (1<<SequenceBits - 1)),
	}
}

// FromParts joins the parts of an id; a part that is too big is an error.
func FromParts(p Parts) (ID, error) {
	if p.Timestamp >= 1<<TimestampBits || p.Generator >= 1<<GeneratorBits || p.Sequence >= 1<<SequenceBits {
		return 0, fmt.Errorf("job id of timestamp %d, generator %d, sequence %d: a part is too big", p.Timestamp, p.Generator, p.Sequence)
	}
	return ID(p.Timestamp<<(GeneratorBits+SequenceBits) | uint64(p.Generator)<<SequenceBits | uint64(p.Sequence)), nil
}

// DotHex is the form of KVS paths: four groups of four lower case hex digits,
// big end first ("0000.0016.0400.0000").
func (id ID) DotHex() string {
	return fmt.Sprintf("%04x.%04x.%04x.%04x", uint16(id>>48), uint16(id>>32), uint16(id>>16), uint16(id))
}

// Decimal is the id as a decimal number.
func (id ID) Decimal() string { return strconv.FormatUint(uint64(id), 10) }

// Hex is the id as a hex number with 0x.
func (id ID) Hex() string { return "0x" + strconv.FormatUint(uint64(id), 16) }

const b58digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func (id ID) base58() string {
	var buf [11]byte // 58^11 > 2^64
	i := len(buf)
	for {
		i--
		buf[i] = b58digits[id%58]
		if id /= 58; id == 0 {
			return string(buf[i:])
		}
	}
}

// F58 is the short form people see, with the prefix ƒ ("ƒ3Mdq7x1M").
func (id ID) F58() string { return "ƒ" + id.base58() }

// F58Plain is F58 with the ASCII prefix f.
func (id ID) F58Plain() string { return "f" + id.base58() }

// String is F58Plain.
func (id ID) String() string { return id.F58Plain() }

func bad(s, why string) error {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return fmt.Errorf("%w: %q %s", ErrSyntax, s, why)
}

// ParseF58 reads the F58 form with either prefix. At most 12 digits, and the
// value must fit in 64 bits (Flux itself lets it wrap around).
func ParseF58(s string) (ID, error) {
	d, ok := strings.CutPrefix(s, "ƒ")
	if !ok {
		d, ok = strings.CutPrefix(s, "f")
	}
	if !ok {
		return 0, bad(s, "has no prefix ƒ or f")
	}
	if d == "" || len(d) > 12 {
		return 0, bad(s, "needs 1 to 12 digits")
	}
	var v uint64
	for i := range len(d) {
		digit := strings.IndexByte(b58digits, d[i])
		if digit < 0 {
			return 0, bad(s, "has a character that is no base58 digit")
		}
		hi, lo := bits.Mul64(v, 58)
		sum, carry := bits.Add64(lo, uint64(digit), 0)
		if hi != 0 || carry != 0 {
			return 0, bad(s, "does not fit in 64 bits")
		}
		v = sum
	}
	return ID(v), nil
}

// Group reads one path component of a DotHex id: exactly four lower case hex
// digits, as Flux writes them. (Flux itself also reads shorter groups and upper
// case; it never writes them.)
func Group(s string) (uint16, bool) {
	if len(s) != 4 {
		return 0, false
	}
	var v uint16
	for i := range 4 {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint16(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint16(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// ParseDotHex reads the four group form exactly as Flux writes it.
func ParseDotHex(s string) (ID, error) {
	groups := strings.SplitN(s, ".", 5)
	if len(groups) != 4 {
		return 0, bad(s, "has not four groups")
	}
	var v uint64
	for _, g := range groups {
		n, ok := Group(g)
		if !ok {
			return 0, bad(s, "has a group that is not four lower case hex digits")
		}
		v = v<<16 | uint64(n)
	}
	return ID(v), nil
}

// Parse reads any of the forms: DotHex (has dots), F58 (prefix ƒ or f),
// 0x hex, decimal. White space around it is ignored. The word and emoji forms
// are not known here.
func Parse(s string) (ID, error) {
	t := strings.TrimSpace(s)
	switch {
	case strings.Contains(t, "."):
		return ParseDotHex(t)
	case strings.HasPrefix(t, "f") || strings.HasPrefix(t, "ƒ"):
		return ParseF58(t)
	}
	digits, base := t, 10
	if h, ok := strings.CutPrefix(t, "0x"); ok {
		digits, base = h, 16
	}
	v, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return 0, bad(s, "is neither dotted hex, F58, 0x hex nor decimal")
	}
	return ID(v), nil
}

// UpperBound is the greatest id whose DotHex form begins with these groups: no
// job hidden below a lost directory can have a greater one. With no groups it
// is Max; groups after the fourth are ignored. See Usable for a bound that
// still leaves room for new ids.
func UpperBound(groups ...uint16) ID {
	v := uint64(Max)
	for i, g := range groups {
		if i == 4 {
			break
		}
		shift := 48 - 16*i
		v = v&^(0xffff<<shift) | uint64(g)<<shift
	}
	return ID(v)
}

// Usable clamps an upper bound so that the id sequence can go on behind it: the
// generator restarts at the bound's timestamp, which must stay below 2^40-1.
// limit is the greatest timestamp that is believed (ms); 0 means 2^39, half of
// the sequence's life.
func (id ID) Usable(limit uint64) ID {
	if limit == 0 || limit >= 1<<TimestampBits {
		limit = 1 << (TimestampBits - 1)
	}
	if id.Parts().Timestamp <= limit {
		return id
	}
	return ID(limit<<(GeneratorBits+SequenceBits) | (1<<(GeneratorBits+SequenceBits) - 1))
}
