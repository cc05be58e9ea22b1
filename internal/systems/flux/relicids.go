package flux

import (
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
)

// levelRef is a directory at a level of the job tree: 0 is the directory "job".
type levelRef struct {
	ref   treeobj.Ref
	level int
}

// jobIDs finds the highest id of many job trees, which share most of their directories.
type jobIDs struct {
	u    *unit
	b    *blobReader
	memo map[levelRef]uint64
	seen map[string]bool // entries of roots already looked at
	s    *State
}

// root takes the job directories of a root: in their place, moved by flux fsck or by us, or moved by the job manager.
func (j *jobIDs) root(ref treeobj.Ref) {
	for _, top := range []string{"", lostFound, "job-lost+found"} {
		at := ref
		if top != "" {
			e, ok := j.child(at, top)
			if !ok {
				continue
			}
			at = e
		}
		key := top + " " + at.String()
		if j.seen[key] {
			continue
		}
		j.seen[key] = true
		jobs, ok := j.child(at, "job")
		if !ok {
			continue
		}
		if top == "job-lost+found" {
			j.moved(jobs)
		} else if id, ok := j.below(jobs, 0); ok {
			j.s.AddJob(fluid.ID(id))
		}
	}
}

// child returns the directory that a name in a directory stands for.
func (j *jobIDs) child(dir treeobj.Ref, name string) (treeobj.Ref, bool) {
	content, ok := j.b.get(dir)
	if !ok {
		return treeobj.Ref{}, false
	}
	var scan treeobj.Scanner
	t := scan.ParseDir(content)
	n := findEntry(t, -1, name)
	if n < 0 || t.Entries[n].Type != treeobj.TypeDirref || t.Entries[n].Rule != treeobj.RuleNone {
		return treeobj.Ref{}, false
	}
	return t.Entries[n].Ref, true
}

// moved takes the ids of job-lost+found, whose names are in F58.
func (j *jobIDs) moved(dir treeobj.Ref) {
	content, ok := j.b.get(dir)
	if !ok {
		return
	}
	var scan treeobj.Scanner
	t := scan.ParseDir(content)
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Parent == -1 {
			if id, err := fluid.ParseF58(string(e.Name)); err == nil {
				j.s.AddJob(id)
			}
		}
	}
}

// below returns the highest id bits below a directory, following the greatest name; the bits below a directory that
// cannot be read are all ones, so that the result bounds every id that may have been there.
func (j *jobIDs) below(dir treeobj.Ref, level int) (uint64, bool) {
	if level == 4 {
		return 0, true
	}
	at := levelRef{dir, level}
	if id, ok := j.memo[at]; ok {
		return id, true
	}
	content, ok := j.b.get(dir)
	if !ok {
		return 0, false
	}
	var scan treeobj.Scanner
	t := scan.ParseDir(content)
	best, found := -1, uint16(0)
	var next treeobj.Ref
	for i := range t.Entries {
		e := &t.Entries[i]
		if g, ok := fluid.Group(string(e.Name)); ok && e.Parent == -1 && (best < 0 || g >= found) {
			best, found, next = i, g, treeobj.Ref{}
			if e.Type == treeobj.TypeDirref {
				next = e.Ref
			}
		}
	}
	if best < 0 {
		return 0, level > 0
	}
	shift := 48 - 16*level
	low := uint64(1)<<shift - 1
	if !next.IsZero() {
		if bits, ok := j.below(next, level+1); ok {
			low = bits
		}
	}
	id := uint64(found)<<shift | low
	j.memo[at] = id
	return id, true
}
