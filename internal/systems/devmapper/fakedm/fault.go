package fakedm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// When says at which point of a call a fault strikes.
type When string

// The points.
const (
	Before When = "before" // the call has done nothing
	During When = "during" // half of what mkfs writes is written; the same as Before for dmsetup, whose messages are atomic
	After  When = "after"  // the call has done its work and the caller has not heard of it
)

// How says what a fault does.
type How string

// The kinds of faults.
const (
	Kill How = "kill" // the caller gets SIGKILL
	Fail How = "fail" // the call prints Text on standard error and ends with 1
	Hang How = "hang" // the call does not return while the caller lives
	// Keep copies the files of Files aside, to their names with ".kept" added, and lets the call return. A file put back from its copy
	// afterwards is one whose later commits never reached the disk.
	Keep How = "keep"
)

// Fault is something that goes wrong at the Nth call that matches Pattern.
type Fault struct {
	Pattern string   `json:"pattern"` // of path.Match over the words of the call, where a star also matches blanks and slashes
	Nth     int      `json:"nth"`     // from 1; 0 means 1
	When    When     `json:"when"`
	How     How      `json:"how"`
	Text    string   `json:"text,omitempty"`
	Files   []string `json:"files,omitempty"`
	Seen    int      `json:"seen"` // calls that matched so far
	Fired   bool     `json:"fired,omitempty"`
}

// match tells whether line matches the pattern, in which a star stands for any text.
func match(pattern, line string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(line, part)
		}
		at := strings.Index(line, part)
		if at < 0 {
			return false
		}
		line = line[at+len(part):]
	}
	return line == ""
}

// due finds the fault that strikes at this call, counting it for every fault that it matches.
func (s *State) due(line string) *Fault {
	var out *Fault
	for _, f := range s.Faults {
		if f.Fired || !match(f.Pattern, line) {
			continue
		}
		f.Seen++
		if f.Seen == max(1, f.Nth) && out == nil {
			f.Fired, out = true, f
		}
	}
	return out
}

// strike does what a fault does that ends the call, and returns the exit code.
func (f *Fault) strike(stderr io.Writer, caller int) int {
	switch f.How {
	case Kill:
		if err := unix.Kill(caller, unix.SIGKILL); err != nil {
			fmt.Fprintln(stderr, "fakedm: kill the caller:", err)
		}
		return 137
	case Hang:
		for os.Getppid() == caller {
			time.Sleep(20 * time.Millisecond)
		}
		return 137
	}
	fmt.Fprintln(stderr, f.Text)
	return 1
}

// keeps tells whether f is a fault that copies files at that point.
func (f *Fault) keeps(w When) bool { return f != nil && f.How == Keep && f.When == w }

// keep copies the fault's files aside.
func (f *Fault) keep() error {
	for _, name := range f.Files {
		if err := keep(name); err != nil {
			return err
		}
	}
	return nil
}

// keep copies a file aside.
func keep(name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name + keptSuffix)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

const keptSuffix = ".kept"

// PutBack replaces each file by the copy that a fault of kind Keep has made.
func PutBack(files ...string) error {
	for _, name := range files {
		if err := os.Rename(name+keptSuffix, name); err != nil {
			return fmt.Errorf("put back %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}
