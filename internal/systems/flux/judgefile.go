package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/sqlitefile"
)

// fileClass says which class a problem of the SQLite file belongs to; "" for those that do not matter here.
var fileClass = map[sqlitefile.ProblemKind]string{
	sqlitefile.ProblemEmpty:        BadSchema,
	sqlitefile.ProblemHeaderMagic:  BadHeader,
	sqlitefile.ProblemHeaderField:  BadHeader,
	sqlitefile.ProblemPageSize:     BadHeader,
	sqlitefile.ProblemPartialPage:  TruncatedFile,
	sqlitefile.ProblemTruncated:    TruncatedFile,
	sqlitefile.ProblemWALHeader:    WALCorrupt,
	sqlitefile.ProblemWALPageSize:  WALCorrupt,
	sqlitefile.ProblemWALCorrupt:   WALCorrupt,
	sqlitefile.ProblemWALFarPage:   WALCorrupt,
	sqlitefile.ProblemWALTruncated: WALTruncated,
	sqlitefile.ProblemWALOrphan:    WALCorrupt,
	sqlitefile.ProblemRoot:         BadPage,
	sqlitefile.ProblemChild:        BadPage,
	sqlitefile.ProblemTwice:        BadPage,
	sqlitefile.ProblemCycle:        BadPage,
	sqlitefile.ProblemCellPointer:  BadPage,
	sqlitefile.ProblemOrder:        BadPage,
	sqlitefile.ProblemDepth:        BadPage,
	sqlitefile.ProblemPastClaimed:  BadPage,
	sqlitefile.ProblemSchema:       BadSchema,
	sqlitefile.ProblemSchemaRow:    BadSchema,
}

// maxPageFindings bounds how many pages are findings of their own.
const maxPageFindings = 1000

// fileDamage is what is known about the file, by class, and for pages by number.
type fileDamage struct {
	byClass map[string][]finding.Evidence
	pages   map[uint32][]finding.Evidence
}

// maxFileEvidence bounds the lines of evidence of one finding about the file.
const maxFileEvidence = 12

func addEvidence[K comparable](to map[K][]finding.Evidence, key K, witness, says string) {
	if len(to[key]) < maxFileEvidence {
		to[key] = append(to[key], finding.Evidence{Witness: witness, Says: says})
	}
}

// fileDamage sorts the problems of the file and the faults of its tables.
func (u *unit) fileDamage() fileDamage {
	d := fileDamage{byClass: map[string][]finding.Evidence{}, pages: map[uint32][]finding.Evidence{}}
	// The pages behind the end of a file that was cut off are one damage, not as many as there are pages.
	cut, behind := false, 0
	for _, p := range u.problems {
		cut = cut || fileClass[p.Kind] == TruncatedFile
	}
	for _, p := range u.problems {
		switch class := fileClass[p.Kind]; {
		case class == "":
		case class != BadPage:
			addEvidence(d.byClass, class, targetDB, p.Text)
		case cut && (p.Found == sqlitefile.FoundPastEnd || p.Found == sqlitefile.FoundNoPage || p.Found == sqlitefile.FoundPartial):
			behind++
		default:
			addEvidence(d.pages, p.Page, fmt.Sprintf("page %d", max(p.Parent, 1)), p.Text)
		}
	}
	for _, fault := range u.faults {
		if cut && fault.Cell < 0 && fault.Page > u.file.FilePages() {
			behind++
			continue
		}
		addEvidence(d.pages, fault.Page, fmt.Sprintf("page %d", fault.Page), fault.Why)
	}
	if behind > 0 {
		addEvidence(d.byClass, TruncatedFile, "tables", fmt.Sprintf("%d pages that they refer to lie behind the end", behind))
	}
	return d
}

// fileFindings turns what is known about the file into findings, worst first.
func (u *unit) fileFindings() []finding.Finding {
	d := u.fileDamage()
	var out []finding.Finding
	for _, class := range []string{BadHeader, TruncatedFile, BadSchema, WALCorrupt, WALTruncated} {
		lines, ok := d.byClass[class]
		if !ok {
			continue
		}
		f := newFinding(class)
		f.Subject, f.Evidence = targetDB, lines
		if class == WALCorrupt || class == WALTruncated {
			f.Subject = targetWAL
		}
		out = append(out, f)
	}
	if f, ok := u.schemaFinding(d.byClass[BadSchema] != nil); ok {
		out = append(out, f)
	}
	out = append(out, pageFindings(d.pages)...)
	if f, ok := u.indexFinding(); ok {
		out = append(out, f)
	}
	return out
}

// pageFindings is one finding a page, up to maxPageFindings: the last one then stands for the rest.
func pageFindings(pages map[uint32][]finding.Evidence) []finding.Finding {
	var out []finding.Finding
	numbers := slices.Sorted(maps.Keys(pages))
	for i, n := range numbers {
		f := newFinding(BadPage)
		f.Subject, f.Evidence = fmt.Sprintf("page %d", n), pages[n]
		f.Title = fmt.Sprintf("page %d of the database is damaged", n)
		f.Detail, _ = json.Marshal(map[string]any{"page": n})
		last := i == maxPageFindings-1 && len(numbers) > maxPageFindings
		if last {
			f.Title = fmt.Sprintf("page %d and %d more pages of the database are damaged", n, len(numbers)-maxPageFindings)
		}
		out = append(out, f)
		if last {
			break
		}
	}
	return out
}

// schemaFinding judges which tables there are.
func (u *unit) schemaFinding(already bool) (finding.Finding, bool) {
	if u.objectsRoot != 0 || already {
		return finding.Finding{}, false
	}
	class := BadSchema
	if h := u.file.Header(); h.MagicOK && h.ReadVersion == 2 && !u.file.WAL().Exists && u.counts.Rows == 0 {
		class = WALMissing
	}
	f := newFinding(class)
	f.Subject = targetDB
	f.Evidence = []finding.Evidence{{Witness: "schema", Says: "there is no table objects"}}
	if class == WALMissing {
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "header", Says: "the database is used with a -wal"},
			finding.Evidence{Witness: "directory", Says: "there is no " + targetWAL + " beside it"})
	}
	return f, true
}

// indexFinding judges the comparison of the index with the table. Rows that were lost with a page of the table are the
// page's fault, not the index's.
func (u *unit) indexFinding() (finding.Finding, bool) {
	st := u.indexed
	switch {
	case u.objectsRoot == 0:
		return finding.Finding{}, false
	case st.Missing:
		f := newFinding(BadIndex)
		f.Subject, f.Title = "sqlite_autoindex_objects_1", "the table objects has no unique index on hash"
		f.Evidence = []finding.Evidence{{Witness: "schema", Says: "no index on objects"}}
		return f, true
	case u.indexRoot == 0 || st.Agrees:
		return finding.Finding{}, false
	}
	tableDamaged := len(u.faults) > 0 || u.salvage
	if tableDamaged && st.Unindexed == 0 && st.BadPages == 0 && len(u.indexBad) == 0 {
		return finding.Finding{}, false
	}
	f := newFinding(BadIndex)
	f.Subject = "sqlite_autoindex_objects_1"
	f.Evidence = []finding.Evidence{
		{Witness: "table objects", Says: fmt.Sprintf("%d rows", u.counts.Rows-u.counts.Salvaged)},
		{Witness: "index on hash", Says: fmt.Sprintf("%d readable entries; %d rows without an entry, %d entries without a row, %d unreadable pages or entries",
			st.Entries, st.Unindexed, st.LostCount, st.BadPages)},
	}
	for i, p := range u.indexBad {
		if i == 8 {
			break
		}
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: fmt.Sprintf("page %d", max(p.Parent, 1)), Says: p.Text})
	}
	return f, true
}

// liveCopy tells whether the damage is of the kind that copying a file in use leaves behind: pages of different moments
// that contradict each other, with no -wal to explain them. Zeroed or overwritten pages are not of that kind.
func (u *unit) liveCopy() []finding.Evidence {
	if h := u.file.Header(); !h.MagicOK || h.ReadVersion != 2 {
		return nil
	}
	var ev []finding.Evidence
	torn := false
	for _, p := range append(append([]sqlitefile.Problem{}, u.problems...), u.indexBad...) {
		contradiction := p.Kind == sqlitefile.ProblemOrder || p.Kind == sqlitefile.ProblemTwice ||
			p.Kind == sqlitefile.ProblemChild && (p.Found == sqlitefile.FoundNoPage || p.Found == sqlitefile.FoundPastEnd)
		if p.Kind == sqlitefile.ProblemTruncated || p.Kind == sqlitefile.ProblemPartialPage {
			return nil // a file that was cut off explains references behind its end
		}
		torn = torn || contradiction
		if contradiction && len(ev) < 6 {
			ev = append(ev, finding.Evidence{Witness: fmt.Sprintf("page %d", max(p.Parent, 1)), Says: p.Text})
		}
	}
	if !torn || u.file.WAL().Exists {
		return nil
	}
	return append(ev, finding.Evidence{Witness: "directory", Says: "there is no " + targetWAL + " beside it"})
}

// foreignFinding is the one finding about a database whose table objects is not one that Flux made. Nothing else can be said of
// it, and nothing is offered: a rebuild would throw away what it does not understand.
func (u *unit) foreignFinding() finding.Finding {
	f := newFinding(BadSchema)
	f.Subject, f.Title = targetDB, "the table objects is not one that Flux made: "+u.foreign
	f.Evidence = []finding.Evidence{{Witness: "schema", Says: "the table objects is there, but " + u.foreign}}
	f.Actions, f.Suggested = []finding.Action{finding.Ignore}, finding.Ignore
	f.Why = "is it a content store at all?"
	return f
}

// file emits the findings about the file. Those about lost rows are remembered as the cause of what follows.
func (r *reporter) file(context.Context) error {
	var cause *int
	if ev := r.u.liveCopy(); ev != nil {
		f := newFinding(LiveCopy)
		f.Subject, f.Evidence = targetDB, ev
		f.Why = "if the original still exists, copy it again while Flux is stopped; a rebuild only makes the best of this copy"
		seq, err := r.emit(f)
		if err != nil {
			return err
		}
		cause, r.fileCause = &seq, &seq
	}
	for _, f := range r.u.fileFindings() {
		if cause != nil && (f.Class == BadPage || f.Class == BadIndex) {
			f.CausedBy = cause
		}
		seq, err := r.emit(f)
		if err != nil {
			return err
		}
		if f.Class == BadSchema || f.Class == WALMissing {
			r.schemaCause, r.walMissing = &seq, f.Class == WALMissing
		}
		if r.fileCause == nil && (f.Class == BadPage || f.Class == TruncatedFile) {
			r.fileCause = &seq
		}
	}
	if r.blobKeys {
		f := newFinding(HashStorageClass)
		root := ""
		f.Path, f.Subject = &root, "objects"
		f.Title = fmt.Sprintf("%d of %d rows have a key of storage class BLOB, Flux looks for TEXT", r.u.counts.BlobKeys, r.u.counts.Rows)
		f.Evidence = []finding.Evidence{{Witness: "table objects", Says: fmt.Sprintf("typeof(hash) is blob in %d rows; their content is complete", r.u.counts.BlobKeys)}}
		f.Detail, _ = json.Marshal(map[string]any{"rows": r.u.counts.BlobKeys, "all": true})
		if _, err := r.emit(f); err != nil {
			return err
		}
	}
	return nil
}
