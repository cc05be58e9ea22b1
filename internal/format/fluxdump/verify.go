package fluxdump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"fettle/internal/format/eventlog"
	"fettle/internal/format/fluid"
)

// Report is what Verify found in a dump.
type Report struct {
	// Faults say why the dump is not known to be good; at most MaxFaults.
	Faults []string
	// FaultCount counts all faults.
	FaultCount int

	Keys, Values, Symlinks int
	Bytes                  int64 // of all values
	Oversize               int   // values Flux's start script would skip (RestoreSizeLimit)
	Jobs                   int   // job eventlogs
	EventLogs              int

	ResourceEventlog     bool // has resource/eventlog
	ResourceCheckpoint   bool // has checkpoint/resource
	JobManagerCheckpoint bool // has checkpoint/job-manager

	NewestTime  int64   // greatest entry time; flux restore makes it the checkpoint's
	NewestEvent float64 // greatest timestamp of any event
	MaxJobID    fluid.ID
}

// MaxFaults is how many faults a Report lists.
const MaxFaults = 100

// Good reports whether the dump is known to be good: it reads to the end with
// its checksums, has keys, among them resource/eventlog or
// checkpoint/job-manager, and all event logs and checkpoint values in it parse.
func (r *Report) Good() bool { return r.FaultCount == 0 }

func (r *Report) fault(format string, args ...any) {
	r.FaultCount++
	if len(r.Faults) < MaxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// Verify reads a whole dump and judges it. maxBytes is as in NewReader.
// It does not notice two entries that claim the same name as value and as
// directory, for which flux restore stops.
func Verify(src io.Reader, maxBytes int64) *Report {
	r := &Report{}
	d, err := NewReader(src, maxBytes)
	if err != nil {
		r.fault("%v", err)
		return r
	}
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.fault("%v", err)
			break
		}
		if err := r.entry(e, d); err != nil {
			r.fault("%v", err)
			break
		}
	}
	if r.Keys == 0 {
		r.fault("the archive holds no key")
	} else if !r.ResourceEventlog && !r.JobManagerCheckpoint {
		r.fault("neither resource/eventlog nor checkpoint/job-manager is in the archive")
	}
	return r
}

// entry judges one key. The error is one of reading, after which nothing more
// can be read.
func (r *Report) entry(e *Entry, d *Reader) error {
	r.Keys++
	r.NewestTime = max(r.NewestTime, e.Time)
	if k, ok := fluid.FromPath(e.Path); ok && k.Complete {
		r.MaxJobID = max(r.MaxJobID, k.ID)
		if len(k.Rest) == 1 && k.Rest[0] == "eventlog" {
			r.Jobs++
		}
	}
	if e.Symlink {
		r.Symlinks++
		return nil
	}
	r.Values++
	r.Bytes += e.Size
	if e.Size > RestoreSizeLimit {
		r.Oversize++
	}
	if e.Size > MaxValue {
		r.fault("%s: %d bytes, more than flux restore can read", e.Name, e.Size)
	}
	switch key := strings.Join(e.Path, "/"); {
	case key == "checkpoint/job-manager" || key == "checkpoint/resource":
		return r.checkpoint(key, e, d)
	case e.Path[len(e.Path)-1] == "eventlog":
		r.ResourceEventlog = r.ResourceEventlog || key == "resource/eventlog"
		return r.log(key, d)
	}
	return nil
}

// maxSmall bounds what is held in memory of one checkpoint value or event.
const maxSmall = 16 << 20

func (r *Report) checkpoint(key string, e *Entry, d *Reader) error {
	if e.Size > maxSmall {
		r.fault("%s: %d bytes, too long", key, e.Size)
		return nil
	}
	b, err := io.ReadAll(d)
	if err != nil {
		return err
	}
	if key == "checkpoint/job-manager" {
		r.JobManagerCheckpoint = true
		c, err := eventlog.ParseJobManagerCheckpoint(b)
		if err != nil {
			r.fault("%s: %v", key, err)
			return nil
		}
		r.MaxJobID = max(r.MaxJobID, c.MaxJobID)
		return nil
	}
	r.ResourceCheckpoint = true
	drains, problems, err := eventlog.ParseDrains(b)
	if err != nil {
		r.fault("%s: %v", key, err)
		return nil
	}
	r.NewestEvent = max(r.NewestEvent, drains.Timestamp)
	for _, p := range problems {
		if p.Fatal {
			r.fault("%s: %s", key, p.Detail)
		}
	}
	return nil
}

// log reads an event log line by line. Text behind the last newline is a fault:
// flux dump writes whole values.
func (r *Report) log(key string, d *Reader) error {
	r.EventLogs++
	br := bufio.NewReaderSize(d, 1<<16)
	for n := 1; ; n++ {
		line, err := readLine(br)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			r.fault("%s line %d: the last line has no newline", key, n)
			return nil
		case errors.Is(err, errLongLine):
			r.fault("%s line %d: longer than 16 MiB", key, n)
			return nil
		case err != nil:
			return err
		}
		e, bad := eventlog.ParseLine(line)
		if bad != nil {
			r.fault("%s line %d: %s (rule %s)", key, n, bad.Detail, bad.Rule)
			continue
		}
		r.NewestEvent = max(r.NewestEvent, e.Timestamp)
	}
}

var errLongLine = errors.New("line is too long")

// readLine reads up to and without the next newline.
func readLine(br *bufio.Reader) ([]byte, error) {
	part, err := br.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSuffix(part, []byte{'\n'}), err
	}
	line := bytes.Clone(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(line) > maxSmall {
			return nil, errLongLine
		}
		part, err = br.ReadSlice('\n')
		line = append(line, part...)
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), err
}
