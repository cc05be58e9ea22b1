package mdtimage

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// record is a name in a directory.
type record struct {
	dir  uint32 // inode number
	name string
	ino  uint32 // what it leads to, or the number of a hard link
	typ  uint8  // of a directory entry, or typeLink
}

// typeLink marks a further name of a file: ino is the place in the list of links.
const typeLink = 0xff

// recordHead is the size of a record without its name: dir, ino, type, length of the name.
const recordHead = 4 + 4 + 1 + 1

// sortBytes is how much is sorted in memory at a time, sortCount how many records.
const (
	sortBytes = 8 << 20
	sortCount = 1 << 18
)

// nameSorter brings names into the order of their directories, and by name within one. What does not fit in memory goes to a file, as runs that are
// sorted each. Of records with the same directory and name the order in which they came is kept.
type nameSorter struct {
	dir  string
	f    *os.File // nil as long as everything fits
	size int64
	runs []span
	buf  []byte   // records
	at   []uint32 // where they begin
	most int      // bytes of buf; for tests
}

// span is a part of a file.
type span struct{ from, to int64 }

func newNameSorter(dir string) *nameSorter {
	return &nameSorter{dir: dir, most: sortBytes, buf: make([]byte, 0, 64<<10)}
}

// add takes one record.
func (s *nameSorter) add(r record) error {
	if len(s.buf)+recordHead+len(r.name) > s.most || len(s.at) >= sortCount {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.at = append(s.at, uint32(len(s.buf)))
	s.buf = appendRecord(s.buf, r)
	return nil
}

func appendRecord(b []byte, r record) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.dir)
	b = binary.LittleEndian.AppendUint32(b, r.ino)
	b = append(b, r.typ, byte(len(r.name)))
	return append(b, r.name...)
}

func decodeRecord(b []byte) record {
	return record{dir: binary.LittleEndian.Uint32(b), ino: binary.LittleEndian.Uint32(b[4:]), typ: b[8], name: string(b[recordHead : recordHead+int(b[9])])}
}

// order sorts what is in memory.
func (s *nameSorter) order() {
	name := func(at uint32) []byte { return s.buf[at+recordHead:][:s.buf[at+9]] }
	slices.SortFunc(s.at, func(a, b uint32) int {
		da, db := binary.LittleEndian.Uint32(s.buf[a:]), binary.LittleEndian.Uint32(s.buf[b:])
		if da != db {
			if da < db {
				return -1
			}
			return 1
		}
		if c := slices.Compare(name(a), name(b)); c != 0 {
			return c
		}
		return int(int64(a) - int64(b)) // in the order in which they came
	})
}

// spill writes what is in memory as a run.
func (s *nameSorter) spill() error {
	if len(s.at) == 0 {
		return nil
	}
	if s.f == nil {
		f, err := tempFile(s.dir)
		if err != nil {
			return err
		}
		s.f = f
	}
	s.order()
	run := span{s.size, s.size + int64(len(s.buf))}
	w := bufio.NewWriterSize(io.NewOffsetWriter(s.f, s.size), 1<<18)
	for _, at := range s.at {
		w.Write(s.buf[at : at+recordHead+uint32(s.buf[at+9])]) // the error comes with Flush
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort the names of a backup: %w", err)
	}
	s.runs, s.size = append(s.runs, run), run.to
	s.buf, s.at = s.buf[:0], s.at[:0]
	return nil
}

// each hands out all records in order. It can be called again; nothing may be added any more.
func (s *nameSorter) each(fn func(record) error) error {
	if s.f == nil {
		s.order()
		for _, at := range s.at {
			if err := fn(decodeRecord(s.buf[at:])); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	var h runHeap
	for i, run := range s.runs {
		r := &runReader{number: i, r: bufio.NewReaderSize(io.NewSectionReader(s.f, run.from, run.to-run.from), 32<<10)}
		if ok, err := r.next(); err != nil {
			return err
		} else if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		if err := fn(h[0].now); err != nil {
			return err
		}
		ok, err := h[0].next()
		if err != nil {
			return err
		}
		if ok {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}

// close gives the file back.
func (s *nameSorter) close() error {
	s.buf, s.at = nil, nil
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

// runReader reads a run.
type runReader struct {
	number int
	r      *bufio.Reader
	now    record
	raw    [recordHead + 255]byte
}

// next reads a record; ok is false at the end.
func (r *runReader) next() (ok bool, err error) {
	_, err = io.ReadFull(r.r, r.raw[:recordHead])
	if err == io.EOF {
		return false, nil
	}
	if err == nil {
		_, err = io.ReadFull(r.r, r.raw[recordHead:recordHead+int(r.raw[9])])
	}
	if err != nil {
		return false, fmt.Errorf("read sorted names of a backup: %w", err)
	}
	r.now = decodeRecord(r.raw[:])
	return true, nil
}

// runHeap has the run with the least record first.
type runHeap []*runReader

func (h runHeap) Len() int      { return len(h) }
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h runHeap) Less(i, j int) bool {
	a, b := &h[i].now, &h[j].now
	if a.dir != b.dir {
		return a.dir < b.dir
	}
	if c := strings.Compare(a.name, b.name); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}
func (h *runHeap) Push(x any) { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// tempFile makes a file that has no name any more and goes away when it is closed.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "fettle-backup-")
	if err != nil {
		return nil, fmt.Errorf("lay out a backup: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("lay out a backup: %w", err)
	}
	return f, nil
}
