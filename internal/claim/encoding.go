package claim

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error of Decode and Peek.
var ErrMalformed = errors.New("malformed claim")

// The width in bytes that each 2-bit code stands for, per field.
var (
	targetWidths = [4]uint8{0, 1, 2, 4}
	atWidths     = [4]uint8{0, 4, 6, 8}
	subWidths    = [4]uint8{0, 2, 4, 8}
	saysWidths   = [4]uint8{0, 1, 2, 3}
)

// fixedWidth maps a widths byte to the bytes taken by target, at, sub and the
// payload length together: one look-up instead of four on the hot path.
var fixedWidth = func() (t [256]uint8) {
	for i := range t {
		t[i] = targetWidths[i&3] + atWidths[i>>2&3] + subWidths[i>>4&3] + saysWidths[i>>6]
	}
	return t
}()

func targetCode(v uint32) byte {
	switch {
	case v == 0:
		return 0
	case v < 1<<8:
		return 1
	case v < 1<<16:
		return 2
	}
	return 3
}

func atCode(v uint64) byte {
	switch {
	case v == 0:
		return 0
	case v < 1<<32:
		return 1
	case v < 1<<48:
		return 2
	}
	return 3
}

func subCode(v uint64) byte {
	switch {
	case v == 0:
		return 0
	case v < 1<<16:
		return 1
	case v < 1<<32:
		return 2
	}
	return 3
}

func saysCode(n int) byte {
	switch {
	case n == 0:
		return 0
	case n < 1<<8:
		return 1
	case n < 1<<16:
		return 2
	}
	return 3
}

// widths returns the third byte of the encoding of c.
func (c *Claim) widths() byte {
	return targetCode(c.Witness.Target) | atCode(c.Witness.At)<<2 | subCode(c.Witness.Sub)<<4 | saysCode(len(c.Says))<<6
}

// EncodedLen returns the number of bytes AppendTo appends for a claim that
// passes Check.
func (c *Claim) EncodedLen() int {
	return headLen + len(c.Subject) + int(fixedWidth[c.widths()]) + len(c.Says)
}

// AppendTo appends the encoding of c to dst and returns the longer slice. For a
// claim that does not pass Check it returns dst as it was and Check's error.
func (c *Claim) AppendTo(dst []byte) ([]byte, error) {
	if len(c.Subject) > MaxSubject || len(c.Says) > MaxSays {
		return dst, c.Check()
	}
	w := c.widths()
	dst = append(dst, byte(len(c.Subject)), byte(c.Kind), w)
	dst = append(dst, c.Subject...)
	dst = appendUint(dst, uint64(c.Witness.Target), targetWidths[w&3])
	dst = appendUint(dst, c.Witness.At, atWidths[w>>2&3])
	dst = appendUint(dst, c.Witness.Sub, subWidths[w>>4&3])
	dst = appendUint(dst, uint64(len(c.Says)), saysWidths[w>>6])
	return append(dst, c.Says...), nil
}

// Peek reads only as much of the first claim in b as it takes to know its subject
// and its length n in bytes, so that b[n:] starts with the next claim. The
// subject points into b. It does not check what Decode checks beyond that.
func Peek(b []byte) (s Subject, n int, err error) {
	if len(b) < headLen {
		return nil, 0, short(b, headLen)
	}
	w := b[2]
	says := headLen + int(b[0]) + int(fixedWidth[w])
	if len(b) < says {
		return nil, 0, short(b, says)
	}
	n = says
	switch w >> 6 {
	case 1:
		n += int(b[says-1])
	case 2:
		n += int(b[says-2]) | int(b[says-1])<<8
	case 3:
		n += int(b[says-3]) | int(b[says-2])<<8 | int(b[says-1])<<16
	}
	if len(b) < n {
		return nil, 0, short(b, n)
	}
	end := headLen + int(b[0])
	return Subject(b[headLen:end:end]), n, nil
}

// Decode reads the first claim in b and returns it with the bytes that follow it.
// The claim's subject and payload point into b. Every error wraps ErrMalformed:
// b ends too early, the payload is too long, or a value is not in the smallest
// width that holds it. On error rest is b.
func Decode(b []byte) (c Claim, rest []byte, err error) {
	s, n, err := Peek(b)
	if err != nil {
		return Claim{}, b, err
	}
	w := b[2]
	p := headLen + len(s)
	c.Subject, c.Kind = s, Kind(b[1])
	tw, aw, sw, lw := int(targetWidths[w&3]), int(atWidths[w>>2&3]), int(subWidths[w>>4&3]), int(saysWidths[w>>6])
	c.Witness.Target = uint32(loadUint(b[p:], tw))
	p += tw
	c.Witness.At = loadUint(b[p:], aw)
	p += aw
	c.Witness.Sub = loadUint(b[p:], sw)
	p += sw + lw
	c.Says = b[p:n:n]
	if c.widths() != w {
		return Claim{}, b, fmt.Errorf("%w: width codes %#02x, but its values need %#02x", ErrMalformed, w, c.widths())
	}
	if len(c.Says) > MaxSays {
		return Claim{}, b, fmt.Errorf("%w: payload of %d bytes is longer than %d", ErrMalformed, len(c.Says), MaxSays)
	}
	return c, b[n:], nil
}

func short(b []byte, need int) error {
	return fmt.Errorf("%w: it needs at least %d bytes, %d are left", ErrMalformed, need, len(b))
}

// appendUint appends the low width bytes of v.
func appendUint(dst []byte, v uint64, width uint8) []byte {
	switch width {
	case 0:
		return dst
	case 1:
		return append(dst, byte(v))
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(v))
	case 3:
		return append(dst, byte(v), byte(v>>8), byte(v>>16))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(v))
	case 6:
		return append(dst, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40))
	}
	return binary.LittleEndian.AppendUint64(dst, v)
}

// loadUint reads the first width bytes of b; the caller has checked that b holds
// them.
func loadUint(b []byte, width int) uint64 {
	switch width {
	case 0:
		return 0
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 6:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
	}
	return binary.LittleEndian.Uint64(b)
}
