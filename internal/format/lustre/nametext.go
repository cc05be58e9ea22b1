package lustre

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NameText is a name as text for people and for JSON: names that are no text, or hold control characters, are quoted as Go quotes them.
func NameText(name string) string {
	if utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
		return name
	}
	return strconv.Quote(name)
}

// NameRaw gives the bytes of a name that NameText quotes, nil for all others. Text and bytes together say every name.
func NameRaw(name string) []byte {
	if NameText(name) == name {
		return nil
	}
	return []byte(name)
}

// NameOf is the name of which text is NameText and raw is NameRaw.
func NameOf(text string, raw []byte) string {
	if raw != nil {
		return string(raw)
	}
	return text
}
