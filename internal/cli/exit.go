package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// Exit codes are fsck(8)'s bits, so that codes of several stores can be OR-ed.
const (
	exitClean      = 0
	exitRepaired   = 1
	exitUnrepaired = int(fault.Unrepaired)
	exitError      = int(fault.Operational)
	exitUsage      = int(fault.Usage)
	exitCancelled  = int(fault.Cancelled)
)

// exitTable is the one place that says what each bit means; help texts and man pages are made from it.
var exitTable = []struct {
	Code  int
	Means string
}{
	{exitClean, "nothing is wrong, or nothing had to be done"},
	{exitRepaired, "damage was found and all of it was repaired"},
	{exitUnrepaired, "damage was found, or is left after the repair"},
	{exitError, "fettle could not do its work (unreadable store, full disk, store in use)"},
	{exitUsage, "the command line was wrong"},
	{exitCancelled, "stopped by the user; the run can be resumed"},
}

// exitOf is the exit code of a verdict.
func exitOf(v finding.Verdict) int {
	switch v {
	case finding.Clean:
		return exitClean
	case finding.Repaired:
		return exitRepaired
	case finding.Damaged:
		return exitUnrepaired
	}
	return exitError
}

// exitOfError is the exit code of a command that failed; nil is exitClean.
func exitOfError(err error) int {
	if err == nil {
		return exitClean
	}
	var s *status
	if errors.As(err, &s) {
		return s.code
	}
	var f *fault.Error
	if errors.Is(err, context.Canceled) && !errors.As(err, &f) {
		return exitCancelled
	}
	return int(fault.KindOf(err))
}

// status ends a verb with an exit code although nothing went wrong: the verdict has already been printed.
type status struct{ code int }

func (s *status) Error() string { return fmt.Sprintf("exit status %d", s.code) }

// exit turns a code into the error that a verb returns; exitClean is nil.
func exit(code int) error {
	if code == exitClean {
		return nil
	}
	return &status{code}
}

// exitHelp is the EXIT STATUS section for the given codes.
func exitHelp(codes []int) string {
	var b strings.Builder
	for _, row := range exitTable {
		for _, c := range codes {
			if c == row.Code {
				fmt.Fprintf(&b, "  %-3d %s\n", row.Code, row.Means)
			}
		}
	}
	return b.String()
}
