package flux

import (
	"bytes"
)

// eventCode is what the sweep remembers of an event: enough to tell, without reading any blob again, that a job's eventlog
// cannot have happened in that order. Names are those of RFC 21.
type eventCode uint8

const (
	evNone   eventCode = iota // not an eventlog
	evOther                   // an event that may come at any time
	evSubmit                  // always first
	evValidate
	evDepend
	evPriority
	evAlloc
	evStart
	evFinish
	evRelease
	evFree
	evClean // nothing that changes the job's state comes after it
)

var eventNames = map[string]eventCode{
	"submit": evSubmit, "validate": evValidate, "depend": evDepend, "priority": evPriority, "alloc": evAlloc,
	"start": evStart, "finish": evFinish, "release": evRelease, "free": evFree, "clean": evClean,
}

var (
	eventHead  = []byte(`{"timestamp":`)
	eventName  = []byte(`"name":"`)
	lineBreak  = []byte("\n")
	dirLike    = []byte(`{"data":{`)
	dirLikeEnd = []byte(`"type":"dir","ver":1}`)
)

// eventCodes classifies content that begins like an eventlog by its first and last event.
func eventCodes(content []byte) (first, last eventCode) {
	if !bytes.HasPrefix(content, eventHead) {
		return evNone, evNone
	}
	first = lineCode(content)
	last = first
	body := bytes.TrimSuffix(content, lineBreak)
	if i := bytes.LastIndex(body, lineBreak); i >= 0 {
		last = lineCode(body[i+1:])
	}
	return first, last
}

// lineCode looks at the beginning of one event line; Flux writes timestamp and name first.
func lineCode(line []byte) eventCode {
	const far = 96 // `{"timestamp":1795225792.9712345,"name":"` and the longest name fit well
	if len(line) > far {
		line = line[:far]
	}
	i := bytes.Index(line, eventName)
	if i < 0 {
		return evOther
	}
	rest := line[i+len(eventName):]
	j := bytes.IndexByte(rest, '"')
	if j < 0 {
		return evOther
	}
	if c, ok := eventNames[string(rest[:j])]; ok {
		return c
	}
	return evOther
}

// eventFlags packs the codes into an entry's flags.
func eventFlags(first, last eventCode) uint16 { return uint16(first)<<8 | uint16(last)<<12 }

// looksLikeDir tells from the first and last bytes whether content can be a directory object as Flux writes it.
func looksLikeDir(content []byte) bool {
	return bytes.HasPrefix(content, dirLike) && bytes.HasSuffix(content, dirLikeEnd)
}

// jobOrder follows the codes of a job eventlog's blobs and says whether the events can have happened in that order.
// It is deliberately lenient: it objects only to what no job does, and leaves the rest to a full replay.
type jobOrder struct {
	seen  bool
	clean bool
	bad   bool
}

func (o *jobOrder) add(e entry) {
	first, last := e.firstEvent(), e.lastEvent()
	if first == evNone {
		return // not eventlog content; judged elsewhere, if at all
	}
	if !o.seen && first != evSubmit || o.seen && first == evSubmit {
		o.bad = true
	}
	if o.clean && first != evOther {
		o.bad = true
	}
	o.seen = true
	if last == evClean {
		o.clean = true
	}
}
