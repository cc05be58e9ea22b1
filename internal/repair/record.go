package repair

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/say"
	"fettle/internal/store"
)

// standing says what a raw record holds, compared with a change.
type standing int

const (
	isBefore standing = iota
	isAfter
	isTorn  // a mixture of both, as an interrupted write leaves it
	isOther // something that neither fettle nor a crash put there
)

func same(a, b store.Bytes) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func standingOf(present store.Bytes, c store.Change) standing {
	switch {
	case same(present, c.After):
		return isAfter
	case same(present, c.Before):
		return isBefore
	case present != nil && torn(present, c.Before, c.After):
		return isTorn
	}
	return isOther
}

// torn tells whether every byte of present is the old or the new one at its place. Where only one of the two reaches that
// far, the byte is that one or zero: a file whose new length became durable before its content reads as zeros.
func torn(present, before, after store.Bytes) bool {
	if len(present) > max(len(before), len(after)) {
		return false
	}
	if before != nil && after != nil && len(present) < min(len(before), len(after)) {
		return false
	}
	for i, p := range present {
		inBefore, inAfter := i < len(before), i < len(after)
		ok := (inBefore && p == before[i]) || (inAfter && p == after[i]) || (inBefore != inAfter && p == 0)
		if !ok {
			return false
		}
	}
	return true
}

// Conflict is a raw record that holds what neither fettle nor a crash put there.
type Conflict struct {
	Step   int
	Target string
	Addr   string
	What   string // what is wrong with it
}

// ConflictError lists the raw records that were written by somebody else since the journal was made.
type ConflictError struct {
	First []Conflict // the first few
	Total int
}

const maxConflicts = 5

// Error implements error.
func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s written by somebody else since:", say.Count(e.Total, "record"))
	for _, c := range e.First {
		fmt.Fprintf(&b, " %s %s (step %d: %s);", say.Clean(c.Target), say.Clean(c.Addr), c.Step, c.What)
	}
	if more := e.Total - len(e.First); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return strings.TrimSuffix(b.String(), ";")
}

func (e *ConflictError) add(c Conflict) {
	if len(e.First) < maxConflicts {
		e.First = append(e.First, c)
	}
	e.Total++
}

// errContract is the cause of errors about a Writer that broke the rules of store.Writer. Nothing was written.
var errContract = errors.New("this is a bug in fettle's support of the system")

// lower turns a step into the raw changes to journal: those that Lower gives, without guards, after making sure that the
// journal will hold the truth. Without that, undo would not give identical bytes.
func lower(ctx context.Context, w store.Writer, step store.Step) ([]store.Change, error) {
	all, err := w.Lower(ctx, step)
	if err != nil {
		return nil, err
	}
	raw := make([]store.Change, 0, len(all))
	seen := make(map[record]bool, len(all))
	part := store.Begin(ctx, "compare", "comparing with the store", int64(len(all)), 0) // a record that is absent takes time as well
	defer part.End()
	for _, c := range all {
		part.Did(1, 0)
		at := record{c.Target, c.Addr}
		if seen[at] {
			return nil, fmt.Errorf("record %s %s occurs twice in one step: %w", c.Target, c.Addr, errContract)
		}
		seen[at] = true
		present, err := w.Read(ctx, c.Target, c.Addr)
		if err != nil {
			return nil, fmt.Errorf("read record %s %s: %w", c.Target, c.Addr, err)
		}
		if !same(present, c.Before) {
			return nil, fmt.Errorf("record %s %s is not what the step is based on: %w", c.Target, c.Addr, errContract)
		}
		if !c.Guard() {
			raw = append(raw, c)
		}
	}
	return raw, nil
}

// record is the address of a raw record within a unit.
type record struct{ target, addr string }

// conflictFault wraps a ConflictError for people.
func conflictFault(op, unit string, e *ConflictError) error {
	return &fault.Error{Op: op, Where: unit, Err: e, Kind: fault.Unrepaired,
		Hint: "check the store again to see how it is now; nothing was written"}
}

// sum stands for a record's content where keeping it would take too much memory.
type sum [sha256.Size]byte

// sumOf hashes content; absent is the zero sum, which no content has.
func sumOf(b store.Bytes) sum {
	if b == nil {
		return sum{}
	}
	return sha256.Sum256(b)
}
