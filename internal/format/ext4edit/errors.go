package ext4edit

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrRefused     = errors.New("the file system cannot be edited as it is") // see also *ext4.Refusal
	ErrDamaged     = errors.New("damaged structure")                         // what is needed for the change is not sound
	ErrUnsupported = errors.New("not supported")                             // inline, encrypted or case-folding directories, values in inodes of their own
	ErrNeedsSplit  = errors.New("the index is full")                         // an index block or tree that is not grown here
	ErrNoSpace     = errors.New("no space left")                             // blocks, inodes, or room for an attribute
	ErrExists      = errors.New("the name exists")
	ErrAbsent      = errors.New("there is no such entry")
	ErrNotEmpty    = errors.New("the directory is not empty")
	ErrInvalid     = errors.New("invalid argument") // the caller asks for what no file system may hold
)

// damaged says that a structure is not sound.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrDamaged)
}

// invalid says that the caller asks for the impossible.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalid)
}

// first keeps the first problem that a reader reports, as an error.
type first struct{ err error }

// report is the ext4.Report that feeds it.
func (f *first) report(p ext4.Problem) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", p.Text, ErrDamaged)
	}
}
