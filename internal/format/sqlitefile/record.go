package sqlitefile

import (
	"encoding/binary"
	"math"
)

// Kind is the storage class of a value.
type Kind uint8

// Storage classes.
const (
	Null Kind = iota
	Int
	Float
	Text
	Blob
)

func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Int:
		return "integer"
	case Float:
		return "real"
	case Text:
		return "text"
	case Blob:
		return "blob"
	}
	return "unknown"
}

// Value is one column of a record.
type Value struct {
	Kind Kind
	I    int64   // Int
	F    float64 // Float
	B    []byte  // Text (in the database's encoding) and Blob; lives in the Reader's buffers
}

// Row is one record: a row of a table or an entry of an index. The zero value is ready for use; reuse it between calls.
type Row struct {
	RowID       int64 // table rows. A column declared INTEGER PRIMARY KEY is stored as Null and has this value
	Cols        []Value
	Page        uint32
	Cell        int
	PayloadSize int    // declared size of the record in bytes
	Overflow    bool   // part of the record lies on overflow pages
	Truncated   bool   // not all columns that the record declares could be read
	Tail        []byte // if Truncated: the bytes that there are of column len(Cols)
	TailKind    Kind   // storage class of that column
}

// maxColumns is the most columns SQLite can be compiled for (SQLITE_MAX_COLUMN).
const maxColumns = 32767

func (w *Row) reset(page uint32, cell int) {
	w.Page, w.Cell, w.Cols = page, cell, w.Cols[:0]
	w.RowID, w.PayloadSize, w.Overflow, w.Truncated, w.Tail, w.TailKind = 0, 0, false, false, nil, Null
}

// decode splits payload, the first bytes of a record of total bytes, into columns (fileformat2.html, 2.1). It returns ""
// or FaultRecord. A payload shorter than total sets Truncated and is not a fault of its own.
func (w *Row) decode(payload []byte, total uint64) RowFault {
	size, n := varint(payload)
	if n == 0 || size > uint64(len(payload)) {
		w.Truncated = true
		if uint64(len(payload)) < total && (n == 0 || size <= total) {
			return ""
		}
		return FaultRecord
	}
	if size < uint64(n) {
		w.Truncated = true
		return FaultRecord
	}
	return w.columns(payload[n:size], payload[size:], total-size)
}

// columns decodes the serial types in head and their values in body. rest is the declared length of the body, of which
// the end may be missing.
func (w *Row) columns(head, body []byte, rest uint64) RowFault {
	cols := w.Cols // a local copy: storing the slice into w for each column costs a write barrier
	defer func() { w.Cols = cols }()
	for len(head) > 0 {
		typ, n := varint(head)
		if n == 0 || len(cols) == maxColumns {
			w.Truncated = true
			return FaultRecord
		}
		head = head[n:]
		length := serialLength(typ)
		if length > uint64(len(body)) {
			w.Truncated, w.TailKind = true, serialKind(typ)
			if length > rest {
				return FaultRecord // or a reserved type
			}
			w.Tail = body
			return ""
		}
		if len(cols) == cap(cols) {
			cols = append(cols, Value{})
		} else {
			cols = cols[:len(cols)+1]
		}
		cols[len(cols)-1].set(typ, body[:length:length])
		body = body[length:]
		rest -= length
	}
	return ""
}

// serialLength is the number of body bytes of a serial type; impossibly many for the reserved types 10 and 11.
func serialLength(typ uint64) uint64 {
	if typ >= 12 {
		return (typ - 12) / 2
	}
	return fixedLength[typ]
}

var fixedLength = [12]uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, math.MaxUint64, math.MaxUint64}

func serialKind(typ uint64) Kind {
	switch {
	case typ == 0 || typ == 10 || typ == 11:
		return Null
	case typ == 7:
		return Float
	case typ < 12:
		return Int
	case typ%2 == 0:
		return Blob
	}
	return Text
}

// set decodes the body b of serial type typ into v, which may hold anything.
func (v *Value) set(typ uint64, b []byte) {
	if typ >= 12 {
		v.Kind, v.I, v.F, v.B = Blob-Kind(typ&1), 0, 0, b // odd types are text
		return
	}
	*v = Value{Kind: serialKind(typ)}
	switch typ {
	case 1:
		v.I = int64(int8(b[0]))
	case 7:
		v.F = math.Float64frombits(binary.BigEndian.Uint64(b))
	case 8, 9:
		v.I = int64(typ - 8)
	case 2, 3, 4, 5, 6:
		v.I = int64(int8(b[0]))
		for _, c := range b[1:] {
			v.I = v.I<<8 | int64(c)
		}
	}
}
