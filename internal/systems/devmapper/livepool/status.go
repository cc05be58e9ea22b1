package livepool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/fault"
)

// Mode is what the kernel allows with the pool.
type Mode string

// The modes: those of the pool's status line, and the two that replace the whole line.
const (
	ReadWrite      Mode = "rw"
	ReadOnly       Mode = "ro"                // no metadata space left, or the metadata could not be written
	OutOfDataSpace Mode = "out_of_data_space" // writes wait, or fail
	Failed         Mode = "Fail"              // all I/O fails
	Errored        Mode = "Error"             // the kernel could not even find out its own state
)

// Status is what the kernel says about the pool. In the modes Failed and Errored the rest is unknown, and zero.
type Status struct {
	Mode          Mode
	TransactionID uint64

	// In metadata blocks of 4 KiB; used includes what the kernel keeps in reserve.
	UsedMetadata, TotalMetadata uint64
	// In data blocks of the pool.
	UsedData, TotalData uint64

	HeldRoot       uint64 // block of the metadata snapshot, 0 for none
	Discard        string // discard_passdown, no_discard_passdown or ignore_discard
	ErrorIfNoSpace bool   // writes fail at once when there is no data space, instead of waiting
	NeedsCheck     bool
}

// Status asks the kernel. It does not make the pool commit anything first.
func (p *Pool) Status(ctx context.Context) (Status, error) {
	out, err := dmsetup(ctx, askTime, nil, "status", "--noflush", p.Name)
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(out)
	if err != nil {
		return Status{}, &fault.Error{Op: "read the status of pool", Where: p.Name, Err: fmt.Errorf("%w in %q", err, oneLine(out))}
	}
	return s, nil
}

// parseStatus reads the status line of the thin-pool target (the kernel's thin-provisioning.rst). The word needs_check is there
// since Linux 3.16 or so, the low water mark since 4.19; what still newer kernels add at the end is not looked at.
func parseStatus(line string) (Status, error) {
	f := strings.Fields(line)
	if len(f) < 4 || f[2] != "thin-pool" {
		return Status{}, errors.New("not the status of a thin pool")
	}
	f = f[3:]
	if m := Mode(f[0]); m == Failed || m == Errored {
		return Status{Mode: m}, nil
	}
	if len(f) < 7 {
		return Status{}, errors.New("too few words")
	}
	var s Status
	var err error
	if s.TransactionID, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return Status{}, fmt.Errorf("transaction id %q", f[0])
	}
	if s.UsedMetadata, s.TotalMetadata, err = ratio(f[1]); err != nil {
		return Status{}, fmt.Errorf("metadata blocks: %w", err)
	}
	if s.UsedData, s.TotalData, err = ratio(f[2]); err != nil {
		return Status{}, fmt.Errorf("data blocks: %w", err)
	}
	if f[3] != "-" {
		if s.HeldRoot, err = strconv.ParseUint(f[3], 10, 64); err != nil || s.HeldRoot == 0 {
			return Status{}, fmt.Errorf("metadata snapshot %q", f[3])
		}
	}
	return s, s.modes(f[4:])
}

func (s *Status) modes(f []string) error {
	switch s.Mode = Mode(f[0]); s.Mode {
	case ReadWrite, ReadOnly, OutOfDataSpace:
	default:
		return fmt.Errorf("unknown mode %q", f[0])
	}
	switch s.Discard = f[1]; s.Discard {
	case "discard_passdown", "no_discard_passdown", "ignore_discard":
	default:
		return fmt.Errorf("unknown word %q about discards", f[1])
	}
	switch f[2] {
	case "error_if_no_space":
		s.ErrorIfNoSpace = true
	case "queue_if_no_space":
	default:
		return fmt.Errorf("unknown word %q about missing space", f[2])
	}
	if len(f) > 3 {
		switch f[3] {
		case "needs_check":
			s.NeedsCheck = true
		case "-":
		default:
			return fmt.Errorf("unknown word %q instead of needs_check", f[3])
		}
	}
	return nil
}

// ratio reads "used/total".
func ratio(s string) (used, total uint64, err error) {
	a, b, ok := strings.Cut(s, "/")
	used, err1 := strconv.ParseUint(a, 10, 64)
	total, err2 := strconv.ParseUint(b, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%q is not USED/TOTAL", s)
	}
	return used, total, nil
}
