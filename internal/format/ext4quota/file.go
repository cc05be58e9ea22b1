package ext4quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

var le = binary.LittleEndian

// Kind says for whom a file counts.
type Kind uint8

// The kinds, in the order of the superblock's fields.
const (
	User Kind = iota
	Group
	Project
	Kinds = 3 // how many there are
)

// String gives the word for it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind is the reverse of String.
func ParseKind(s string) (Kind, error) {
	i := slices.Index(kindNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("unknown kind of quota %q", s)
	}
	return Kind(i), nil
}

var (
	kindNames = [Kinds]string{"user", "group", "project"}
	magics    = [Kinds]uint32{0xd9c01f11, 0xd9c01927, 0xd9c03f14}
)

// Errors that callers tell apart with errors.Is.
var (
	ErrDamaged = errors.New("damaged quota file")
	ErrForm    = errors.New("not a quota file of the known form (version 2, revision 1)")
	ErrFull    = errors.New("no room for another id")
	ErrTooBig  = errors.New("the quota file is too large")
)

// MaxSize bounds the files that are read: 64 MiB hold about 900,000 ids.
const MaxSize = 64 << 20

// Sizes and places, see the package comment.
const (
	BlockSize = 1024

	version    = 1
	infoBlocks = 20 // u32, in block 0
	infoFree   = 24 // u32, first free block
	infoRoom   = 28 // u32, first block of entries with room
	infoEnd    = 32

	depth   = 4 // levels of tables
	treeOff = 1 // block of the first table

	leafNext   = 0 // u32
	leafPrev   = 4 // u32
	leafCount  = 8 // u16
	leafHeader = 16

	entrySize   = 72
	entryInodes = 24 // u64
	entryBytes  = 48 // u64
	entryGrace  = 64 // u64, the time until which more inodes than the soft limit are granted
	perLeaf     = (BlockSize - leafHeader) / entrySize
)

// Usage is what one id has.
type Usage struct {
	Inodes uint64
	Bytes  uint64
}

// File is the content of a quota file. It is for one goroutine.
type File struct {
	kind    Kind
	data    []byte         // a multiple of BlockSize
	blocks  uint32         // in use, free ones included
	entries map[uint32]int // byte at which the entry of an id begins
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Decode reads the content of a quota file. data is copied. The errors are ErrForm, ErrTooBig and ErrDamaged.
func Decode(kind Kind, data []byte) (*File, error) {
	switch {
	case len(data) > MaxSize:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(data))
	case kind >= Kinds || len(data) < infoEnd || le.Uint32(data) != magics[kind] || le.Uint32(data[4:]) != version:
		return nil, fmt.Errorf("%s: %w", kind, ErrForm)
	}
	f := &File{kind: kind, entries: map[uint32]int{}}
	f.data = make([]byte, (len(data)+BlockSize-1)/BlockSize*BlockSize)
	copy(f.data, data)
	f.blocks = le.Uint32(data[infoBlocks:])
	have := uint32(len(f.data) / BlockSize)
	if f.blocks <= treeOff || f.blocks > have {
		return nil, damaged("it says that it has %d blocks, and holds %d", f.blocks, have)
	}
	if free, room := le.Uint32(data[infoFree:]), le.Uint32(data[infoRoom:]); free >= f.blocks || room >= f.blocks {
		return nil, damaged("free block %d, or block with room %d, of %d", free, room, f.blocks)
	}
	w := walk{f: f, seen: make([]byte, f.blocks)}
	if err := w.table(treeOff, 0, 0); err != nil {
		return nil, err
	}
	if err := w.leaves(); err != nil {
		return nil, err
	}
	return f, nil
}

// What a block was seen as.
const (
	unseen = iota
	asTable
	asLeaf
)

// walk is one walk over the tree.
type walk struct {
	f    *File
	seen []byte
	refs int // ids that the tree knows
}

// table goes through a table of block numbers; id holds the bytes of the id that led to it.
func (w *walk) table(block uint32, level int, id uint32) error {
	if w.seen[block] != unseen {
		return damaged("block %d is used twice", block)
	}
	w.seen[block] = asTable
	t := w.f.block(block)
	for i := range uint32(BlockSize / 4) {
		next := le.Uint32(t[4*i:])
		if next == 0 {
			continue
		}
		if next >= w.f.blocks || next <= treeOff {
			return damaged("table in block %d refers to block %d of %d", block, next, w.f.blocks)
		}
		below := id<<8 | i
		if level < depth-1 {
			if err := w.table(next, level+1, below); err != nil {
				return err
			}
			continue
		}
		if w.seen[next] == asTable {
			return damaged("block %d is used twice", next)
		}
		w.seen[next] = asLeaf
		at := w.f.find(next, below)
		if at < 0 {
			return damaged("id %d is not in block %d", below, next)
		}
		w.f.entries[below] = at
		w.refs++
	}
	return nil
}

// leaves checks the counts of the blocks with entries, and that each entry is known to the tree.
func (w *walk) leaves() error {
	for b, as := range w.seen {
		if as != asLeaf {
			continue
		}
		leaf, n := w.f.block(uint32(b)), 0
		for i := range perLeaf {
			x := leaf[leafHeader+i*entrySize:][:entrySize]
			if empty(x) {
				continue
			}
			n++
			if at, ok := w.f.entries[le.Uint32(x)]; !ok || at != b*BlockSize+leafHeader+i*entrySize {
				return damaged("block %d has an entry for id %d, to which the tree does not lead", b, le.Uint32(x))
			}
		}
		if count := int(le.Uint16(leaf[leafCount:])); count != n {
			return damaged("block %d says that it has %d entries, and has %d", b, count, n)
		}
	}
	return nil
}

func (f *File) block(n uint32) []byte { return f.data[int(n)*BlockSize:][:BlockSize] }

// find gives the byte at which the entry of an id begins in a block, -1 if it is not there.
func (f *File) find(block, id uint32) int {
	leaf := f.block(block)
	for i := range perLeaf {
		x := leaf[leafHeader+i*entrySize:][:entrySize]
		if le.Uint32(x) == id && !empty(x) {
			return int(block)*BlockSize + leafHeader + i*entrySize
		}
	}
	return -1
}

func empty(x []byte) bool {
	for _, b := range x {
		if b != 0 {
			return false
		}
	}
	return true
}

// IDs lists the ids that have an entry, ascending.
func (f *File) IDs() []uint32 { return slices.Sorted(maps.Keys(f.entries)) }

// Get gives the usage of an id. ok is false if it has no entry.
func (f *File) Get(id uint32) (u Usage, ok bool) {
	at, ok := f.entries[id]
	if !ok {
		return u, false
	}
	return Usage{Inodes: le.Uint64(f.data[at+entryInodes:]), Bytes: le.Uint64(f.data[at+entryBytes:])}, true
}

// At gives the bytes of the file that hold the entry of an id.
func (f *File) At(id uint32) (from, to int, ok bool) {
	at, ok := f.entries[id]
	return at, at + entrySize, ok
}

// Set changes the usage of an id that has an entry; it returns false when it has none.
func (f *File) Set(id uint32, u Usage) bool {
	at, ok := f.entries[id]
	if !ok {
		return false
	}
	x := f.data[at : at+entrySize]
	if le.Uint64(x[entryGrace:]) == 1 && onlyGrace(x) {
		le.PutUint64(x[entryGrace:], 0)
	}
	le.PutUint64(x[entryInodes:], u.Inodes)
	le.PutUint64(x[entryBytes:], u.Bytes)
	if empty(x) {
		le.PutUint64(x[entryGrace:], 1)
	}
	return true
}

// onlyGrace says whether an entry is the mark of id 0 without usage and limits.
func onlyGrace(x []byte) bool { return empty(x[:entryGrace]) }

// Data gives the content: as long as the file was, or as long as its blocks need if that is more. It must not be changed.
func (f *File) Data() []byte { return f.data }
