// Package kvscheckpoint reads and writes the values of the table checkpt_v2
// (and of the older checkpt) of content.sqlite: which directory is the root of
// the Flux KVS.
//
// The value is compact JSON:
// {"version":1,"rootref":"sha1-...","sequence":13,"timestamp":1795225430.1269188}
// with version 0 or 1; sequence (32 bit integer) and timestamp (real) may be
// missing. Before JSON the value was the bare blobref (version 0).
//
// Flux decodes all rows whenever it asks for any: a row that is no JSON makes
// every checkpoint unreadable (Rule.BlocksAll). The other rules matter only
// for the row that is used.
//
// The room must NOT open the database or look the root up.
package kvscheckpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"fettle/internal/format/treeobj"
)

// Rule is the stable id of a fault.
type Rule string

// The faults of a value.
const (
	RuleNull       Rule = "null"         // SQL NULL or an empty text
	RuleJSON       Rule = "json"         // not JSON
	RuleBare       Rule = "bare-blobref" // the form of before JSON; Flux refuses it since it is not JSON
	RuleNUL        Rule = "nul"          // text behind a NUL byte; Flux does not see it
	RuleType       Rule = "type"         // JSON, but not an object
	RuleVersion    Rule = "version"      // version is missing or not 0 or 1
	RuleNoRootref  Rule = "no-rootref"   // rootref is missing or not a string
	RuleBadRootref Rule = "bad-rootref"  // rootref is not a blobref
	RuleSequence   Rule = "sequence"     // sequence is not an integer
	RuleTimestamp  Rule = "timestamp"    // timestamp is not a real number
)

// BlocksAll reports whether the row makes Flux fail on every checkpoint.
func (r Rule) BlocksAll() bool { return r == RuleNull || r == RuleJSON || r == RuleBare }

// Usable reports whether Flux starts from a row with this fault if it is the
// newest: the KVS module ignores a bad sequence or timestamp (flux fsck and
// flux dump do not ignore a bad timestamp).
func (r Rule) Usable() bool { return r == RuleSequence || r == RuleTimestamp || r == RuleNUL }

// InvalidError is one fault of a value.
type InvalidError struct {
	Rule   Rule
	Detail string
}

// Error names the rule.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("checkpoint value: %s (rule %s)", e.Detail, e.Rule)
}

// Checkpoint is a decoded value.
type Checkpoint struct {
	Version      int
	Rootref      treeobj.Ref
	Sequence     int64 // 0 if missing
	HasSequence  bool
	Timestamp    float64 // seconds since 1970, 0 if missing
	HasTimestamp bool
}

func invalid(r Rule, format string, args ...any) *InvalidError {
	return &InvalidError{r, fmt.Sprintf(format, args...)}
}

// Parse judges a value; nil is SQL NULL. With an error of a Usable rule or
// RuleBare the Checkpoint holds what could be read, otherwise it is zero.
func Parse(b []byte) (Checkpoint, *InvalidError) {
	if len(b) == 0 {
		return Checkpoint{}, invalid(RuleNull, "the value is NULL or empty")
	}
	if r, err := treeobj.ParseRef(string(bytes.TrimRight(b, "\x00\n"))); err == nil {
		return Checkpoint{Rootref: r}, invalid(RuleBare, "a bare blobref, the form of before flux-core 0.36")
	}
	text, _, cut := bytes.Cut(b, []byte{0})
	if err := treeobj.CheckJSON(text, false); err != nil {
		return Checkpoint{}, invalid(RuleJSON, "byte %d: %s", err.Offset, err.Detail)
	}
	var m map[string]json.RawMessage
	if t := bytes.TrimLeft(text, " \t\r\n"); t[0] != '{' {
		return Checkpoint{}, invalid(RuleType, "an array, not an object")
	} else if err := json.Unmarshal(t, &m); err != nil {
		return Checkpoint{}, invalid(RuleJSON, "%v", err)
	}
	c, bad := fields(m)
	if bad == nil && cut {
		bad = invalid(RuleNUL, "text goes on behind a NUL byte")
	}
	return c, bad
}

func fields(m map[string]json.RawMessage) (c Checkpoint, bad *InvalidError) {
	v, ok := integer(m["version"])
	if !ok || v != 0 && v != 1 {
		return Checkpoint{}, invalid(RuleVersion, "version is %s, not 0 or 1", short(m["version"]))
	}
	c.Version = int(v)
	raw := m["rootref"]
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return Checkpoint{}, invalid(RuleNoRootref, "rootref is %s, not a string", short(raw))
	}
	ref, err := treeobj.ParseRef(s)
	if err != nil {
		return Checkpoint{}, invalid(RuleBadRootref, "rootref is %s, not a blobref", short(raw))
	}
	c.Rootref = ref
	if raw, has := m["sequence"]; has {
		if c.Sequence, c.HasSequence = integer(raw); !c.HasSequence {
			bad = invalid(RuleSequence, "sequence is %s, not an integer", short(raw))
		}
	}
	if raw, has := m["timestamp"]; has {
		if c.Timestamp, c.HasTimestamp = real(raw); !c.HasTimestamp {
			bad = invalid(RuleTimestamp, "timestamp is %s, not a number with a fraction", short(raw))
		}
	}
	return c, bad
}

func short(raw json.RawMessage) string {
	switch {
	case raw == nil:
		return "missing"
	case len(raw) > 40:
		return string(raw[:40]) + "..."
	}
	return string(raw)
}

func integer(raw json.RawMessage) (int64, bool) {
	v, err := strconv.ParseInt(string(raw), 10, 64)
	return v, err == nil
}

// real accepts what jansson holds as a real: with fraction or exponent.
func real(raw json.RawMessage) (float64, bool) {
	if len(raw) == 0 || raw[0] == '"' || !bytes.ContainsAny(raw, ".eE") {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	return v, err == nil
}

// Encode writes the value as Flux does: version 1, members in the order
// version, rootref, sequence, timestamp.
func (c Checkpoint) Encode() ([]byte, error) {
	if c.Rootref.IsZero() {
		return nil, fmt.Errorf("write checkpoint: no rootref")
	}
	if c.HasTimestamp && (math.IsNaN(c.Timestamp) || math.IsInf(c.Timestamp, 0)) {
		return nil, fmt.Errorf("write checkpoint: timestamp is %v", c.Timestamp)
	}
	b := append([]byte(`{"version":1,"rootref":"`), c.Rootref.String()...)
	b = append(b, '"')
	if c.HasSequence {
		b = strconv.AppendInt(append(b, `,"sequence":`...), c.Sequence, 10)
	}
	if c.HasTimestamp {
		// 17 digits, as jansson 2.14 writes reals; never the look of an integer.
		n := len(b)
		b = strconv.AppendFloat(append(b, `,"timestamp":`...), c.Timestamp, 'g', 17, 64)
		if !bytes.ContainsAny(b[n+len(`,"timestamp":`):], ".e") {
			b = append(b, ".0"...)
		}
	}
	return append(b, '}'), nil
}
