package treeobj

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is the nesting limit of jansson's parser (JSON_PARSER_MAX_DEPTH).
// The outermost value has depth 1 and every value inside counts, also strings
// and numbers. One level of inline directory costs two.
const MaxDepth = 2048

// Byte classes inside a JSON string.
const (
	clsPlain = iota
	clsQuote
	clsEscape
	clsControl
	clsHigh // first bit set: must be part of UTF-8
)

var strClass = func() (t [256]uint8) {
	for i := range 0x20 {
		t[i] = clsControl
	}
	for i := 0x80; i < 0x100; i++ {
		t[i] = clsHigh
	}
	t['"'], t['\\'] = clsQuote, clsEscape
	return t
}()

// strTok is one scanned string. body is the text between the quotes.
type strTok struct {
	body    []byte
	escaped bool // body holds escapes
	high    bool // body holds bytes above 0x7f
	end     int  // offset after the closing quote
}

// text is the decoded string; it allocates only when there are escapes.
// Call it only for strings that were scanned without a note.
func (t strTok) text() []byte {
	if !t.escaped {
		return t.body
	}
	out, _, _ := unescape(make([]byte, 0, len(t.body)), t.body, true)
	return out
}

// str scans a string whose opening quote is at i. ok is false when it does not
// end. Faults inside the string are noted in f and do not stop the scan: the
// end of the string is still certain.
func (s *Scanner) str(i int, f *frame) (t strTok, ok bool) {
	b := s.b
	start := i + 1
	for j := start; j < len(b); j++ {
		switch strClass[b[j]] {
		case clsPlain:
		case clsQuote:
			t.body, t.end = b[start:j], j+1
			if t.escaped || t.high {
				s.checkString(t, start, f)
			}
			return t, true
		case clsEscape:
			t.escaped = true
			j++
		case clsHigh:
			t.high = true
		case clsControl:
			s.fault(f, RuleJSON, j, "raw control character in a string")
		}
	}
	s.broken(len(b), "text ends inside a string")
	return t, false
}

// checkString notes bad escapes and bad UTF-8.
func (s *Scanner) checkString(t strTok, start int, f *frame) {
	if t.escaped {
		s.scratch = s.scratch[:0]
		var bad int
		var why string
		if s.scratch, bad, why = unescape(s.scratch, t.body, s.allowNUL); why != "" {
			s.fault(f, RuleJSON, start+bad, why)
		}
	}
	if t.high && !utf8.Valid(t.body) {
		s.fault(f, RuleUTF8, start+firstBadUTF8(t.body), "invalid UTF-8 in a string")
	}
}

func firstBadUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// unescape appends the decoded form of a string body to dst. why is "" on
// success; else bad is the offset of the fault. A NUL is a fault unless allowed,
// because jansson refuses it by default.
func unescape(dst, body []byte, allowNUL bool) (out []byte, bad int, why string) {
	for i := 0; i < len(body); {
		c := body[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		if i+1 >= len(body) {
			return dst, i, "incomplete escape"
		}
		switch e := body[i+1]; e {
		case '"', '\\', '/':
			dst = append(dst, e)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unescapeU(body[i:])
			if n == 0 {
				return dst, i, "bad \\u escape"
			}
			if r == 0 && !allowNUL {
				return dst, i, "NUL character in a string"
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		default:
			return dst, i, "unknown escape"
		}
		i += 2
	}
	return dst, 0, ""
}

// unescapeU reads \uXXXX or a surrogate pair at the start of b and returns the
// rune and the bytes used; 0 bytes means it is malformed.
func unescapeU(b []byte) (rune, int) {
	hi, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(hi) {
		return hi, 6
	}
	lo, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	r := utf16.DecodeRune(hi, lo)
	if r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var v rune
	for _, c := range b[2:6] {
		d := hexval[c|0x20]
		if d == 0xff || (c < '0') {
			return 0, false
		}
		v = v<<4 | rune(d)
	}
	return v, true
}

// ws skips the four white space bytes of JSON.
func (s *Scanner) ws(i int) int {
	for i < len(s.b) {
		switch s.b[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// at is the byte at i, 0 at the end of the text (a NUL is no token either).
func (s *Scanner) at(i int) byte {
	if i < len(s.b) {
		return s.b[i]
	}
	return 0
}

// value skips one JSON value of any kind whose first byte is at i.
func (s *Scanner) value(i, depth int, f *frame) (end int, ok bool) {
	if depth > MaxDepth {
		return i, s.brokenDepth(i)
	}
	switch c := s.at(i); {
	case c == '"':
		t, ok := s.str(i, f)
		return t.end, ok
	case c == '{':
		return s.skipObject(i, depth, f)
	case c == '[':
		return s.skipArray(i, depth, f)
	case c == '-' || c >= '0' && c <= '9':
		_, end, ok := s.number(i, f)
		return end, ok
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return s.word(i)
	}
	return i, s.broken(i, "a value is missing")
}

func (s *Scanner) skipObject(i, depth int, f *frame) (int, bool) {
	i = s.ws(i + 1)
	if s.at(i) == '}' {
		return i + 1, true
	}
	for {
		_, j, ok := s.key(i, f)
		if !ok {
			return i, false
		}
		if i, ok = s.value(j, depth+1, f); !ok {
			return i, false
		}
		i = s.ws(i)
		if s.at(i) != ',' {
			break
		}
		i = s.ws(i + 1)
	}
	if s.at(i) != '}' {
		return i, s.broken(i, "'}' is missing")
	}
	return i + 1, true
}

func (s *Scanner) skipArray(i, depth int, f *frame) (int, bool) {
	i = s.ws(i + 1)
	if s.at(i) == ']' {
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = s.value(i, depth+1, f); !ok {
			return i, false
		}
		i = s.ws(i)
		if s.at(i) != ',' {
			break
		}
		i = s.ws(i + 1)
	}
	if s.at(i) != ']' {
		return i, s.broken(i, "']' is missing")
	}
	return i + 1, true
}

// key reads `"name" :` at i; vi is where the value starts.
func (s *Scanner) key(i int, f *frame) (t strTok, vi int, ok bool) {
	if s.at(i) != '"' {
		return t, i, s.broken(i, "a key is missing")
	}
	if t, ok = s.str(i, f); !ok {
		return t, i, false
	}
	j := t.end
	if s.at(j) != ':' {
		if j = s.ws(j); s.at(j) != ':' {
			return t, j, s.broken(j, "':' is missing")
		}
	}
	return t, s.ws(j + 1), true
}

// word reads true, false or null.
func (s *Scanner) word(i int) (int, bool) {
	j := i
	for j < len(s.b) && (s.b[j]|0x20 >= 'a' && s.b[j]|0x20 <= 'z') {
		j++
	}
	switch string(s.b[i:j]) {
	case "true", "false", "null":
		return j, true
	}
	return i, s.broken(i, "unknown word")
}

// numTok is a scanned number.
type numTok struct {
	isInt bool
	val   int64 // if isInt and in range
}

// number reads a number. Out of range numbers are noted: jansson refuses them.
func (s *Scanner) number(i int, f *frame) (n numTok, end int, ok bool) {
	j := i
	if s.at(j) == '-' {
		j++
	}
	switch {
	case s.at(j) == '0':
		j++
	case isDigit(s.at(j)):
		j = s.digits(j)
	default:
		return n, i, s.broken(j, "a digit is missing in a number")
	}
	n.isInt = true
	if s.at(j) == '.' {
		n.isInt = false
		if !isDigit(s.at(j + 1)) {
			return n, i, s.broken(j+1, "a digit is missing in a number")
		}
		j = s.digits(j + 1)
	}
	if s.at(j) == 'e' || s.at(j) == 'E' {
		n.isInt = false
		j++
		if s.at(j) == '+' || s.at(j) == '-' {
			j++
		}
		if !isDigit(s.at(j)) {
			return n, i, s.broken(j, "a digit is missing in a number")
		}
		j = s.digits(j)
	}
	if j == i+1 { // the common "1"
		n.val = int64(s.b[i] - '0')
		return n, j, true
	}
	var err error
	if n.isInt {
		n.val, err = strconv.ParseInt(string(s.b[i:j]), 10, 64)
	} else {
		_, err = strconv.ParseFloat(string(s.b[i:j]), 64)
	}
	if err != nil {
		s.fault(f, RuleJSON, i, "number out of range")
	}
	return n, j, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *Scanner) digits(i int) int {
	for isDigit(s.at(i)) {
		i++
	}
	return i
}
