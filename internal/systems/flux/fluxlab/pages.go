package fluxlab

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/ncruces/go-sqlite3"
)

// Kinds of b-tree pages: the first byte of a page (https://www.sqlite.org/fileformat2.html, section 1.6).
const (
	pageIndexInterior = 2
	pageTableInterior = 5
	pageIndexLeaf     = 10
	pageTableLeaf     = 13
)

// rowPlace is where a row of a table lies.
type rowPlace struct {
	id       int64
	leaf     uint32
	overflow []uint32
}

// pageMap is the shape of the objects table and its index in a whole database file.
type pageMap struct {
	size     int
	pages    int
	rows     []rowPlace
	leaves   []uint32 // of the table
	interior []uint32 // of the table, the root first
	index    []uint32 // leaf pages of the index
	inner    []uint32 // interior pages of the index, the root first
	parent   map[uint32]uint32
}

// mapPages reads a healthy database file; it relies on everything being where it should be.
func mapPages(ctx context.Context, path string) (*pageMap, error) {
	table, index, err := rootPages(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("map pages: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("map pages: %w", err)
	}
	var head [100]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("map pages of %s: %w", path, err)
	}
	m := &pageMap{parent: map[uint32]uint32{}, size: int(binary.BigEndian.Uint16(head[16:]))}
	if m.size == 1 {
		m.size = 65536
	}
	m.pages = int(fi.Size()) / m.size
	stack := []uint32{table, index}
	buf := make([]byte, m.size)
	for steps := 0; len(stack) > 0; steps++ {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if steps > m.pages || ctx.Err() != nil {
			return nil, fmt.Errorf("map pages of %s: the trees do not end: %w", path, ctx.Err())
		}
		if err := readPage(f, n, buf); err != nil {
			return nil, err
		}
		children, err := m.page(f, n, buf)
		if err != nil {
			return nil, err
		}
		for _, c := range children {
			m.parent[c] = n
		}
		stack = append(stack, children...)
	}
	return m, nil
}

func rootPages(path string) (table, index uint32, err error) {
	conn, err := sqlite3.OpenFlags("file:"+escapeURI(path)+"?immutable=1", sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	if err != nil {
		return 0, 0, fmt.Errorf("map pages of %s: %w", path, err)
	}
	defer conn.Close()
	p := &picture{conn: conn}
	err = p.query("SELECT type, rootpage FROM sqlite_master WHERE tbl_name='objects'", func(s *sqlite3.Stmt) error {
		if s.ColumnText(0) == "table" {
			table = uint32(s.ColumnInt64(1))
		} else {
			index = uint32(s.ColumnInt64(1))
		}
		return nil
	})
	if err == nil && (table == 0 || index == 0) {
		err = fmt.Errorf("map pages of %s: no table objects with an index", path)
	}
	return table, index, err
}

func readPage(f *os.File, n uint32, buf []byte) error {
	if _, err := f.ReadAt(buf, int64(n-1)*int64(len(buf))); err != nil {
		return fmt.Errorf("read page %d: %w", n, err)
	}
	return nil
}

// page notes page n and returns its children, the first one last.
func (m *pageMap) page(f *os.File, n uint32, buf []byte) (children []uint32, err error) {
	cells := int(binary.BigEndian.Uint16(buf[3:]))
	head := 8
	switch buf[0] {
	case pageTableInterior:
		m.interior, head = append(m.interior, n), 12
	case pageIndexInterior:
		m.inner, head = append(m.inner, n), 12
	case pageIndexLeaf:
		m.index = append(m.index, n)
		return nil, nil
	case pageTableLeaf:
		m.leaves = append(m.leaves, n)
	default:
		return nil, fmt.Errorf("page %d is no b-tree page (%d)", n, buf[0])
	}
	if head == 12 {
		children = append(children, binary.BigEndian.Uint32(buf[8:]))
	}
	for i := cells - 1; i >= 0; i-- {
		at := int(binary.BigEndian.Uint16(buf[head+2*i:]))
		if head == 12 {
			children = append(children, binary.BigEndian.Uint32(buf[at:]))
		}
	}
	if buf[0] != pageTableLeaf {
		return children, nil
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(buf[head+2*i:]))
		r, err := m.row(f, n, buf[at:])
		if err != nil {
			return nil, err
		}
		m.rows = append(m.rows, r)
	}
	return nil, nil
}

// row reads the head of a cell of a table leaf and follows its overflow chain.
func (m *pageMap) row(f *os.File, leaf uint32, cell []byte) (rowPlace, error) {
	payload, n := uvarint(cell)
	id, k := uvarint(cell[n:])
	r := rowPlace{id: int64(id), leaf: leaf}
	// How much of the payload lies in the cell: section 1.6, "Cell Payload Overflow Pages". No bytes are reserved.
	u := m.size
	x, local := u-35, int(payload)
	if local > x {
		least := (u-12)*32/255 - 23
		local = least + (int(payload)-least)%(u-4)
		if local > x {
			local = least
		}
		var next [4]byte
		copy(next[:], cell[n+k+local:])
		for p := binary.BigEndian.Uint32(next[:]); p != 0; p = binary.BigEndian.Uint32(next[:]) {
			if r.overflow = append(r.overflow, p); len(r.overflow) > m.pages {
				return r, fmt.Errorf("row %d: its overflow chain does not end", id)
			}
			if _, err := f.ReadAt(next[:], int64(p-1)*int64(m.size)); err != nil {
				return r, fmt.Errorf("row %d, overflow page %d: %w", id, p, err)
			}
		}
	}
	return r, nil
}

// uvarint reads SQLite's variable-length integer: big-endian, seven bits a byte, all eight bits of the ninth.
func uvarint(b []byte) (v uint64, n int) {
	for n < 8 {
		v = v<<7 | uint64(b[n]&0x7f)
		n++
		if b[n-1] < 0x80 {
			return v, n
		}
	}
	return v<<8 | uint64(b[8]), 9
}
