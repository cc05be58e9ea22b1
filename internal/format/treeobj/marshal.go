package treeobj

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Flux writes objects with json_dumps(JSON_COMPACT|JSON_SORT_KEYS): keys in
// byte order, hence data, type, ver; namespace, target.

const hexUpper = "0123456789ABCDEF"

// AppendString appends s as a JSON string the way jansson does: only '"', '\'
// and characters below 0x20 are escaped; '/', DEL and non-ASCII are not.
// s must be valid UTF-8 without NUL.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return append(dst, '"')
}

func finishObject(dst []byte, t Type) []byte {
	dst = append(dst, `,"type":"`...)
	dst = append(dst, t.String()...)
	return append(dst, `","ver":1}`...)
}

// InlineLimit is the longest content in bytes that Flux keeps inline as val
// when a value is put; longer content becomes a valref.
const InlineLimit = 54

// NewVal is a val object with this content.
func NewVal(content []byte) []byte {
	dst := append(make([]byte, 0, 40+base64.StdEncoding.EncodedLen(len(content))), `{"data":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, content)
	return finishObject(append(dst, '"'), TypeVal)
}

func newRefs(t Type, refs []Ref) []byte {
	dst := append(make([]byte, 0, 48+75*len(refs)), `{"data":[`...)
	for i, r := range refs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst, _ = r.AppendText(dst) // never fails
		dst = append(dst, '"')
	}
	return finishObject(append(dst, ']'), t)
}

// NewValref is a valref object. It needs at least one reference, none zero.
func NewValref(refs ...Ref) ([]byte, error) {
	if len(refs) == 0 {
		return nil, errors.New("valref without any blobref")
	}
	if slices.ContainsFunc(refs, Ref.IsZero) {
		return nil, errors.New("valref with a zero blobref")
	}
	return newRefs(TypeValref, refs), nil
}

// NewDirref is a dirref object; ref must not be zero.
func NewDirref(ref Ref) ([]byte, error) {
	if ref.IsZero() {
		return nil, errors.New("dirref with a zero blobref")
	}
	return newRefs(TypeDirref, []Ref{ref}), nil
}

// NewSymlink is a symlink object. The namespace is left out if hasNS is false.
func NewSymlink(target, ns string, hasNS bool) ([]byte, error) {
	if err := checkText("symlink target", target); err != nil {
		return nil, err
	}
	if err := checkText("symlink namespace", ns); err != nil {
		return nil, err
	}
	dst := []byte(`{"data":{`)
	if hasNS {
		dst = append(dst, `"namespace":`...)
		dst = append(AppendString(dst, ns), ',')
	}
	dst = append(dst, `"target":`...)
	dst = append(AppendString(dst, target), '}')
	return finishObject(dst, TypeSymlink), nil
}

// checkText refuses what jansson cannot hold in a string.
func checkText(what, s string) error {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("%s %s: not UTF-8 or holds a NUL", what, quoteShort([]byte(s)))
	}
	return nil
}
