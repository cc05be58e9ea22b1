package shell

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"fettle/internal/fault"
)

// errQuote is for lines that end within quotes.
var errQuote = errors.New("a quote is not closed")

// words cuts a command line at white space. Single quotes keep everything between them as it is; double quotes too, with the escapes
// of Go strings (\n, \x1b, \"); a backslash outside of quotes keeps the next character. "#" at the beginning of a word starts a comment.
func words(line string) ([]string, error) {
	var out []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); {
		c := line[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
			i++
		case c == '#' && !inWord:
			return out, nil
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, usage("write '...' or \"...\"", errQuote)
			}
			word.WriteString(line[i+1 : i+1+end])
			inWord = true
			i += end + 2
		case c == '"':
			text, n, err := doubleQuoted(line[i:])
			if err != nil {
				return nil, usage("in double quotes escapes are those of Go: \\n, \\x1b, \\\"; in single quotes there are none", err)
			}
			word.WriteString(text)
			inWord = true
			i += n
		case c == '\\' && i+1 < len(line):
			word.WriteByte(line[i+1])
			inWord = true
			i += 2
		default:
			word.WriteByte(c)
			inWord = true
			i++
		}
	}
	if inWord {
		out = append(out, word.String())
	}
	return out, nil
}

// doubleQuoted reads the quoted text that s begins with and its length in s.
func doubleQuoted(s string) (text string, n int, err error) {
	var b strings.Builder
	for rest := s[1:]; rest != ""; {
		if rest[0] == '"' {
			return b.String(), len(s) - len(rest) + 1, nil
		}
		r, multi, tail, err := strconv.UnquoteChar(rest, '"')
		if err != nil {
			return "", 0, fmt.Errorf("bad escape near %q", rest[:min(len(rest), 8)])
		}
		if multi {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		rest = tail
	}
	return "", 0, errQuote
}

// quote writes a word so that words reads it back.
func quote(word string) string {
	plain := word != "" && word[0] != '#' && strings.IndexFunc(word, func(r rune) bool {
		return unicode.IsSpace(r) || r == '\'' || r == '"' || r == '\\' || !unicode.IsPrint(r)
	}) < 0
	switch {
	case plain:
		return word
	case strings.IndexFunc(word, func(r rune) bool { return r == '\'' || !unicode.IsPrint(r) }) < 0:
		return "'" + word + "'"
	}
	return strconv.Quote(word)
}

// options takes the options off args. Each letter of plain is one without a value, each word of valued ("d", "name") one that takes the
// next argument. Options end at the first argument that is none, or behind "--"; those after paths are found too, as in
// "find job -name x".
func options(args []string, plain string, valued ...string) (set map[string]string, rest []string, err error) {
	set = map[string]string{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return set, append(rest, args[i+1:]...), nil
		}
		name, isOption := strings.CutPrefix(a, "-")
		if !isOption || name == "" {
			rest = append(rest, a)
			continue
		}
		if contains(valued, name) {
			if i+1 == len(args) {
				return nil, nil, usage("", fmt.Errorf("-%s needs a value", name))
			}
			i++
			set[name] = args[i]
			continue
		}
		if len(name) > 1 && contains(strings.Fields(plain), name) {
			set[name] = ""
			continue
		}
		for _, r := range name {
			if !contains(strings.Fields(plain), string(r)) {
				return nil, nil, usage("a name that begins with - goes behind --", fmt.Errorf("unknown option -%s", name))
			}
			set[string(r)] = ""
		}
	}
	return set, rest, nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// usage is an error about the command line that was typed.
func usage(hint string, err error) error { return fault.NewUsage(err, hint) }
