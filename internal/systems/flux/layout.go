package flux

import (
	"strings"

	"fettle/internal/format/sqlitefile"
)

// layout is what the schema and the interior pages say about where things are. Everything in it may be missing.
type layout struct {
	objectsRoot uint32 // 0: no such table
	indexRoot   uint32 // the unique index on objects.hash
	checkptRoot uint32 // checkpt_v2
	legacyRoot  uint32 // checkpt, before 0.77
	seqRoot     uint32 // sqlite_sequence
	hasEpoch    bool   // objects has the column epoch
	schemaLost  bool   // the schema could not be read
	cols        columns
	foreign     string // why the table objects is not one that Flux made; "" when it is

	leaves  *sqlitefile.PageSet // leaf pages of objects
	known   sqlitefile.PageSet  // pages of other trees and of the freelist: never salvaged
	salvage bool                // rows are also looked for on pages that no tree holds

	objects  *sqlitefile.Tree
	index    *sqlitefile.Tree
	problems []sqlitefile.Problem // of the file, the schema, the objects tree, in that order
	indexBad []sqlitefile.Problem
}

func readLayout(f *sqlitefile.File) layout {
	l := layout{leaves: &sqlitefile.PageSet{}, cols: fluxColumns}
	l.problems = append(l.problems, f.Problems()...)
	objects, schemaProblems := f.Schema()
	l.problems = append(l.problems, schemaProblems...)
	l.schemaLost = len(schemaProblems) > 0
	for _, o := range objects {
		switch {
		case o.Type == "table" && o.Name == "objects":
			l.objectsRoot = o.Root
			l.cols, l.foreign = columnsOf(o.SQL)
			l.hasEpoch = l.cols[colEpoch] >= 0
		case o.Type == "index" && o.TblName == "objects" && l.indexRoot == 0:
			l.indexRoot = o.Root
		case o.Type == "table" && o.Name == "checkpt_v2":
			l.checkptRoot = o.Root
		case o.Type == "table" && o.Name == "checkpt":
			l.legacyRoot = o.Root
		case o.Type == "table" && o.Name == "sqlite_sequence":
			l.seqRoot = o.Root
		}
	}
	if h := f.Header(); l.foreign == "" && h.MagicOK && (h.Encoding == sqlitefile.UTF16LE || h.Encoding == sqlitefile.UTF16BE) {
		l.foreign = "its text is UTF-16, and Flux uses UTF-8"
	}
	if l.objectsRoot != 0 && l.foreign != "" {
		return l // nothing in it can be told for what it is
	}
	if l.objectsRoot != 0 {
		l.objects = f.Tree(l.objectsRoot, sqlitefile.Table)
		l.leaves = l.objects.Leaves
		l.problems = append(l.problems, l.objects.Problems...)
		l.salvage = len(l.objects.Problems) > 0
	} else {
		l.salvage = true
	}
	if l.indexRoot != 0 {
		l.index = f.Tree(l.indexRoot, sqlitefile.Index)
		l.indexBad = l.index.Problems
	}
	l.addKnown(f, objects)
	return l
}

// addKnown collects the pages whose rows must not be taken for lost rows of objects: those of every other tree, and free
// pages, which keep deleted rows. A freelist that is itself damaged is not believed.
func (l *layout) addKnown(f *sqlitefile.File, objects []sqlitefile.Object) {
	if !l.salvage {
		return
	}
	l.known.Add(1)
	for _, o := range objects {
		if o.Root == 0 || o.Root == l.objectsRoot {
			continue
		}
		kind := sqlitefile.Table
		if o.Type == "index" {
			kind = sqlitefile.Index
		}
		t := f.Tree(o.Root, kind)
		if len(t.Problems) > 0 {
			continue
		}
		l.known.Union(t.Leaves)
		l.known.Union(t.Interior)
	}
	if free, problems := f.Freelist(); len(problems) == 0 {
		l.known.Union(free)
	}
}

// columns says in which column of the objects table each value stands, -1 for none: hash, size, object, epoch.
type columns [4]int

// fluxColumns is the order in which every version of Flux makes them. epoch is missing before 0.87.
var fluxColumns = columns{colHash: 0, colSize: 1, colObject: 2, colEpoch: 3}

// columnsOf finds the columns by name, as Flux does. why says what is missing of a table that Flux could use.
func columnsOf(sql string) (c columns, why string) {
	c = columns{-1, -1, -1, -1}
	open, end := strings.IndexByte(sql, '('), strings.LastIndexByte(sql, ')')
	if open < 0 || end < open {
		return fluxColumns, "its statement cannot be read"
	}
	names := map[string]int{"hash": colHash, "size": colSize, "object": colObject, "epoch": colEpoch}
	depth, start, n := 0, open+1, 0
	for i := open + 1; i <= end; i++ {
		switch {
		case sql[i] == '(':
			depth++
		case sql[i] == ')' && i < end:
			depth--
		case i == end || sql[i] == ',' && depth == 0:
			if words := strings.Fields(sql[start:i]); len(words) > 0 {
				if slot, ok := names[strings.ToLower(strings.Trim(words[0], "\"`[]'"))]; ok && c[slot] < 0 {
					c[slot] = n
				}
			}
			start = i + 1
			n++
		}
	}
	for name, slot := range names {
		if c[slot] < 0 && slot != colEpoch {
			return c, "it has no column " + name
		}
	}
	return c, ""
}
