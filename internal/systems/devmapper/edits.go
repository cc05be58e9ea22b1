package devmapper

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"

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

// set makes a record so; a record that is so already is left alone.
func (e *edits) set(target, addr string, after store.Bytes, note string) error {
	before, err := e.now(target, addr)
	if err != nil {
		return err
	}
	if (before == nil) == (after == nil) && bytes.Equal(before, after) {
		return nil
	}
	k := target + "\x00" + addr
	if i, ok := e.at[k]; ok {
		e.list[i].After, e.list[i].Note = after, note
		return nil
	}
	e.at[k] = len(e.list)
	e.list = append(e.list, store.Change{Target: target, Addr: addr, Before: before, After: after, Note: note})
	return nil
}

// changes are the changes that are left: those that were taken back by a later one are not.
func (e *edits) changes() []store.Change {
	return slices.DeleteFunc(slices.Clone(e.list), store.Change.Guard)
}
