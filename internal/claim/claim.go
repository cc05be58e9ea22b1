// Package claim defines what a witness says: one claim is one statement, read
// from one place in a store, about one subject.
//
// A directory entry that names a file, the file's back-link to the directory,
// and the inode itself are three claims about the same subject. Scanners emit
// claims, package match brings the claims about one subject together, judges
// compare them. This package knows nothing of any of these; it holds the type
// and its compact encoding, which is also what spill files and streams carry.
//
// # Encoding
//
// All integers are little-endian. A claim is
//
//	offset        bytes  content
//	0             1      length of the subject, 0..255
//	1             1      kind
//	2             1      widths: four 2-bit codes, lowest bits first:
//	                       bits 0-1 target   0, 1, 2 or 4 bytes
//	                       bits 2-3 at       0, 4, 6 or 8 bytes
//	                       bits 4-5 sub      0, 2, 4 or 8 bytes
//	                       bits 6-7 length of what is said   0, 1, 2 or 3 bytes
//	3             0..255 subject
//	...                  target, at, sub, length of what is said, each in the
//	                     width its code names; width 0 means the value 0
//	...                  what is said
//
// Each value takes the smallest width that holds it, and Decode rejects any
// other, so a claim has exactly one encoding and encoded claims may be compared
// as bytes. A 20-byte subject, a target below 256, a position below 4 GiB and 8
// bytes of payload take 37 bytes; without payload 28.
//
// # Invariants
//
// A decoded claim points into the buffer it was decoded from: no allocation per
// claim. Whoever keeps one longer than the buffer lives must Clone it. Decode
// never reads past the buffer and never allocates, whatever the bytes.
//
// This package must not know what kinds mean or how payloads are laid out: each
// system defines both for itself.
package claim

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
)

const (
	// MaxSubject is the longest subject, in bytes.
	MaxSubject = 255
	// MaxSays is the longest payload, in bytes (64 KiB).
	MaxSays = 64 << 10
	// MaxEncoded is the length of the longest encoding of one claim, in bytes.
	MaxEncoded = headLen + MaxSubject + 4 + 8 + 8 + 3 + MaxSays
	// MinEncoded is the length of the shortest: no subject, all values zero.
	MinEncoded = headLen

	headLen = 3
)

// Subject is what a claim is about, as a short byte string chosen by the system:
// a Lustre FID, a blob hash, an inode number, a digest of (parent, name). Two
// claims are about the same thing if and only if their subjects have the same
// bytes, so a system must encode each subject in one way only. At most
// MaxSubject bytes; empty is allowed.
type Subject []byte

// String gives the subject in hex, for messages of last resort; systems know
// better names for their subjects.
func (s Subject) String() string { return hex.EncodeToString(s) }

// Kind says who speaks and in which role ("directory entry naming this object").
// The numbers are chosen per system and have no meaning outside it.
type Kind uint8

// Witness says where a claim is written, precisely enough to read the record
// again. Its meaning belongs to the system that made it.
type Witness struct {
	Target uint32 // number of the scanned target within the unit
	At     uint64 // first half of the position: a byte offset, a page or inode number
	Sub    uint64 // second half: a slot, an index, a length; 0 when At is enough
}

// String gives the witness as target@at+sub.
func (w Witness) String() string { return fmt.Sprintf("%d@%#x+%d", w.Target, w.At, w.Sub) }

// Claim is one statement of one witness about one subject.
type Claim struct {
	Subject Subject
	Kind    Kind
	Witness Witness
	Says    []byte // payload, at most MaxSays bytes, laid out by the system for each Kind
}

// Check reports whether the claim can be encoded: an error if its subject or its
// payload is too long.
func (c *Claim) Check() error {
	if len(c.Subject) > MaxSubject {
		return fmt.Errorf("claim of kind %d at %v: subject of %d bytes is longer than %d", c.Kind, c.Witness, len(c.Subject), MaxSubject)
	}
	if len(c.Says) > MaxSays {
		return fmt.Errorf("claim of kind %d at %v about %v: payload of %d bytes is longer than %d", c.Kind, c.Witness, c.Subject, len(c.Says), MaxSays)
	}
	return nil
}

// Clone returns a copy that shares no memory with c.
func (c *Claim) Clone() Claim {
	d := *c
	d.Subject = bytes.Clone(c.Subject)
	d.Says = bytes.Clone(c.Says)
	return d
}

// Compare orders claims by subject, kind, witness (target, at, sub) and payload.
// It returns -1, 0 or +1; 0 means the claims are equal in every field (a nil and
// an empty byte string count as the same).
func Compare(a, b *Claim) int {
	if d := bytes.Compare(a.Subject, b.Subject); d != 0 {
		return d
	}
	return CompareWithin(a, b)
}

// CompareWithin is Compare for claims known to be about the same subject.
func CompareWithin(a, b *Claim) int {
	switch {
	case a.Kind != b.Kind:
		return cmp.Compare(a.Kind, b.Kind)
	case a.Witness.Target != b.Witness.Target:
		return cmp.Compare(a.Witness.Target, b.Witness.Target)
	case a.Witness.At != b.Witness.At:
		return cmp.Compare(a.Witness.At, b.Witness.At)
	case a.Witness.Sub != b.Witness.Sub:
		return cmp.Compare(a.Witness.Sub, b.Witness.Sub)
	}
	return bytes.Compare(a.Says, b.Says)
}
