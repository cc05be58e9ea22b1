package fluxlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The walk follows every path, so a store with many ways to the same directory is not for it: it ends at so many paths,
// and so many more per row.
const (
	maxPaths       = 20_000
	maxPathsPerRow = 10
)

// errTooManyPaths is why the naive walk gives up.
var errTooManyPaths = errors.New("too many paths for a walk that follows every one of them")

// badRef is one bad reference of a key.
type badRef struct {
	index int
	hash  string
	class string
}

// badKey is one damaged key.
type badKey struct {
	path string
	kind string
	of   int
	bad  []badRef
	rule string
}

// place is a directory that was walked.
type place struct {
	path []string
	hash string
}

// survey is what one walk from a root met.
type survey struct {
	bad    []badKey
	paths  []string            // every entry that was met, inline ones too, in the order of the walk
	values map[string]struct{} // hashes of blobs that a valref names
	dirs   map[string]struct{} // hashes of blobs that a dirref names
	places []place             // every directory that was read
	jobs   []place             // those that are a job with a finished and whole eventlog
}

// walk follows every path from the root directory with this hash.
func (p *picture) walk(root string) (*survey, error) {
	s := &survey{values: map[string]struct{}{}, dirs: map[string]struct{}{}}
	ignoreKeys := p.blobKeys() > maxSingleBlobKeys
	stack := []place{{nil, root}}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		row, _ := p.best(at.hash)
		content, err := p.content(row.id)
		if err != nil {
			return nil, err
		}
		s.places = append(s.places, at)
		dir := parse(content)
		children, err := p.entries(s, at.path, &dir, ignoreKeys)
		if err != nil {
			return nil, err
		}
		p.eventlog(s, at, &dir)
		slices.Reverse(children)
		stack = append(stack, children...)
		if len(s.paths)+len(stack) > maxPaths+maxPathsPerRow*p.count {
			return nil, errTooManyPaths
		}
	}
	return s, nil
}

// entries judges the entries of a directory, those of inline directories too, and returns the directories below.
func (p *picture) entries(s *survey, path []string, dir *object, ignoreKeys bool) (children []place, err error) {
	for _, e := range dir.entries() {
		sub := append(path[:len(path):len(path)], e.name)
		key := strings.Join(sub, ".")
		s.paths = append(s.paths, key)
		o := parse(e.raw)
		k := badKey{path: key, kind: o.kind, of: len(o.refs), rule: o.rule}
		switch {
		case o.rule != "":
		case o.kind == "dir":
			below, err := p.entries(s, sub, &o, ignoreKeys)
			if err != nil {
				return nil, err
			}
			children = append(children, below...)
		case o.kind == "valref":
			for i, h := range o.refs {
				s.values[h] = struct{}{}
				if c := p.fault(h, danglingValref); c != "" && !(c == hashStorageClass && ignoreKeys) {
					k.bad = append(k.bad, badRef{i, h, c})
				}
			}
		case o.kind == "dirref":
			h := o.refs[0]
			s.dirs[h] = struct{}{}
			c := p.fault(h, danglingDirref)
			if c == "" || c == hashStorageClass {
				row, _ := p.best(h)
				content, err := p.content(row.id)
				if err != nil {
					return nil, err
				}
				if no := notDir(content); no != "" {
					c = no
				} else {
					children = append(children, place{sub, h})
				}
			}
			if c != "" && !(c == hashStorageClass && ignoreKeys) {
				k.bad = append(k.bad, badRef{0, h, c})
			}
		}
		if k.rule != "" || len(k.bad) > 0 {
			s.bad = append(s.bad, k)
		}
	}
	return children, nil
}

// fault says what is wrong with the blob that a reference names, missing if there is none.
func (p *picture) fault(hash, missing string) string {
	row, ok := p.best(hash)
	switch {
	case !ok:
		return missing
	case row.fault != "":
		return row.fault
	case row.blobKey:
		return hashStorageClass
	}
	return ""
}

// notDir says what is wrong with content that should be a directory, "" if nothing.
func notDir(content []byte) string {
	o := parse(content)
	switch {
	case o.kind == "dir" && o.rule == "":
		return ""
	case o.kind == "dir":
		return invalidTreeobj
	}
	return notADirectory
}

// eventlog judges the eventlog of a job directory, if all its blobs are good.
func (p *picture) eventlog(s *survey, at place, dir *object) {
	m, _ := members(dir.data)
	if m["eventlog"] == nil || m["jobspec"] == nil && m["J"] == nil {
		return
	}
	o := parse(m["eventlog"])
	if o.kind != "valref" || o.rule != "" {
		return
	}
	var names []string
	for _, h := range o.refs {
		row, ok := p.best(h)
		if !ok || row.fault != "" || row.blobKey {
			return
		}
		content, err := p.content(row.id)
		if err != nil {
			return
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
			var e struct{ Name string }
			if json.Unmarshal([]byte(line), &e) != nil {
				return
			}
			names = append(names, e.Name)
		}
	}
	if !possible(names) {
		s.bad = append(s.bad, badKey{path: strings.Join(append(at.path[:len(at.path):len(at.path)], "eventlog"), "."), kind: eventlogOrder})
	} else if len(o.refs) > 2 {
		s.jobs = append(s.jobs, at)
	}
}

// possible tells whether a job can have had these events in this order: submit comes first and once, and nothing that
// changes the job's state comes after clean.
func possible(names []string) bool {
	state := "submit validate depend priority alloc start finish release free clean"
	clean := false
	for i, n := range names {
		if (n == "submit") != (i == 0) || clean && slices.Contains(strings.Fields(state), n) {
			return false
		}
		clean = clean || n == "clean"
	}
	return true
}

// class is what a finding about the key is filed under: its worst fault.
func (k *badKey) class() string {
	if k.kind == eventlogOrder {
		return eventlogOrder
	}
	order := []string{danglingValref, danglingDirref, undecodableBlob, hashMismatch, notADirectory, invalidTreeobj, hashStorageClass}
	class := invalidTreeobj
	for i, b := range k.bad {
		if i == 0 || slices.Index(order, b.class) < slices.Index(order, class) {
			class = b.class
		}
	}
	return class
}

// hides tells whether keys below this one are out of reach.
func (k *badKey) hides() bool {
	return k.kind == "dirref" && len(k.bad) > 0 && k.bad[0].class != hashStorageClass || k.kind == "dir" && k.rule != ""
}

func (k *badKey) note() string {
	switch {
	case k.rule != "":
		return k.rule
	case k.kind == eventlogOrder:
		return "events are out of order"
	}
	var faults []string
	for _, b := range k.bad {
		if f := strings.TrimPrefix(b.class, "flux/"); !slices.Contains(faults, f) {
			faults = append(faults, f)
		}
	}
	return fmt.Sprintf("%d of %d blobs of a %s: %s", len(k.bad), k.of, k.kind, strings.Join(faults, ", "))
}
