// Package hostlist reads and writes the two list notations of Flux: host lists
// ("node[0-3,7],login", RFC 29) and id sets ("0-3,7", RFC 22).
//
// Invariants: order and duplicates of a host list are kept, because its n-th
// host belongs to the n-th id of an id set. What a short text may expand to is
// bounded by MaxHosts and MaxBytes; an id set is never expanded by reading it.
//
// The room must NOT resolve host names or know which rank a host has.
package hostlist

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of Parse. Flux itself limits one range to 2^20 hosts.
const (
	MaxHosts = 1 << 20  // hosts of one list
	MaxName  = 1024     // bytes of one host name
	MaxBytes = 64 << 20 // bytes of all names together
)

// Errors wrapped by all errors of this package.
var (
	ErrSyntax = errors.New("malformed list")
	ErrLimit  = errors.New("list is too long")
)

func bad(err error, what, s string, off int, why string) error {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return fmt.Errorf("%s %q: %w: byte %d: %s", what, s, err, off, why)
}

// parser expands one host list.
type parser struct {
	limit int
	src   string
	hosts []string
	bytes int
}

func (p *parser) fail(err error, off int, why string) error {
	return bad(err, "host list", p.src, off, why)
}

func (p *parser) add(off int, name string) error {
	if len(name) > MaxName {
		return p.fail(ErrLimit, off, "a host name is longer than 1024 bytes")
	}
	p.bytes += len(name)
	if len(p.hosts) >= p.limit || p.bytes > MaxBytes {
		return p.fail(ErrLimit, off, "more than 2^20 hosts or 64 MiB of names")
	}
	p.hosts = append(p.hosts, name)
	return nil
}

// Parse expands a host list. Separators are comma, space and tab; empty items
// are skipped. One item has at most one bracket with numbers and ranges; zeros
// in front of the first number of a range set the width. "" is no host.
func Parse(s string) ([]string, error) { return ParseMax(s, MaxHosts) }

// ParseMax is Parse for lists of at most limit hosts; a longer one is an error before it is expanded further.
func ParseMax(s string, limit int) ([]string, error) {
	p := &parser{src: s, limit: min(limit, MaxHosts)}
	for i := 0; i < len(s); {
		if strings.IndexByte(", \t", s[i]) >= 0 {
			i++
			continue
		}
		end := itemEnd(s, i)
		if err := p.item(i, s[i:end]); err != nil {
			return nil, err
		}
		i = end
	}
	return p.hosts, nil
}

// itemEnd is where the item that starts at i ends; separators inside a bracket
// belong to the item.
func itemEnd(s string, i int) int {
	inside := false
	for ; i < len(s); i++ {
		switch s[i] {
		case '[':
			inside = true
		case ']':
			inside = false
		case ',', ' ', '\t':
			if !inside {
				return i
			}
		}
	}
	return i
}

func (p *parser) item(off int, item string) error {
	prefix, rest, ok := strings.Cut(item, "[")
	if !ok {
		if strings.Contains(item, "]") {
			return p.fail(ErrSyntax, off, "']' without '['")
		}
		return p.add(off, item)
	}
	list, suffix, ok := strings.Cut(rest, "]")
	if !ok || strings.Contains(prefix, "]") || strings.ContainsAny(suffix, "[]") || strings.Contains(list, "[") {
		return p.fail(ErrSyntax, off, "brackets do not match")
	}
	off += len(prefix) + 1
	for _, r := range strings.Split(list, ",") {
		if err := p.numbers(off, prefix, r, suffix); err != nil {
			return err
		}
		off += len(r) + 1
	}
	return nil
}

// numbers expands one "7" or "08-12" between brackets.
func (p *parser) numbers(off int, prefix, r, suffix string) error {
	loText, hiText, isRange := strings.Cut(r, "-")
	if !isRange {
		hiText = loText
	}
	lo, ok1 := number(loText)
	hi, ok2 := number(hiText)
	if !ok1 || !ok2 || lo > hi {
		return p.fail(ErrSyntax, off, "not a number or an ascending range")
	}
	if hi-lo >= MaxHosts || len(loText) > MaxName {
		return p.fail(ErrLimit, off, "a range of more than 2^20 hosts")
	}
	for n := lo; n <= hi; n++ {
		if err := p.add(off, prefix+pad(n, len(loText))+suffix); err != nil {
			return err
		}
	}
	return nil
}

// number reads up to 18 significant decimal digits (leading zeros are free).
func number(s string) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	t := strings.TrimLeft(s, "0")
	if t == "" {
		return 0, true
	}
	if len(t) > 18 {
		return 0, false
	}
	v, err := strconv.ParseUint(t, 10, 64)
	return v, err == nil
}

func pad(n uint64, width int) string {
	s := strconv.FormatUint(n, 10)
	if len(s) < width {
		return strings.Repeat("0", width-len(s)) + s
	}
	return s
}

// suffixOf splits a host name before its last run of digits. isNum is false
// if there is none or the number is too long to count with.
func suffixOf(host string) (prefix, digits string, n uint64, isNum bool) {
	i := len(host)
	for i > 0 && host[i-1] >= '0' && host[i-1] <= '9' {
		i--
	}
	n, isNum = number(host[i:])
	return host[:i], host[i:], n, isNum
}

// Check reports a host name that cannot stand in a list: empty, too long, or
// with a bracket, comma, space or tab.
func Check(host string) error {
	if host == "" || len(host) > MaxName || strings.ContainsAny(host, ",[] \t") {
		return bad(ErrSyntax, "host name", host, 0, "empty, too long, or holds one of the characters , [ ] space tab")
	}
	return nil
}

// Format writes hosts in their order, neighbours with the same prefix in one
// bracket: Parse gives the same hosts back. Every name must pass Check.
func Format(hosts []string) (string, error) {
	var sb strings.Builder
	for i := 0; i < len(hosts); {
		if err := Check(hosts[i]); err != nil {
			return "", err
		}
		if i > 0 {
			sb.WriteByte(',')
		}
		ranges, next := group(hosts, i)
		prefix, _, _, isNum := suffixOf(hosts[i])
		switch {
		case !isNum:
			sb.WriteString(hosts[i])
		case next == i+1:
			sb.WriteString(hosts[i])
		default:
			sb.WriteString(prefix + "[" + strings.Join(ranges, ",") + "]")
		}
		i = next
	}
	return sb.String(), nil
}

// group collects the numbers of the hosts from i on that share a prefix.
func group(hosts []string, i int) (ranges []string, next int) {
	prefix, digits, n, isNum := suffixOf(hosts[i])
	if !isNum {
		return nil, i + 1
	}
	first, last, lastN := digits, digits, n
	flush := func() {
		if first == last {
			ranges = append(ranges, first)
		} else {
			ranges = append(ranges, first+"-"+last)
		}
	}
	for next = i + 1; next < len(hosts); next++ {
		p, d, m, ok := suffixOf(hosts[next])
		if !ok || p != prefix {
			break
		}
		if m == lastN+1 && d == pad(m, len(first)) {
			last, lastN = d, m
			continue
		}
		flush()
		first, last, lastN = d, d, m
	}
	flush()
	return ranges, next
}
