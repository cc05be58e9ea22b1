package fakedm

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"fettle/internal/format/thinmeta"
)

// Runs are the mappings of a device, ascending and without overlap. In the state file they are one string, because every
// call of a program reads and writes all of them.
type Runs []thinmeta.Run

// MarshalJSON gives the runs as base64 of four varints each: virtual, data, length, time.
func (r Runs) MarshalJSON() ([]byte, error) {
	var b []byte
	for _, run := range r {
		for _, v := range [...]uint64{run.Virtual, run.Data, run.Length, uint64(run.Time)} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Runs) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("mappings: %w", err)
	}
	*r = nil
	for len(b) > 0 {
		var v [4]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(b); n <= 0 {
				return errors.New("mappings: cut off")
			}
			b = b[n:]
		}
		*r = append(*r, thinmeta.Run{Virtual: v[0], Data: v[1], Length: v[2], Time: uint32(v[3])})
	}
	return nil
}
