package treeobj

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SplitKey cuts a KVS key at its dots, like Flux does. Leading, trailing and
// repeated dots count for nothing, so "" and "." are the root: no names.
func SplitKey(key string) []string {
	return strings.FieldsFunc(key, func(r rune) bool { return r == '.' })
}

// JoinKey is the KVS key of a path. Names with a dot (possible only in a
// damaged or hand-made store, no key reaches them) make it ambiguous; use
// FormatKey for what must be read back, and FormatPath for people.
func JoinKey(path []string) string { return strings.Join(path, ".") }

// plainName reports whether a name can stand in a formatted path as it is.
func plainName(name string) bool {
	if name == "" || name[0] == '"' || strings.TrimSpace(name) != name {
		return false
	}
	for _, r := range name {
		if r == '.' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// FormatPath is JoinKey with odd names in Go string syntax: names that are
// empty, hold a dot, begin with a quote, begin or end with white space, or
// hold characters that do not print. ParsePath reads it back.
func FormatPath(path []string) string {
	var sb strings.Builder
	for i, name := range path {
		if i > 0 {
			sb.WriteByte('.')
		}
		if plainName(name) {
			sb.WriteString(name)
		} else {
			sb.WriteString(strconv.Quote(name))
		}
	}
	return sb.String()
}

// FormatKey is JoinKey with those names in Go string syntax that would
// otherwise not be found again: names that are empty, hold a dot, begin with a
// quote, or are no UTF-8. All others stand as they are, so that the key of
// whatever Flux can reach is the one that Flux uses. NamesOf reads it back.
func FormatKey(path []string) string {
	odd := func(name string) bool {
		return name == "" || name[0] == '"' || strings.IndexByte(name, '.') >= 0 || !utf8.ValidString(name)
	}
	if !slices.ContainsFunc(path, odd) {
		return JoinKey(path)
	}
	names := slices.Clone(path)
	for i, name := range names {
		if odd(name) {
			names[i] = strconv.Quote(name)
		}
	}
	return JoinKey(names)
}

// NamesOf reads the output of FormatKey. Anything else is cut as Flux cuts a
// key.
func NamesOf(key string) []string {
	path, err := ParsePath(key)
	if err != nil {
		return SplitKey(key)
	}
	return path
}

// ParsePath reads the output of FormatPath; "" is the empty path.
func ParsePath(s string) ([]string, error) {
	var path []string
	for rest := s; rest != "" || len(path) > 0; {
		var name string
		if strings.HasPrefix(rest, `"`) {
			q, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("path %q: bad quoted name at byte %d", s, len(s)-len(rest))
			}
			if name, err = strconv.Unquote(q); err != nil {
				return nil, fmt.Errorf("path %q: bad quoted name at byte %d", s, len(s)-len(rest))
			}
			rest = rest[len(q):]
		} else {
			n := strings.IndexByte(rest, '.')
			if n < 0 {
				n = len(rest)
			}
			if n == 0 {
				return nil, fmt.Errorf("path %q: empty name at byte %d (write \"\")", s, len(s)-len(rest))
			}
			name, rest = rest[:n], rest[n:]
		}
		path = append(path, name)
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return nil, fmt.Errorf("path %q: '.' is missing at byte %d", s, len(s)-len(rest))
		}
		rest = rest[1:]
	}
	return path, nil
}
