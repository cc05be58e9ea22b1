package report

import (
	"bufio"
	"encoding/json"
	"io"
)

// Lines writes every finding as one JSON object per line. The summary line is the caller's, because it is part of the
// run and not of the findings.
func Lines(w io.Writer, each Findings) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for f, err := range each {
		if err != nil {
			return err
		}
		if err := enc.Encode(&f); err != nil {
			return err
		}
	}
	return b.Flush()
}
