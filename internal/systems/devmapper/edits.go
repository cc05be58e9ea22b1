package devmapper

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"fettle/internal/format/boltfile"
	"fettle/internal/store"
)

// edits collects the changes of records that a plan makes, each record once. What a record was is read from the files, not from
// what was decoded of it.
type edits struct {
	files map[string]*boltfile.File // by target
	base  *edits                    // changes that come before these; nil for none
	list  []store.Change
	at    map[string]int // index into list by target and address
	trail *trail         // where set writes down how to take back what it did; nil for nowhere
}

func newEdits() *edits { return &edits{files: map[string]*boltfile.File{}, at: map[string]int{}} }

// open makes a bolt file readable under its target's name.
func (e *edits) open(path string) error {
	if path == "" {
		return nil
	}
	f, err := boltfile.Open(path)
	if err != nil {
		return err
	}
	e.files[filepath.Base(path)] = f
	return nil
}

func (e *edits) close() {
	for _, f := range e.files {
		f.Close()
	}
}

// now is the content of a record as the plan has it so far.
func (e *edits) now(target, addr string) (store.Bytes, error) {
	if i, ok := e.at[target+"\x00"+addr]; ok {
		return e.list[i].After, nil
	}
	if _, changed := e.above(target, addr); changed {
		return nil, nil // a bucket that is removed, or written again without this
	}
	if e.base != nil {
		return e.base.now(target, addr)
	}
	f := e.files[target]
	if f == nil {
		return nil, fmt.Errorf("%s is not there", target)
	}
	b, err := readBoltRecord(f, addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", target, addr, err)
	}
	return b, nil
}

// above is what the plan makes of the nearest whole bucket that a record lies in, if it changes one.
func (e *edits) above(target, addr string) (after store.Bytes, changed bool) {
	for at := strings.TrimSuffix(addr, "/"); ; {
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return nil, false
		}
		at = at[:i]
		if k, ok := e.at[target+"\x00"+at+"/"]; ok {
			return e.list[k].After, true
		}
	}
}

// set makes a record so; a record that is so already is left alone. Below a bucket that the plan removes there is nothing to set, and what is
// in one that the plan writes again is decided with it: a key set there would make the bucket anew, or be lost.
func (e *edits) set(target, addr string, after store.Bytes, note string) error {
	before, err := e.now(target, addr)
	if err != nil {
		return err
	}
	if (before == nil) == (after == nil) && bytes.Equal(before, after) {
		return nil
	}
	if bucket, changed := e.above(target, addr); changed {
		if bucket == nil {
			return left("what it belongs to is removed by the decision about another finding")
		}
		return left("what it belongs to is written again by the decision about another finding")
	}
	k := target + "\x00" + addr
	if i, ok := e.at[k]; ok {
		was := e.list[i]
		e.trail.note(func() { e.list[i] = was })
		e.list[i].After, e.list[i].Note = after, note
	} else {
		e.trail.note(func() { e.list = e.list[:len(e.list)-1]; delete(e.at, k) })
		e.at[k] = len(e.list)
		e.list = append(e.list, store.Change{Target: target, Addr: addr, Before: before, After: after, Note: note})
	}
	e.trail.touch(target)
	return nil
}

// rebase makes the changes start from what those before them leave in the end.
func (e *edits) rebase() error {
	if e.base == nil {
		return nil
	}
	for i := range e.list {
		c := &e.list[i]
		before, err := e.base.now(c.Target, c.Addr)
		if err != nil {
			return err
		}
		c.Before = before
	}
	return nil
}

// changes are the changes that are left: those that were taken back by a later one are not.
func (e *edits) changes() []store.Change {
	return slices.DeleteFunc(slices.Clone(e.list), store.Change.Guard)
}
