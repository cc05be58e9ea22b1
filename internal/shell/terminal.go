package shell

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// safeWriter passes text on to a terminal with everything made harmless that is not a line break, a tab or printable.
type safeWriter struct {
	w     io.Writer
	clean func(string) string // harmless form of a text without line breaks and tabs
	part  []byte              // an incomplete character at the end of the last write
	last  byte                // last byte written, 0 before the first
}

// Write implements io.Writer.
func (s *safeWriter) Write(p []byte) (int, error) {
	text := append(s.part, p...)
	s.part = nil
	if cut := incomplete(text); cut > 0 {
		s.part = bytes.Clone(text[len(text)-cut:])
		text = text[:len(text)-cut]
	}
	if err := s.put(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes what is left and, if the last line is not ended, a line break.
func (s *safeWriter) end() error {
	err := s.put(s.part)
	s.part = nil
	if err == nil && s.last != '\n' && s.last != 0 {
		_, err = io.WriteString(s.w, "\n")
	}
	s.last = 0
	return err
}

func (s *safeWriter) put(text []byte) error {
	var out []byte
	for len(text) > 0 {
		i := bytes.IndexAny(text, "\n\t")
		if i < 0 {
			i = len(text)
		}
		out = append(out, s.clean(string(text[:i]))...)
		if i < len(text) {
			out = append(out, text[i])
			i++
		}
		text = text[i:]
	}
	if len(out) == 0 {
		return nil
	}
	s.last = out[len(out)-1]
	_, err := s.w.Write(out)
	return err
}

// incomplete is how many bytes at the end of b begin a character that goes on in the next write.
func incomplete(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		c := b[len(b)-n]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
