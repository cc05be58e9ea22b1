// Package fault is the form of every error that a person is meant to read: what was being done, where, what was wrong,
// and what to try next. It also says which exit code an error ends in. It must not print or log anything.
package fault

import (
	"errors"
	"strings"
)

// Kind decides the exit code of the command that failed.
type Kind int

// The kinds. Values follow fsck(8) where it has a bit for them.
const (
	Operational Kind = 8  // the tool could not do its work
	Usage       Kind = 16 // the command line was wrong
	Cancelled   Kind = 32 // stopped by the user
	Unrepaired  Kind = 4  // refused: damage is left as it is
)

// Error is an error for people.
type Error struct {
	Op    string // what was being done: "open", "apply step 3"
	Where string // file, offset, key
	Err   error
	Hint  string // the next thing to try
	Kind  Kind   // 0 means Operational
}

// Error implements error: "op where: err".
func (e *Error) Error() string {
	parts := make([]string, 0, 2)
	if head := strings.TrimSpace(e.Op + " " + e.Where); head != "" {
		parts = append(parts, head)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hints returns the hints in err's chain, outermost first.
func Hints(err error) []string {
	var out []string
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Hint != "" {
			out = append(out, e.Hint)
		}
		err = e.Err
	}
	return out
}

// KindOf returns the outermost kind in err's chain, Operational when there is none.
func KindOf(err error) Kind {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Kind != 0 {
			return e.Kind
		}
		err = e.Err
	}
	return Operational
}

// WithHint wraps err with a hint; nil stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hint: hint}
}

// NewUsage is for command lines that make no sense.
func NewUsage(err error, hint string) error {
	return &Error{Err: err, Hint: hint, Kind: Usage}
}
