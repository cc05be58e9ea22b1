package thinmeta

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// XMLError says where thin_dump XML cannot be understood. It wraps ErrDamaged.
type XMLError struct {
	Line int64 // from 1
	Text string
}

func (e *XMLError) Error() string { return fmt.Sprintf("thin XML, line %d: %s", e.Line, e.Text) }

// Unwrap gives ErrDamaged.
func (e *XMLError) Unwrap() error { return ErrDamaged }

// Bounds of what the scanner takes. thin_dump stays far below.
const (
	maxTag   = 64 << 10
	maxAttrs = 32
)

// tag is one element's beginning or end.
type tag struct {
	name  string
	end   bool // </name>
	empty bool // <name/>
	attrs []attr
}

type attr struct{ name, value []byte }

// elementNames are what thin_dump writes, so that reading such a name takes no memory.
var elementNames = [...]string{"range_mapping", "single_mapping", "device", "ref", "def", "superblock"}

func elementName(b []byte) string {
	for _, name := range elementNames {
		if string(b) == name {
			return name
		}
	}
	return string(b)
}

// scanner cuts thin_dump XML into tags. It knows as much of XML as thin_dump writes: elements with attributes and nothing between
// them, comments and declarations. It is ten times as fast as a general parser, which matters for dumps of gigabytes.
type scanner struct {
	r    *bufio.Reader
	left int64 // bytes that may still be read
	line int64
	buf  []byte
	tag  tag
}

func newScanner(r io.Reader, limit int64) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 256<<10), left: limit, line: 1}
}

func (s *scanner) fail(format string, args ...any) error {
	return &XMLError{Line: s.line, Text: fmt.Sprintf(format, args...)}
}

// next gives the next tag, or io.EOF at the end of the input. It is valid until the next call.
func (s *scanner) next() (*tag, error) {
	for {
		if err := s.skipSpace(); err != nil {
			return nil, err
		}
		body, err := s.readTag()
		if err != nil {
			return nil, err
		}
		if len(body) > 0 && (body[0] == '?' || body[0] == '!') {
			continue
		}
		return &s.tag, s.parse(body)
	}
}

// skipSpace reads up to and including the next '<'.
func (s *scanner) skipSpace() error {
	for {
		c, err := s.readByte()
		switch {
		case err != nil:
			return err
		case c == '<':
			return nil
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return s.fail("text %q between elements", c)
		}
	}
}

func (s *scanner) readByte() (byte, error) {
	if s.left <= 0 {
		return 0, s.fail("more input than the limit allows")
	}
	c, err := s.r.ReadByte()
	if err != nil {
		return 0, err
	}
	s.left--
	if c == '\n' {
		s.line++
	}
	return c, nil
}

// readTag reads up to the '>' that ends a tag, and gives what is before it.
func (s *scanner) readTag() ([]byte, error) {
	s.buf = s.buf[:0]
	for {
		part, err := s.r.ReadSlice('>')
		s.left -= int64(len(part))
		s.line += int64(bytes.Count(part, []byte{'\n'}))
		s.buf = append(s.buf, part...)
		if len(s.buf) > maxTag {
			return nil, s.fail("element of more than %d bytes", maxTag)
		}
		if s.left < 0 {
			return nil, s.fail("more input than the limit allows")
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil, s.fail("the input ends inside an element")
		case err != nil:
			return nil, err
		}
		// A '>' inside a comment or inside quotes does not end it.
		if open := bytes.HasPrefix(s.buf, []byte("!--")) && (len(s.buf) < 6 || !bytes.HasSuffix(s.buf, []byte("-->"))); open {
			continue
		}
		if s.buf[0] != '!' && bytes.Count(s.buf, []byte{'"'})%2 == 1 {
			continue
		}
		return s.buf[:len(s.buf)-1], nil
	}
}

// parse fills s.tag.
func (s *scanner) parse(b []byte) error {
	t := &s.tag
	*t = tag{attrs: t.attrs[:0]}
	if t.end = len(b) > 0 && b[0] == '/'; t.end {
		b = b[1:]
	}
	if t.empty = len(b) > 0 && b[len(b)-1] == '/'; t.empty {
		b = b[:len(b)-1]
	}
	b = bytes.TrimRight(b, " \t\r\n")
	n := bytes.IndexAny(b, " \t\r\n")
	if n < 0 {
		n = len(b)
	}
	if t.name = elementName(b[:n]); t.name == "" || t.end && n < len(b) {
		return s.fail("malformed element")
	}
	for b = b[n:]; len(b) > 0; {
		b = bytes.TrimLeft(b, " \t\r\n")
		eq := bytes.IndexByte(b, '=')
		if eq <= 0 {
			return s.fail("malformed attribute in <%s>", t.name)
		}
		name := bytes.TrimRight(b[:eq], " \t\r\n")
		b = bytes.TrimLeft(b[eq+1:], " \t\r\n")
		if len(b) == 0 || b[0] != '"' && b[0] != '\'' {
			return s.fail("value of attribute %q in <%s> has no quotes", name, t.name)
		}
		end := bytes.IndexByte(b[1:], b[0])
		if end < 0 {
			return s.fail("value of attribute %q in <%s> does not end", name, t.name)
		}
		if len(t.attrs) == maxAttrs {
			return s.fail("<%s> has more than %d attributes", t.name, maxAttrs)
		}
		t.attrs = append(t.attrs, attr{name, b[1 : 1+end]})
		b = b[end+2:]
	}
	return nil
}

var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&")

func unescape(v string) string {
	if strings.IndexByte(v, '&') < 0 {
		return v
	}
	return entities.Replace(v)
}

// raw gives an attribute as it stands there.
func (t *tag) raw(name string) (value []byte, ok bool) {
	for _, a := range t.attrs {
		if string(a.name) == name {
			return a.value, true
		}
	}
	return nil, false
}

// text gives an attribute as text, "" when there is none.
func (t *tag) text(name string) (value string, ok bool) {
	v, ok := t.raw(name)
	return unescape(string(v)), ok
}

// number gives an attribute that must be there and be a number of at most bits bits.
func (s *scanner) number(name string, bits int) (uint64, error) {
	v, ok := s.tag.raw(name)
	if !ok {
		return 0, s.fail("<%s> has no attribute %q", s.tag.name, name)
	}
	n, err := strconv.ParseUint(string(v), 10, bits)
	if err != nil {
		return 0, s.fail("attribute %s=%q of <%s> is not a number of %d bits", name, v, s.tag.name, bits)
	}
	return n, nil
}
