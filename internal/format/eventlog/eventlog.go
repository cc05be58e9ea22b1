// Package eventlog reads Flux event logs (RFC 18) and what Flux derives from
// them: job states, clean shutdown, the list of drained nodes, and the two
// checkpoint values that stand in for old events.
//
// A log is JSON lines: {"timestamp":T,"name":"...","context":{...}}, context
// optional. Every append is one blob of whole lines, so a log can lose events
// and still read without a fault; that is why the replays here also judge the
// order of events.
//
// Invariants: a malformed line never hides the others; all functions are pure.
//
// The room must NOT read blobs, know job ids or decide on repairs.
package eventlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"fettle/internal/format/treeobj"
)

// Entry is one event.
type Entry struct {
	Timestamp float64         // seconds since 1970
	TimeText  string          // the number as it stands in the log
	Name      string          // never checked against a list of names
	Context   json.RawMessage // the JSON object, nil if there is none
	Raw       []byte          // the line without its newline
	Line      int             // 1 is the first
	Offset    int             // of the line in the log
}

// Rule is the stable id of a fault.
type Rule string

// Faults of a line.
const (
	RuleJSON      Rule = "json"       // the line is not a JSON object
	RuleUTF8      Rule = "utf8"       // the line is not UTF-8
	RuleTimestamp Rule = "timestamp"  // timestamp is missing or not a number
	RuleName      Rule = "name"       // name is missing or not a string
	RuleContext   Rule = "context"    // context is not an object, or lacks what its event needs
	RuleEmptyLine Rule = "empty-line" // nothing between two newlines
	RuleTruncated Rule = "truncated"  // text behind the last newline
)

// LineError is one fault of one line.
type LineError struct {
	Rule   Rule
	Line   int // 1 is the first
	Offset int // of the line in the log
	Detail string
}

// Error names line and rule.
func (e *LineError) Error() string {
	return fmt.Sprintf("event log line %d (byte %d): %s (rule %s)", e.Line, e.Offset, e.Detail, e.Rule)
}

// Log is a read event log.
type Log struct {
	Entries []Entry      // the good lines in order
	Errors  []*LineError // the others, at most MaxErrors
	// ErrorCount counts all faults, also those not listed.
	ErrorCount int
	// Tail is text behind the last newline. Flux ignores it when there are
	// whole lines before it. It is also in Errors (RuleTruncated).
	Tail []byte
}

// MaxErrors is how many faults of one log are listed.
const MaxErrors = 1000

// Decodable reports whether Flux accepts the log: no faults apart from a tail
// behind at least one whole line. The empty log is fine.
func (l *Log) Decodable() bool {
	if l.ErrorCount == 0 {
		return true
	}
	return l.ErrorCount == 1 && len(l.Tail) > 0 && len(l.Entries) > 0
}

func (l *Log) fault(e *LineError) {
	l.ErrorCount++
	if len(l.Errors) < MaxErrors {
		l.Errors = append(l.Errors, e)
	}
}

// Parse reads a log. It accepts any input. Entries point into b.
func Parse(b []byte) *Log {
	l := &Log{}
	for line, off := 1, 0; off < len(b); line++ {
		n := bytes.IndexByte(b[off:], '\n')
		if n < 0 {
			l.Tail = b[off:]
			l.fault(&LineError{RuleTruncated, line, off, "the last line has no newline"})
			break
		}
		e, err := ParseLine(b[off : off+n])
		if err != nil {
			err.Line, err.Offset = line, off
			l.fault(err)
		} else {
			e.Line, e.Offset = line, off
			l.Entries = append(l.Entries, e)
		}
		off += n + 1
	}
	return l
}

// ParseLine reads one event without its newline. Line and Offset are 0.
func ParseLine(raw []byte) (Entry, *LineError) {
	e := Entry{Raw: raw}
	fail := func(r Rule, detail string) (Entry, *LineError) {
		return Entry{}, &LineError{Rule: r, Detail: detail}
	}
	if len(raw) == 0 {
		return fail(RuleEmptyLine, "empty line")
	}
	if bad := treeobj.CheckJSON(raw, true); bad != nil {
		r := RuleJSON
		if bad.Rule == treeobj.RuleUTF8 {
			r = RuleUTF8
		}
		return fail(r, fmt.Sprintf("byte %d of the line: %s", bad.Offset, bad.Detail))
	}
	m, err := object(raw)
	if err != nil {
		return fail(RuleJSON, err.Error())
	}
	var ok bool
	if e.Timestamp, ok = number(m["timestamp"]); !ok {
		return fail(RuleTimestamp, "timestamp is missing or not a number")
	}
	e.TimeText = string(m["timestamp"])
	if e.Name, ok = str(m["name"]); !ok {
		return fail(RuleName, "name is missing or not a string")
	}
	if c, has := m["context"]; has {
		if !isObject(c) {
			return fail(RuleContext, "context is not an object")
		}
		e.Context = c
	}
	return e, nil
}

// object reads a JSON object into its members. Of equal keys the last counts,
// names are compared exactly.
func object(raw []byte) (map[string]json.RawMessage, error) {
	if !isObject(raw) {
		return nil, fmt.Errorf("the text is not a JSON object")
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("the text is not JSON: %w", err)
	}
	return m, nil
}

func isObject(raw []byte) bool {
	t := bytes.TrimLeft(raw, " \t\r\n")
	return len(t) > 0 && t[0] == '{'
}

func number(raw json.RawMessage) (float64, bool) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// integer accepts what jansson holds as an integer: no fraction, no exponent.
func integer(raw json.RawMessage) (int64, bool) {
	v, err := strconv.ParseInt(string(raw), 10, 64)
	return v, err == nil
}

func str(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}

// members is the context as a map; an entry without context has none.
func (e *Entry) members() map[string]json.RawMessage {
	if e.Context == nil {
		return nil
	}
	m, err := object(e.Context)
	if err != nil {
		return nil // cannot happen: the line was valid JSON
	}
	return m
}

// Encode is the line of an event as Flux writes it, with its newline.
// context must be a JSON object or nil.
func Encode(timestamp float64, name string, context json.RawMessage) ([]byte, error) {
	if math.IsNaN(timestamp) || math.IsInf(timestamp, 0) || timestamp < 0 || name == "" || !utf8.ValidString(name) {
		return nil, fmt.Errorf("event %q at %v: name or timestamp cannot be written", name, timestamp)
	}
	b := append([]byte(`{"timestamp":`), Real(timestamp)...)
	b = append(append(b, `,"name":`...), quote(name)...)
	if context != nil {
		if !isObject(context) || !json.Valid(context) {
			return nil, fmt.Errorf("event %q: the context is not a JSON object", name)
		}
		var c bytes.Buffer
		if err := json.Compact(&c, context); err != nil {
			return nil, fmt.Errorf("event %q: %w", name, err)
		}
		b = append(append(b, `,"context":`...), c.Bytes()...)
	}
	return append(b, "}\n"...), nil
}

// Real writes a number so that jansson reads it as a real, not an integer.
func Real(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		s = strconv.FormatFloat(v, 'f', 1, 64)
	}
	if !bytes.ContainsAny([]byte(s), ".e") {
		s += ".0"
	}
	return s
}

// quote is a JSON string as jansson writes it.
func quote(s string) string { return string(treeobj.AppendString(nil, s)) }

// Shutdown is what admin.eventlog says about the end of the last session.
type Shutdown string

// The answers of ShutdownOf.
const (
	ShutdownUnknown Shutdown = "unknown" // no start or finish event
	ShutdownClean   Shutdown = "clean"   // finish came last
	ShutdownUnclean Shutdown = "unclean" // start came last: running or crashed
)

// ShutdownOf reads the events of admin.eventlog. at is the timestamp of the
// event that decides.
func ShutdownOf(entries []Entry) (s Shutdown, at float64) {
	s = ShutdownUnknown
	for i := range entries {
		switch entries[i].Name {
		case "start":
			s, at = ShutdownUnclean, entries[i].Timestamp
		case "finish":
			s, at = ShutdownClean, entries[i].Timestamp
		}
	}
	return s, at
}
