package check

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"fettle/internal/fault"
	"fettle/internal/finding"
)

// Baseline is a list of known findings that somebody accepted. A finding is meant by its class and its path or subject.
type Baseline struct {
	mu      sync.Mutex
	entries map[entry]bool // whether it was met
}

type entry struct{ class, key string }

// ReadBaseline reads the file path. See ParseBaseline.
func ReadBaseline(path string, classes finding.Classes) (*Baseline, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &fault.Error{Op: "read baseline", Err: err, Kind: fault.Usage}
	}
	defer f.Close()
	return ParseBaseline(f, path, classes)
}

// ParseBaseline reads lines "CLASS KEY", where KEY is the path or the subject of the finding, quoted as in Go if it
// holds what a line cannot. Empty lines and lines that begin with # are left out. CLASS may be an alias; an unknown
// one is an error. name is used in errors.
func ParseBaseline(r io.Reader, name string, classes finding.Classes) (*Baseline, error) {
	b := &Baseline{entries: map[entry]bool{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	n := 0
	bad := func(err error, hint string) error {
		return &fault.Error{Op: "read baseline", Where: fmt.Sprintf("%s line %d", name, n), Err: err, Hint: hint, Kind: fault.Usage}
	}
	for sc.Scan() {
		n++
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, key, _ := strings.Cut(line, " ")
		key = strings.TrimSpace(key)
		c, ok := classes.Lookup(id)
		if !ok {
			return nil, bad(fmt.Errorf("no class is called %q", id), "fettle classes lists them")
		}
		if key == "" {
			return nil, bad(fmt.Errorf("nothing after %q", id), "write: CLASS PATH-OR-SUBJECT")
		}
		if key[0] == '"' {
			var err error
			if key, err = strconv.Unquote(key); err != nil {
				return nil, bad(fmt.Errorf("the quoted key ends wrongly: %w", err), "")
			}
		}
		b.entries[entry{c.ID, key}] = false
	}
	if err := sc.Err(); err != nil {
		n++
		return nil, bad(err, "")
	}
	return b, nil
}

// BaselineLine is the line that accepts f.
func BaselineLine(f *finding.Finding) string {
	key := f.PathOr(f.Subject)
	if key == "" || key[0] == '"' || strings.TrimSpace(key) != key || strings.ContainsFunc(key, func(r rune) bool { return !strconv.IsPrint(r) }) {
		key = strconv.Quote(key)
	}
	return f.Class + " " + key
}

// accepts tells whether f is in the baseline; a nil Baseline accepts nothing.
func (b *Baseline) accepts(f *finding.Finding) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range []string{f.PathOr(f.Subject), f.Subject} {
		e := entry{f.Class, key}
		if _, ok := b.entries[e]; ok {
			b.entries[e] = true
			return true
		}
	}
	return false
}

// unmet counts the entries that no finding has met.
func (b *Baseline) unmet() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, met := range b.entries {
		if !met {
			n++
		}
	}
	return n
}
