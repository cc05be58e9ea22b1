package snapshotdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"fettle/internal/format/boltfile"
)

// Kind is the kind of a snapshot (core/snapshots).
type Kind byte

// The kinds.
const (
	KindView      Kind = 1
	KindActive    Kind = 2
	KindCommitted Kind = 3
)

func (k Kind) String() string {
	switch k {
	case KindView:
		return "view"
	case KindActive:
		return "active"
	case KindCommitted:
		return "committed"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Snapshot is one bucket of v1/snapshots in metadata.db.
type Snapshot struct {
	Key     string // backend key: NAMESPACE/SEQUENCE/KEY
	ID      uint64
	Kind    Kind
	Parent  string // backend key, "" for a base
	Created time.Time
	FSType  string // label containerd.io/snapshot/devmapper/fstype
	Size    int64  // of a committed snapshot: bytes including its parents
	Err     error  // something that must be there is not, or cannot be decoded
}

// Link is one entry of v1/parents: the snapshot with id Child, whose key is Key, is a child of the one with id Parent.
type Link struct {
	Raw           []byte // the key of the entry
	Parent, Child uint64
	Key           string
	Err           error
}

// Metastore is what metadata.db holds.
type Metastore struct {
	Snapshots []Snapshot // in the order of their keys
	Links     []Link
	Sequence  uint64
	Missing   []string
	Damage    error
}

// ReadMetastore reads a whole metadata.db. Memory grows with the number of snapshots.
func ReadMetastore(f *boltfile.File) *Metastore {
	m := &Metastore{}
	var damage []error
	snaps := each(f.Root(), []string{"v1", "snapshots"}, &m.Missing, &damage, func(key, value []byte, sub *boltfile.Bucket) {
		m.Snapshots = append(m.Snapshots, DecodeSnapshot(key, sub))
	})
	if snaps != nil {
		m.Sequence = snaps.Sequence()
	}
	// Before the first snapshot has a parent there is no bucket for links.
	each(f.Root(), []string{"v1", "parents"}, nil, &damage, func(key, value []byte, sub *boltfile.Bucket) {
		m.Links = append(m.Links, decodeLink(key, value))
	})
	m.Damage = errors.Join(damage...)
	return m
}

// DecodeSnapshot decodes a bucket of v1/snapshots; sub is nil if there is none.
func DecodeSnapshot(key []byte, sub *boltfile.Bucket) Snapshot {
	s := Snapshot{Key: string(key)}
	if sub == nil {
		s.Err = errors.New("a value stands where a snapshot's bucket should be")
	} else {
		decodeSnapshot(&s, sub)
	}
	return s
}

func decodeSnapshot(s *Snapshot, b *boltfile.Bucket) {
	var bad []error
	wrong := func(field string, err error) { bad = append(bad, fmt.Errorf("%s %w", field, err)) }
	haveID, haveKind := false, false
	err := b.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		switch string(key) {
		case "id":
			id, err := Uvarint(value)
			if err != nil {
				wrong("id", err)
			}
			s.ID, haveID = id, true
		case "kind":
			if len(value) != 1 || value[0] < byte(KindView) || value[0] > byte(KindCommitted) {
				wrong("kind", fmt.Errorf("%x is none of 1 (view), 2 (active), 3 (committed)", head(value)))
			} else {
				s.Kind = Kind(value[0])
			}
			haveKind = true
		case "parent":
			s.Parent = string(value)
		case "createdat", "updatedat":
			if err := stamp(string(key), value, &s.Created); err != nil {
				bad = append(bad, err)
			}
		case "size":
			n, k := binary.Varint(value)
			if k <= 0 || k != len(value) {
				wrong("size", fmt.Errorf("%x is no varint", head(value)))
			}
			s.Size = n
		case "labels":
			if sub != nil {
				v, _, err := sub.Get([]byte(LabelFSType))
				if err != nil {
					wrong("labels", err)
				}
				s.FSType = strings.Clone(string(v))
			}
		}
		return nil
	})
	if err != nil {
		bad = append(bad, err)
	}
	if !haveID {
		wrong("id", errAbsent)
	}
	if !haveKind {
		wrong("kind", errAbsent)
	}
	s.Err = errors.Join(bad...)
}

// LabelFSType is the label that says which file system the snapshotter made.
const LabelFSType = "containerd.io/snapshot/devmapper/fstype"

func decodeLink(key, value []byte) Link {
	l := Link{Raw: append([]byte{}, key...), Key: string(value)}
	parent, n := binary.Uvarint(key)
	if n <= 0 || n >= len(key) || key[n] != 0 {
		l.Err = fmt.Errorf("key %x is not a parent's id, a zero byte and a child's id", head(key))
		return l
	}
	child, m := binary.Uvarint(key[n+1:])
	if m <= 0 || n+1+m != len(key) {
		l.Err = fmt.Errorf("key %x is not a parent's id, a zero byte and a child's id", head(key))
		return l
	}
	l.Parent, l.Child = parent, child
	return l
}

// LinkKey is the key of an entry of v1/parents.
func LinkKey(parent, child uint64) []byte {
	b := binary.AppendUvarint(nil, parent)
	return binary.AppendUvarint(append(b, 0), child)
}

// Uvarint decodes a value that is one unsigned varint and nothing else.
func Uvarint(b []byte) (uint64, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n != len(b) {
		return 0, fmt.Errorf("%x is no unsigned varint", head(b))
	}
	return v, nil
}
