package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"fettle/internal/store"
)

// A journal is a sequence of frames; all numbers are little-endian:
//
//	 0  4  marker "fJr1"
//	 4  1  kind
//	 5  3  zero
//	 8  8  nonce: random, the same in all frames of a journal
//	16  8  number of the frame, from 0
//	24  8  length of the payload
//	32  4  CRC-32C of bytes 0 to 31
//	36  n  payload: JSON, except for kindChange
//	 .  4  CRC-32C of the payload
//
// The head has its own checksum so that a length can be believed before anything is read or allocated by it.
const (
	frameMarker = "fJr1"
	headSize    = 36
	tailSize    = 4
	// maxControl bounds the JSON payloads: the largest is a step's list of finding numbers.
	maxControl = 64 << 20
	// maxChange bounds the content of one raw change, which has to fit in memory several times.
	maxChange = 4 << 30
)

type kind uint8

// The kinds of frames, in the order in which they occur.
const (
	kindHeader  kind = 1 // headerRecord; the first frame
	kindBegin   kind = 2 // beginRecord: the changes of one step follow
	kindChange  kind = 3 // one raw change
	kindSealed  kind = 4 // stepRecord: the step's changes are durable, writes to the store may begin
	kindDone    kind = 5 // stepRecord: the step's writes are durable
	kindApplied kind = 6 // endRecord: all steps are done
	kindUndoing kind = 7 // undoingRecord: these steps are being taken back, in this order
	kindUndone  kind = 8 // stepRecord: the step's inverse writes are durable
	kindUndoEnd kind = 9 // endRecord: the undo is complete
)

// barrier tells whether frames of this kind are only ever written after everything before them was made durable. So the
// mere presence of a barrier proves that a bad frame before it was not torn by a crash but went bad later.
func (k kind) barrier() bool { return k >= kindSealed && k <= kindUndoEnd }

type frame struct {
	kind  kind
	nonce uint64
	seq   uint64
	size  uint64 // of the payload
	off   int64  // of the frame in the file
}

func (f frame) end() int64 { return f.off + headSize + int64(f.size) + tailSize }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f frame) head() [headSize]byte {
	var b [headSize]byte
	copy(b[:], frameMarker)
	b[4] = byte(f.kind)
	binary.LittleEndian.PutUint64(b[8:], f.nonce)
	binary.LittleEndian.PutUint64(b[16:], f.seq)
	binary.LittleEndian.PutUint64(b[24:], f.size)
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
	return b
}

// parseHead reads a frame's head; false means that these bytes are not one.
func parseHead(b []byte) (frame, bool) {
	if len(b) < headSize || string(b[:4]) != frameMarker || binary.LittleEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
		return frame{}, false
	}
	return frame{
		kind:  kind(b[4]),
		nonce: binary.LittleEndian.Uint64(b[8:]),
		seq:   binary.LittleEndian.Uint64(b[16:]),
		size:  binary.LittleEndian.Uint64(b[24:]),
	}, true
}

// The payload of kindChange: flags (bit 0: before exists, bit 1: after exists), lengths of target, address, before and
// after, then these four one after the other.
const changeHead = 1 + 4 + 4 + 8 + 8

const (
	hasBefore = 1 << iota
	hasAfter
)

// changeParts gives the payload of a change in pieces, so that its content need not be copied.
func changeParts(c store.Change) ([][]byte, error) {
	total := uint64(len(c.Before)) + uint64(len(c.After)) + uint64(len(c.Target)) + uint64(len(c.Addr))
	if total > maxChange-changeHead {
		return nil, fmt.Errorf("record %s %s: %d bytes are too many for one change", c.Target, c.Addr, total)
	}
	h := make([]byte, changeHead)
	if c.Before != nil {
		h[0] |= hasBefore
	}
	if c.After != nil {
		h[0] |= hasAfter
	}
	binary.LittleEndian.PutUint32(h[1:], uint32(len(c.Target)))
	binary.LittleEndian.PutUint32(h[5:], uint32(len(c.Addr)))
	binary.LittleEndian.PutUint64(h[9:], uint64(len(c.Before)))
	binary.LittleEndian.PutUint64(h[17:], uint64(len(c.After)))
	return [][]byte{h, []byte(c.Target), []byte(c.Addr), c.Before, c.After}, nil
}

var errBadChange = errors.New("the journal holds a change that makes no sense")

// parseChange reads the payload of kindChange. The result refers to p.
func parseChange(p []byte) (store.Change, error) {
	if len(p) < changeHead || p[0]&^(hasBefore|hasAfter) != 0 {
		return store.Change{}, errBadChange
	}
	flags := p[0]
	sizes := [4]uint64{
		uint64(binary.LittleEndian.Uint32(p[1:])), uint64(binary.LittleEndian.Uint32(p[5:])),
		binary.LittleEndian.Uint64(p[9:]), binary.LittleEndian.Uint64(p[17:]),
	}
	rest := p[changeHead:]
	var part [4][]byte
	for i, n := range sizes {
		if n > uint64(len(rest)) {
			return store.Change{}, errBadChange
		}
		part[i], rest = rest[:n:n], rest[n:]
	}
	absent := func(flag byte, b []byte) bool { return flags&flag == 0 && len(b) > 0 }
	if len(rest) != 0 || absent(hasBefore, part[2]) || absent(hasAfter, part[3]) {
		return store.Change{}, errBadChange
	}
	c := store.Change{Target: string(part[0]), Addr: string(part[1])}
	if flags&hasBefore != 0 {
		c.Before = part[2]
	}
	if flags&hasAfter != 0 {
		c.After = part[3]
	}
	return c, nil
}
