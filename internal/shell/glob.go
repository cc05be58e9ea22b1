package shell

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// maxMatches bounds how many nodes one pattern may stand for.
const maxMatches = 100000

func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// match tells whether the whole name fits the pattern: * is any text, ? one character, [a-z] and [^a-z] one of a set. A bracket that is
// not closed stands for itself. Nothing else is special; time is at most the product of the lengths.
func match(pattern, name string) bool {
	// star remembers the last * met, and how much of name it has taken so far.
	p, n := 0, 0
	star, taken := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, taken = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if pn, nn, ok := matchOne(pattern[p:], name[n:]); ok {
				p, n = p+pn, n+nn
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(name[taken:])
		taken += size
		p, n = star+1, taken
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one character of name; pn and nn are the lengths of what was used.
func matchOne(pattern, name string) (pn, nn int, ok bool) {
	r, nn := utf8.DecodeRuneInString(name)
	switch pattern[0] {
	case '?':
		return 1, nn, true
	case '[':
		if in, size, closed := matchSet(pattern, r); closed {
			return size, nn, in
		}
	}
	pr, pn := utf8.DecodeRuneInString(pattern)
	return pn, nn, pr == r && pattern[:pn] == name[:nn]
}

// matchSet reads the set that pattern begins with.
func matchSet(pattern string, r rune) (in bool, size int, closed bool) {
	i := 1
	negate := i < len(pattern) && (pattern[i] == '^' || pattern[i] == '!')
	if negate {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return in != negate, i + 1, true
		}
		lo, n := utf8.DecodeRuneInString(pattern[i:])
		i += n
		hi := lo
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			hi, n = utf8.DecodeRuneInString(pattern[i+1:])
			i += 1 + n
		}
		in = in || lo <= r && r <= hi
	}
	return false, 0, false
}

// nodes finds what the texts of paths stand for, patterns expanded; none stands for the current directory. follow is about links at the
// end of a path that is no pattern.
func (s *Shell) nodes(ctx context.Context, texts []string, follow bool) ([]store.Node, error) {
	if len(texts) == 0 {
		texts = []string{"."}
	}
	var out []store.Node
	for _, text := range texts {
		found, err := s.expand(ctx, text, follow)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// expand finds what one text stands for. A name that exists is itself, even if it looks like a pattern. What is not found below the
// current directory is looked for below the root, so that paths can be copied from listings.
func (s *Shell) expand(ctx context.Context, text string, follow bool) ([]store.Node, error) {
	found, err := s.expandFrom(ctx, s.cwd, text, follow)
	if errors.Is(err, fs.ErrNotExist) && len(s.cwd) > 0 && !strings.HasPrefix(text, ".") {
		if again, e := s.expandFrom(ctx, nil, text, follow); e == nil {
			return again, nil
		}
	}
	return found, err
}

func (s *Shell) expandFrom(ctx context.Context, cwd []string, text string, follow bool) ([]store.Node, error) {
	path, err := s.view.Resolve(ctx, cwd, text)
	if err != nil {
		return nil, usage("help paths says how paths are written", err)
	}
	n, err := s.view.Lookup(ctx, path, follow)
	if err == nil {
		return []store.Node{n}, nil
	}
	first := -1
	for i, name := range path {
		if isPattern(name) {
			first = i
			break
		}
	}
	if first < 0 || !errors.Is(err, fs.ErrNotExist) {
		return nil, s.notFound(ctx, path, err)
	}
	top, err := s.view.Lookup(ctx, path[:first], true)
	if err != nil {
		return nil, s.notFound(ctx, path[:first], err)
	}
	at := []store.Node{top}
	for i := first; i < len(path); i++ {
		if at, err = s.step(ctx, at, path[i]); err != nil {
			return nil, err
		}
	}
	if len(at) == 0 {
		return nil, fault.WithHint(fmt.Errorf("%s: nothing fits: %w", text, fs.ErrNotExist), "find -name PATTERN looks below a directory, too")
	}
	return at, nil
}

// step goes from directories to those of their nodes that fit the name. Directories that cannot be read have none.
func (s *Shell) step(ctx context.Context, dirs []store.Node, name string) ([]store.Node, error) {
	var out []store.Node
	for _, d := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !d.Dir && d.Link == "" {
			continue
		}
		if !isPattern(name) {
			if n, err := s.view.Lookup(ctx, child(d.Path, name), false); err == nil {
				out = append(out, n)
			}
			continue
		}
		list, err := s.view.List(ctx, d, false)
		if err != nil {
			s.remark("%s: %v", s.show(d.Path), err)
		}
		for _, n := range list {
			if match(name, n.Name()) {
				out = append(out, n)
			}
		}
		if len(out) > maxMatches {
			return nil, fmt.Errorf("the pattern fits more than %d names", maxMatches)
		}
	}
	return out, nil
}

func child(path []string, name string) []string {
	return append(path[:len(path):len(path)], name)
}
