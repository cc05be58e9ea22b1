package recover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fettle/internal/format/fluxdump"
	"fettle/internal/store"
	"fettle/internal/systems/flux"
)

// restoreLink is the symlink in the dump directory from which Flux's start script restores.
const restoreLink = "RESTORE"

// maxDumps is how many dumps are read, newest first, in search of a good one.
const maxDumps = 20

// dump is one archive.
type dump struct {
	path   string
	time   time.Time        // by its name, else of the file
	report *fluxdump.Report // nil: not read yet
	state  flux.State
}

func (d *dump) good() bool { return d.report != nil && d.report.Good() }

// stampOf is the time in the name that Flux gives to dumps, and we to ours.
func stampOf(name string) (time.Time, bool) {
	name = strings.TrimPrefix(name, emergencyPrefix)
	if len(name) < 15 {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("20060102_150405", name[:15], time.Local)
	return t, err == nil
}

// findDumps lists the archives without reading them, newest first.
func (s *session) findDumps() error {
	ents, err := os.ReadDir(s.DumpDir)
	if err != nil {
		return nil // none, or not a directory: there are no dumps
	}
	seen := map[string]bool{}
	add := func(path string) {
		fi, err := os.Stat(path)
		if err != nil || !fi.Mode().IsRegular() || seen[path] {
			return
		}
		seen[path] = true
		at, ok := stampOf(filepath.Base(path))
		if !ok {
			at = fi.ModTime()
		}
		s.dumps = append(s.dumps, dump{path: path, time: at})
	}
	for _, e := range ents {
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != restoreLink && !strings.HasPrefix(e.Name(), restoreLink+".") {
			add(filepath.Join(s.DumpDir, e.Name()))
		}
	}
	if to, err := filepath.EvalSymlinks(filepath.Join(s.DumpDir, restoreLink)); err == nil {
		add(to)
	}
	slices.SortStableFunc(s.dumps, func(a, b dump) int { return b.time.Compare(a.time) })
	return nil
}

// verifyDumps reads dumps, newest first, until a good one is found, and takes what they tell about jobs and drained nodes.
func (s *session) verifyDumps() error {
	for i := range s.dumps[:min(len(s.dumps), maxDumps)] {
		d := &s.dumps[i]
		if err := s.read(d); err != nil {
			return err
		}
		s.ev.State.AddJob(d.report.MaxJobID)
		d.state.TellTo(&s.ev.State)
		if d.good() {
			s.rep.GoodDump = d.path
			return nil
		}
		s.rep.note("%s is not a good dump: %s", d.path, d.report.Faults[0])
	}
	return nil
}

// read verifies a dump and reads what it tells.
func (s *session) read(d *dump) error {
	if d.report != nil {
		return nil
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.Tell("verifying " + d.path)
	f, err := os.Open(d.path)
	if err != nil {
		d.report = &fluxdump.Report{Faults: []string{err.Error()}, FaultCount: 1}
		return nil
	}
	defer f.Close()
	d.report = s.verify(f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", d.path, err)
	}
	d.readState(f)
	return nil
}

// verify reads a dump to its end.
func (s *session) verify(f *os.File) *fluxdump.Report {
	var size int64
	if fi, err := f.Stat(); err == nil {
		size = fi.Size()
	}
	part := store.Begin(s.ctx, "verify", "verifying "+filepath.Base(f.Name()), 0, size)
	defer part.End()
	return fluxdump.Verify(countedReader{f, part}, 0)
}

// countedReader counts the bytes that are read.
type countedReader struct {
	io.Reader
	part *store.Part
}

func (r countedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.part.Did(0, int64(n))
	return n, err
}

// maxStateValue bounds the values that are read into memory, in bytes.
const maxStateValue = 256 << 20

// readState takes drained nodes and queues from as much of a dump as can be read.
func (d *dump) readState(r io.Reader) {
	in, err := fluxdump.NewReader(r, 0)
	for err == nil {
		var e *fluxdump.Entry
		if e, err = in.Next(); err != nil {
			break
		}
		key := strings.Join(e.Path, "/")
		if e.Symlink || e.Size > maxStateValue || key != "checkpoint/resource" && key != "checkpoint/job-manager" && key != "resource/eventlog" {
			continue
		}
		var content []byte
		if content, err = io.ReadAll(in); err != nil {
			break
		}
		switch key {
		case "checkpoint/resource":
			d.state.AddResource(content)
		case "checkpoint/job-manager":
			d.state.AddJobManager(content)
		default:
			d.state.AddLog(content)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) && d.report.Good() {
		d.report.Faults, d.report.FaultCount = append(d.report.Faults, err.Error()), 1
	}
}

// goodDump is the newest dump known to be good, nil if there is none.
func (s *session) goodDump() *dump {
	for i := range s.dumps {
		if s.dumps[i].good() {
			return &s.dumps[i]
		}
	}
	return nil
}
