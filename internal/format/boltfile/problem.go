package boltfile

import (
	"errors"
	"fmt"
)

// ErrDamaged is wrapped by every error that means "the bytes are not a sound bbolt file".
var ErrDamaged = errors.New("bolt file is damaged")

// Kind names a sort of damage. The values are stable.
type Kind string

// Kinds of problems.
const (
	Empty        Kind = "empty"         // zero length; bbolt would make a new, empty database of it
	Truncated    Kind = "truncated"     // shorter than the high-water mark says; bbolt would die by SIGBUS
	InvalidMetas Kind = "invalid-metas" // neither meta page is valid
	OneMetaBad   Kind = "one-meta-bad"  // bbolt silently reads the other one, which may be the older transaction
	BadPage      Kind = "bad-page"      // impossible header, element or bucket value
	ReadError    Kind = "read-error"    // the storage could not deliver the bytes
	Order        Kind = "order"         // keys not ascending, or outside the range that the parent gives
	DoubleUse    Kind = "double-use"    // a page with two parents, in a cycle, or both free and in use
	BadFreelist  Kind = "bad-freelist"  // the list of free pages cannot be right
	LeakedPages  Kind = "leaked-pages"  // pages neither reachable nor free: lost space, otherwise harmless
	Residue      Kind = "residue"       // bytes after the last element, where bbolt leaves zeros: an element may have been cut short
)

// Harmless reports whether bbolt can be trusted with a copy of a file that has only problems of this kind.
func (k Kind) Harmless() bool { return k == OneMetaBad || k == LeakedPages || k == Residue }

// Problem is one thing that is wrong with a file.
type Problem struct {
	Kind   Kind
	Page   uint64   // page number, 0 for problems of the file as a whole
	Bucket [][]byte // names from the root to the bucket concerned; empty for the root bucket and when there is none
	Text   string   // one line; says the offset in bytes where there is one
}

func (p Problem) String() string {
	if len(p.Bucket) == 0 {
		return fmt.Sprintf("%s: %s", p.Kind, p.Text)
	}
	return fmt.Sprintf("%s: bucket %s: %s", p.Kind, pathString(p.Bucket), p.Text)
}

// pathString writes a bucket's path on one line: quoted, long names cut.
func pathString(path [][]byte) string {
	s := ""
	for i, name := range path {
		if i > 0 {
			s += "/"
		}
		s += quote(name)
	}
	return s
}

// quote shows a key on one line, cut after 64 bytes.
func quote(key []byte) string {
	if len(key) > 64 {
		return fmt.Sprintf("%q...", key[:64])
	}
	return fmt.Sprintf("%q", key)
}

// maxProblems is how many problems a list keeps; the rest is counted.
const maxProblems = 1000

// problemList keeps the first maxProblems problems and counts the others.
type problemList struct {
	list    []Problem
	more    int
	harmful bool // a problem was added whose kind is not Harmless
}

func (l *problemList) add(p Problem) {
	l.harmful = l.harmful || !p.Kind.Harmless()
	if len(l.list) >= maxProblems {
		l.more++
		return
	}
	l.list = append(l.list, p)
}

// DamageError says what an iteration or look-up had to skip. It wraps ErrDamaged.
type DamageError struct {
	Problems []Problem // the first 1000, in the order in which they were met
	More     int       // how many further ones there were
}

func (e *DamageError) Error() string {
	if len(e.Problems) == 0 {
		return ErrDamaged.Error()
	}
	s := fmt.Sprintf("%v: %v", ErrDamaged, e.Problems[0])
	if n := len(e.Problems) - 1 + e.More; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

// Unwrap gives ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// err gives the list as a *DamageError, nil if it is empty.
func (l *problemList) err() error {
	if len(l.list) == 0 {
		return nil
	}
	return &DamageError{Problems: l.list, More: l.more}
}
