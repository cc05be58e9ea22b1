package mdtrecord

import (
	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
)

// Target is one metadata target of a Set.
type Target struct {
	FS *ext4.FS // stays the caller's, who closes it after the last use of the Set
	OI []uint32 // inodes of the files of the object index in their order, 0 for one that is missing
}

// Set is an edit of every target of a file system. What it reads is what was written to it. It is not for use by more than one goroutine.
type Set struct {
	edits []*ext4edit.Edit
	oi    [][]uint32
}

// Open begins edits of all targets. ext4edit.ErrRefused says that one of them cannot be edited as it is.
func Open(targets []Target, opt ext4edit.Options) (*Set, error) {
	s := &Set{}
	for _, t := range targets {
		e, err := ext4edit.Open(t.FS, opt)
		if err != nil {
			return nil, err
		}
		s.edits, s.oi = append(s.edits, e), append(s.oi, t.OI)
	}
	return s, nil
}

// Edit is the edit of a target: for views, for what is no record, and for the blocks that come out.
func (s *Set) Edit(mdt int) *ext4edit.Edit { return s.edits[mdt] }

// Together makes one operation of what fn does to all targets: if it fails, none of them is changed.
func (s *Set) Together(fn func() error) error { return s.together(0, fn) }

func (s *Set) together(i int, fn func() error) error {
	if i == len(s.edits) {
		return fn()
	}
	return s.edits[i].Try(func() error { return s.together(i+1, fn) })
}
