package runs

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// TidyFindings puts findings.jsonl into the order of sequence numbers and closes gaps between them, so that numbers are
// dense from 1. It returns the numbers that changed, old to new; references in CausedBy follow. No Log may be open.
//
// Only a run of several units that was resumed needs it: what one of them had found after its checkpoint was dropped
// although others had found more since.
func (r *Run) TidyFindings() (map[int]int, error) {
	type place struct {
		seq      int
		from, to int64
	}
	var all []place
	var f finding.Finding
	err := eachLine(r.File(FindingsFile), decodeFinding(&f), func(line []byte, off int64) bool {
		all = append(all, place{f.Seq, off, off + int64(len(line)) + 1})
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b place) int { return a.seq - b.seq })
	moved := map[int]int{}
	for i, p := range all {
		if p.seq != i+1 {
			moved[p.seq] = i + 1
		}
	}
	err = r.rewrite(FindingsFile, func(dst io.Writer, src *os.File) error {
		var buf []byte
		for i, p := range all {
			buf = slices.Grow(buf[:0], int(p.to-p.from))[:p.to-p.from]
			if _, err := src.ReadAt(buf, p.from); err != nil {
				return err
			}
			if len(moved) > 0 {
				if buf, err = renumber(buf, i+1, moved); err != nil {
					return err
				}
			}
			if _, err := dst.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !(errors.Is(err, os.ErrNotExist) && len(all) == 0) {
		return nil, &fault.Error{Op: "put in order", Where: r.File(FindingsFile), Err: err}
	}
	return moved, nil
}

// renumber gives the finding in line the number seq and lets its CausedBy follow.
func renumber(line []byte, seq int, moved map[int]int) ([]byte, error) {
	var f finding.Finding
	if err := json.Unmarshal(line, &f); err != nil {
		return nil, err
	}
	f.Seq = seq
	if f.CausedBy != nil {
		if to, ok := moved[*f.CausedBy]; ok {
			f.CausedBy = &to
		}
	}
	out, err := json.Marshal(&f)
	return append(out, '\n'), err
}
