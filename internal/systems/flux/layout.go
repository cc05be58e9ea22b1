package flux

import "fettle/internal/format/sqlitefile"

// layout is what the schema and the interior pages say about where things are. Everything in it may be missing.
type layout struct {
	objectsRoot uint32 // 0: no such table
	indexRoot   uint32 // the unique index on objects.hash
	checkptRoot uint32 // checkpt_v2
	legacyRoot  uint32 // checkpt, before 0.77
	seqRoot     uint32 // sqlite_sequence
	hasEpoch    bool   // objects has the column epoch
	schemaLost  bool   // the schema could not be read

	leaves  *sqlitefile.PageSet // leaf pages of objects
	known   sqlitefile.PageSet  // pages of other trees and of the freelist: never salvaged
	salvage bool                // rows are also looked for on pages that no tree holds

	objects  *sqlitefile.Tree
	index    *sqlitefile.Tree
	problems []sqlitefile.Problem // of the file, the schema, the objects tree, in that order
	indexBad []sqlitefile.Problem
}

func readLayout(f *sqlitefile.File) layout {
	l := layout{leaves: &sqlitefile.PageSet{}}
	l.problems = append(l.problems, f.Problems()...)
	objects, schemaProblems := f.Schema()
	l.problems = append(l.problems, schemaProblems...)
	l.schemaLost = len(schemaProblems) > 0
	for _, o := range objects {
		switch {
		case o.Type == "table" && o.Name == "objects":
			l.objectsRoot = o.Root
			l.hasEpoch = hasColumn(o.SQL, "epoch")
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

// hasColumn looks for a column name in a CREATE TABLE statement as a whole word.
func hasColumn(sql, name string) bool {
	word := func(c byte) bool {
		return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := 0; i+len(name) <= len(sql); i++ {
		if sql[i:i+len(name)] == name && (i == 0 || !word(sql[i-1])) && (i+len(name) == len(sql) || !word(sql[i+len(name)])) {
			return true
		}
	}
	return false
}
