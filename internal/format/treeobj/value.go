package treeobj

import (
	"encoding/base64"
	"fmt"
)

var b64Class = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = true
	}
	return t
}()

// validBase64 accepts the standard alphabet with padding, nothing else: no
// line breaks and no bits set behind the last byte.
func validBase64(b []byte) bool {
	if len(b)%4 != 0 {
		return false
	}
	n := len(b)
	pad := 0
	for pad < 2 && n > 0 && b[n-1] == '=' {
		n--
		pad++
	}
	for _, c := range b[:n] {
		if !b64Class[c] {
			return false
		}
	}
	if pad == 0 {
		return true
	}
	last := b64Value(b[n-1])
	return pad == 1 && last&3 == 0 || pad == 2 && last&15 == 0
}

func b64Value(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A'
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26
	case c >= '0' && c <= '9':
		return c - '0' + 52
	case c == '+':
		return 62
	}
	return 63
}

// Value decodes the content of a val. Other types are an error, as is data
// that breaks RuleBase64.
func (e *Entry) Value() ([]byte, error) {
	if e.Type != TypeVal {
		return nil, fmt.Errorf("value of %s: the entry is a %s, not a val", quoteShort(e.Name), e.Type)
	}
	t, ok := dataString(e.Data())
	if !ok {
		return nil, fmt.Errorf("value of %s: data is not a string", quoteShort(e.Name))
	}
	if !validBase64(t) {
		return nil, fmt.Errorf("value of %s: data %s is not standard padded base64", quoteShort(e.Name), quoteShort(t))
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(t)))
	n, err := base64.StdEncoding.Decode(out, t)
	if err != nil {
		return nil, fmt.Errorf("value of %s: %w", quoteShort(e.Name), err)
	}
	return out[:n], nil
}

// dataString decodes a data value that is one JSON string.
func dataString(data []byte) ([]byte, bool) {
	s := Scanner{b: data}
	var f frame
	if s.at(0) != '"' {
		return nil, false
	}
	t, ok := s.str(0, &f)
	if !ok || f.rule != RuleNone {
		return nil, false
	}
	return t.text(), true
}

// Symlink gives target and namespace of a symlink. hasNS is false when there is
// no namespace member. ok is false if the entry is not a symlink with a target.
func (e *Entry) Symlink() (target, ns string, hasNS, ok bool) {
	if e.Type != TypeSymlink || e.Rule.FluxRejects() {
		return "", "", false, false
	}
	s := Scanner{b: e.Data()}
	var f frame
	for i := s.ws(1); s.at(i) == '"'; {
		t, j, good := s.key(i, &f)
		if !good {
			return "", "", false, false
		}
		end, good := s.value(j, 1, &f)
		if !good {
			return "", "", false, false
		}
		switch {
		case t.is("target"):
			v, _ := dataString(s.b[j:end])
			target, ok = string(v), true
		case t.is("namespace"):
			v, _ := dataString(s.b[j:end])
			ns, hasNS = string(v), true
		}
		if i = s.ws(end); s.at(i) == ',' {
			i = s.ws(i + 1)
		}
	}
	return target, ns, hasNS, ok
}
