package eventlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"fettle/internal/format/fluid"
)

// JobManagerCheckpoint is the value of the key checkpoint.job-manager:
// {"version":1,"max_jobid":N,"queue":[...]}. Members not known here are kept.
type JobManagerCheckpoint struct {
	MaxJobID fluid.ID
	members  map[string]json.RawMessage
}

// NewJobManagerCheckpoint is a value with only the id; Flux accepts it.
func NewJobManagerCheckpoint(max fluid.ID) *JobManagerCheckpoint {
	return &JobManagerCheckpoint{MaxJobID: max, members: map[string]json.RawMessage{"version": json.RawMessage("1")}}
}

// ParseJobManagerCheckpoint reads the value as the job manager does: version
// optional and at most 1, max_jobid a 64 bit integer (written signed, so that
// the greatest ids are negative).
func ParseJobManagerCheckpoint(b []byte) (*JobManagerCheckpoint, error) {
	m, err := object(b)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint.job-manager: %w", err)
	}
	if v, has := m["version"]; has {
		if n, ok := integer(v); !ok || n > 1 {
			return nil, fmt.Errorf("read checkpoint.job-manager: version is %s, not an integer up to 1", v)
		}
	}
	id, ok := integer(m["max_jobid"])
	if !ok {
		return nil, fmt.Errorf("read checkpoint.job-manager: max_jobid is missing or not an integer")
	}
	return &JobManagerCheckpoint{MaxJobID: fluid.ID(id), members: m}, nil
}

// HasQueue reports whether the value holds the state of the queues.
func (c *JobManagerCheckpoint) HasQueue() bool { return c.members["queue"] != nil }

// Encode writes the value: compact JSON, members in byte order.
func (c *JobManagerCheckpoint) Encode() []byte {
	m := maps.Clone(c.members)
	if m == nil {
		m = map[string]json.RawMessage{"version": json.RawMessage("1")}
	}
	m["max_jobid"] = json.RawMessage(fmt.Sprint(int64(c.MaxJobID)))
	return encodeMembers(m)
}

func encodeMembers(m map[string]json.RawMessage) []byte {
	b := []byte{'{'}
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, quote(k)...), ':')
		var c bytes.Buffer
		if err := json.Compact(&c, m[k]); err != nil {
			c.Write(m[k]) // cannot happen: the text was read as JSON
		}
		b = append(b, c.Bytes()...)
	}
	return append(b, '}')
}
