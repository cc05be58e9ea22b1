package treeobj

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Alg is a content hash algorithm. The zero value means "no reference".
type Alg uint8

// The two algorithms Flux knows (broker attribute content.hash).
const (
	SHA1   Alg = 1
	SHA256 Alg = 2
)

// Sizes of the raw hashes in bytes.
const (
	SHA1Size   = sha1.Size
	SHA256Size = sha256.Size
)

// Size is the length of the raw hash in bytes, 0 for an unknown algorithm.
func (a Alg) Size() int {
	switch a {
	case SHA1:
		return SHA1Size
	case SHA256:
		return SHA256Size
	}
	return 0
}

// String is the name Flux uses: "sha1" or "sha256".
func (a Alg) String() string {
	switch a {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	}
	return "none"
}

// ParseAlg reads an algorithm name ("sha1", "sha256").
func ParseAlg(s string) (Alg, error) {
	switch s {
	case "sha1":
		return SHA1, nil
	case "sha256":
		return SHA256, nil
	}
	return 0, fmt.Errorf("unknown hash type %q (known: sha1, sha256)", s)
}

// Ref is one blob reference: algorithm and hash. It is comparable and can be a
// map key. The zero Ref is "no reference".
type Ref struct {
	alg Alg
	sum [SHA256Size]byte
}

// ErrBadRef is wrapped by every error of ParseRef and RefFromHash.
var ErrBadRef = errors.New("not a blobref")

// Alg is the hash algorithm.
func (r Ref) Alg() Alg { return r.alg }

// IsZero reports whether r is "no reference".
func (r Ref) IsZero() bool { return r.alg == 0 }

// Sum is a copy of the raw hash: 20 or 32 bytes, nil for the zero Ref.
func (r Ref) Sum() []byte {
	if r.alg == 0 {
		return nil
	}
	return bytes.Clone(r.sum[:r.alg.Size()])
}

// AppendSum appends the raw hash (20 or 32 bytes) to dst.
func (r Ref) AppendSum(dst []byte) []byte { return append(dst, r.sum[:r.alg.Size()]...) }

// Compare orders references by algorithm, then by hash bytes.
func (r Ref) Compare(o Ref) int {
	if r.alg != o.alg {
		return int(r.alg) - int(o.alg)
	}
	return bytes.Compare(r.sum[:], o.sum[:])
}

// AppendText appends the text form ("sha1-" and 40, or "sha256-" and 64 lower
// case hex digits). It never fails; the zero Ref appends nothing.
func (r Ref) AppendText(dst []byte) ([]byte, error) {
	if r.alg == 0 {
		return dst, nil
	}
	dst = append(dst, r.alg.String()...)
	dst = append(dst, '-')
	return hex.AppendEncode(dst, r.sum[:r.alg.Size()]), nil
}

// String is the text form, "" for the zero Ref.
func (r Ref) String() string {
	var buf [72]byte
	b, _ := r.AppendText(buf[:0]) // never fails
	return string(b)
}

// RefFromHash makes a reference of a raw hash; its length (20 or 32 bytes)
// tells the algorithm, as in the objects table of content.sqlite.
func RefFromHash(h []byte) (Ref, error) {
	var r Ref
	switch len(h) {
	case SHA1Size:
		r.alg = SHA1
	case SHA256Size:
		r.alg = SHA256
	default:
		return Ref{}, fmt.Errorf("%w: raw hash of %d bytes (want 20 or 32)", ErrBadRef, len(h))
	}
	copy(r.sum[:], h)
	return r, nil
}

// Hash is the reference of a blob with this content.
// It panics on an unknown algorithm, which is a programming error.
func Hash(a Alg, content []byte) Ref {
	r := Ref{alg: a}
	switch a {
	case SHA1:
		h := sha1.Sum(content)
		copy(r.sum[:], h[:])
	case SHA256:
		r.sum = sha256.Sum256(content)
	default:
		panic("treeobj: Hash with unknown algorithm")
	}
	return r
}

// ParseRef reads the text form. Upper case hex, other lengths and other
// algorithms are errors, as in Flux's blobref_validate.
func ParseRef(s string) (Ref, error) {
	r, ok := parseRef([]byte(s))
	if !ok {
		return Ref{}, fmt.Errorf("%w: %s", ErrBadRef, quoteShort([]byte(s)))
	}
	return r, nil
}

// Text lengths of the two forms.
const (
	sha1Text   = 5 + 2*SHA1Size
	sha256Text = 7 + 2*SHA256Size
)

func parseRef(b []byte) (r Ref, ok bool) {
	switch {
	case len(b) == sha1Text && string(b[:5]) == "sha1-":
		r.alg = SHA1
		return r, unhex(r.sum[:SHA1Size], b[5:])
	case len(b) == sha256Text && string(b[:7]) == "sha256-":
		r.alg = SHA256
		return r, unhex(r.sum[:], b[7:])
	}
	return Ref{}, false
}

// hexval maps '0'-'9' and 'a'-'f' to 0-15, everything else to 0xff.
var hexval = func() (t [256]uint8) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = uint8(i)
	}
	for i := range 6 {
		t['a'+i] = uint8(10 + i)
	}
	return t
}()

// unhex decodes len(dst)*2 lower case digits. All digits are looked at before
// the verdict, so the loop has no branch on the data.
func unhex(dst, src []byte) bool {
	var bad uint8
	src = src[:2*len(dst)]
	for i := range dst {
		hi, lo := hexval[src[2*i]], hexval[src[2*i+1]]
		bad |= hi | lo
		dst[i] = hi<<4 | lo&0x0f
	}
	return bad < 0x10
}
