package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// Object is one row of the schema. Strings are UTF-8 whatever the encoding of the database.
type Object struct {
	Type    string // table, index, view or trigger
	Name    string
	TblName string
	Root    uint32 // root page; 0 for views and triggers, or if it is not a possible number
	SQL     string // empty for automatic indexes
	RowID   int64
}

// Schema reads the table at page 1. If page 1 cannot be read there are no objects and a ProblemSchema says so; objects
// whose rows are damaged are given as far as their type, name and root are readable.
func (f *File) Schema() ([]Object, []Problem) {
	t := f.Tree(1, Table)
	list := problemList{}
	for _, p := range t.Problems {
		if p.Kind == ProblemRoot {
			p.Kind, p.Text = ProblemSchema, "the schema cannot be read: "+p.Text
		}
		list.add(p)
	}
	var objects []Object
	t.EachRow(f.NewReader(0), 0, 0, func(row *Row, err error) bool {
		if row == nil {
			p := fileProblem(ProblemSchema, -1, "part of the schema cannot be read: %v", err)
			var pe *PageError
			if errors.As(err, &pe) {
				p.Page, p.Found, p.Role, p.Root = pe.Page, pe.Found, TableLeaf, 1
				p.Offset = int64(pe.Page-1) * int64(f.pageSize)
			}
			list.add(p)
			return true
		}
		o, why := f.object(row)
		if err != nil {
			why = err.Error()
		}
		if why != "" {
			list.add(Problem{Kind: ProblemSchemaRow, Page: row.Page, Cell: row.Cell, Root: 1, Role: TableLeaf,
				Offset: int64(row.Page-1) * int64(f.pageSize),
				Text:   fmt.Sprintf("row %d of the schema (page %d cell %d): %s", row.RowID, row.Page, row.Cell, why)})
		}
		if o.Type != "" && o.Name != "" {
			objects = append(objects, o)
		}
		return true
	})
	return objects, list.all()
}

// object makes an Object of a schema row; why says what is wrong with it.
func (f *File) object(row *Row) (o Object, why string) {
	o.RowID = row.RowID
	if len(row.Cols) < 4 {
		if len(row.Cols) < 2 {
			return Object{}, fmt.Sprintf("only %d columns", len(row.Cols))
		}
		why = fmt.Sprintf("only %d columns", len(row.Cols))
	}
	text := func(i int) string {
		if i < len(row.Cols) && row.Cols[i].Kind == Text {
			return f.text(row.Cols[i].B)
		}
		return ""
	}
	o.Type, o.Name, o.TblName, o.SQL = text(0), text(1), text(2), text(4)
	switch o.Type {
	case "table", "index", "view", "trigger":
	default:
		return Object{}, fmt.Sprintf("type is %q", o.Type)
	}
	if len(row.Cols) > 3 && row.Cols[3].Kind == Int {
		root := row.Cols[3].I
		if root < 0 || root > int64(^uint32(0)) || (root == 0 && (o.Type == "table" || o.Type == "index") && o.SQL == "") {
			return o, fmt.Sprintf("root page %d", root)
		}
		o.Root = uint32(root)
	}
	return o, why
}

// text converts text of the database's encoding to UTF-8.
func (f *File) text(b []byte) string {
	var order binary.ByteOrder = binary.LittleEndian
	switch f.header.Encoding {
	case UTF16BE:
		order = binary.BigEndian
	case UTF16LE:
	default:
		return string(b)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = order.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// Freelist gives the pages on the freelist, trunks and leaves. With a lost header there is no freelist to follow: the set
// is empty and a ProblemFreelistPage says so.
func (f *File) Freelist() (*PageSet, []Problem) {
	set, list := &PageSet{}, problemList{}
	add := func(kind ProblemKind, page, parent uint32, format string, args ...any) {
		p := fileProblem(kind, -1, format, args...)
		p.Page, p.Parent = page, parent
		if page != 0 {
			p.Offset = int64(page-1) * int64(f.pageSize)
		}
		list.add(p)
	}
	if !f.header.shape() {
		add(ProblemFreelistPage, 1, 0, "the header is lost, so where the freelist starts is not known")
		return set, list.all()
	}
	inFile := func(n uint32) bool { return n > 1 && (n <= f.filePages || f.InWAL(n)) }
	buf := make([]byte, f.pageSize)
	parent := uint32(1)
	for trunk := f.header.FreelistTrunk; trunk != 0; {
		if !inFile(trunk) {
			add(ProblemFreelistPage, trunk, parent, "freelist trunk %d (from page %d) is outside the file", trunk, parent)
			break
		}
		if !set.Add(trunk) {
			add(ProblemCycle, trunk, parent, "freelist page %d is met a second time, as trunk from page %d", trunk, parent)
			break
		}
		if err := f.ReadPage(trunk, buf); err != nil {
			add(ProblemFreelistTrunk, trunk, parent, "freelist trunk %d: %v", trunk, err)
			break
		}
		count := binary.BigEndian.Uint32(buf[4:])
		if count > uint32(f.usable/4-2) {
			add(ProblemFreelistTrunk, trunk, parent, "freelist trunk %d says it has %d leaves; at most %d fit", trunk, count, f.usable/4-2)
			break
		}
		for i := range int(count) {
			leaf := binary.BigEndian.Uint32(buf[8+4*i:])
			if !inFile(leaf) {
				add(ProblemFreelistPage, leaf, trunk, "freelist leaf %d (from trunk %d) is outside the file", leaf, trunk)
			} else if !set.Add(leaf) {
				add(ProblemTwice, leaf, trunk, "freelist page %d is met a second time, as leaf of trunk %d", leaf, trunk)
			}
		}
		parent, trunk = trunk, binary.BigEndian.Uint32(buf)
	}
	if set.Count() != int(f.header.FreelistCount) {
		add(ProblemFreelistCount, 0, 1, "the header counts %d free pages, the freelist has %d", f.header.FreelistCount, set.Count())
	}
	return set, list.all()
}
