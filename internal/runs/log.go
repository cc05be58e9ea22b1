package runs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// Log appends findings to findings.jsonl. It is not safe for use by several goroutines.
type Log struct {
	run *Run
	f   *os.File
	w   *bufio.Writer
	err error // the first failure; the file's end is unknown after it
}

// OpenLog opens findings.jsonl for appending after dropping every finding that keep refuses (nil keeps none). keep is
// called with every finding in the order of the file. A torn last line is dropped too. The remaining file is durable
// when OpenLog returns.
func (r *Run) OpenLog(keep func(finding.Finding) bool) (*Log, error) {
	p := r.File(FindingsFile)
	var kept []segment
	if keep != nil {
		var f finding.Finding
		err := eachLine(p, decodeFinding(&f), func(line []byte, off int64) bool {
			if keep(f) {
				kept = addSegment(kept, segment{off, off + int64(len(line)) + 1})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	f, err := r.openKept(p, kept)
	if err != nil {
		return nil, &fault.Error{Op: "open", Where: p, Err: err}
	}
	return &Log{run: r, f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

// openKept reduces the file to the kept segments and opens it at its end.
func (r *Run) openKept(p string, kept []segment) (*os.File, error) {
	switch {
	case len(kept) > 1 || len(kept) == 1 && kept[0].from > 0:
		if err := r.rewrite(FindingsFile, func(dst io.Writer, src *os.File) error {
			for _, s := range kept {
				if _, err := io.Copy(dst, io.NewSectionReader(src, s.from, s.to-s.from)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
		return os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0o600)
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	var size int64
	if len(kept) == 1 {
		size = kept[0].to
	}
	if err = f.Truncate(size); err == nil {
		if err = f.Sync(); err == nil {
			err = r.syncDir()
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// segment is a range of bytes of a file.
type segment struct{ from, to int64 }

// addSegment appends s, joined to the last one where they touch.
func addSegment(all []segment, s segment) []segment {
	if n := len(all); n > 0 && all[n-1].to == s.from {
		all[n-1].to = s.to
		return all
	}
	return append(all, s)
}

// rewrite replaces a file of the run by what fill writes, reading the old one, so that either is there at any time.
func (r *Run) rewrite(name string, fill func(dst io.Writer, src *os.File) error) error {
	src, err := os.Open(r.File(name))
	if err != nil {
		return err
	}
	defer src.Close()
	return r.replace(name, true, func(dst io.Writer) error { return fill(dst, src) })
}

// Append adds one finding. It is on disk only after Sync.
func (l *Log) Append(f *finding.Finding) error {
	if l.err != nil {
		return l.err
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write finding %d: %w", f.Seq, err)
	}
	if len(b) >= maxLine {
		return fmt.Errorf("write finding %d: it is %d bytes long, more than %d", f.Seq, len(b), maxLine)
	}
	if _, err = l.w.Write(append(b, '\n')); err != nil {
		return l.fail(err)
	}
	return nil
}

// Flush hands everything to the operating system, so that other processes see it.
func (l *Log) Flush() error {
	if l.err != nil {
		return l.err
	}
	if err := l.w.Flush(); err != nil {
		return l.fail(err)
	}
	return nil
}

// Sync makes everything durable.
func (l *Log) Sync() error {
	if err := l.Flush(); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return l.fail(err)
	}
	return nil
}

// Close makes everything durable and closes the file.
func (l *Log) Close() error {
	err := l.Sync()
	if err2 := l.f.Close(); err == nil && err2 != nil {
		err = l.fail(err2)
	}
	return err
}

func (l *Log) fail(err error) error {
	l.err = &fault.Error{Op: "write", Where: l.run.File(FindingsFile), Err: err, Hint: "is the disk of the state directory full? the run can be resumed"}
	return l.err
}
